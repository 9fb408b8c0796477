"""What a resumable checkpoint holds beside transformers' own state, and which of a run's checkpoints it goes on from.

transformers restores weights, optimizer, schedule and random state. What it forgets stands in `progress.json`: the
loss since the last log, the length of the history, an evaluation that a signal broke off, an early stop, and the time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftclf.config import restore
from ftclf.storage.durable import damage
from ftclf.storage.run_folder import Run, read_json
from ftclf.storage.small_files import HISTORY_LIMIT, read_small_json
from ftclf.system.console import warn
from ftclf.system.errors import RunError, SmallFileError

PROGRESS = "progress.json"


@dataclass(frozen=True)
class Progress:
    """What a checkpoint holds beside transformers' own state. `run` is the id of the run that wrote it."""

    run: str
    step: int
    best_step: int | None
    loss: float  # summed since the step `logged_at`
    total_loss: float
    logged_at: int
    history: int  # bytes of history.jsonl
    owes_evaluation: bool
    stopped_early: bool
    seconds: float  # of training so far, by all processes
    seconds_aside: float  # of these, of evaluations and saves


def newest_checkpoint(run: Run, run_id: str) -> Path | None:
    """Return the newest checkpoint that a run can go on from; say of each newer one why not."""
    found = sorted(((step_of(path) or 0, path) for path in run.resumable.glob("checkpoint-*")), reverse=True)
    for step, path in found:
        problem = _problem(path, step, run_id)
        if problem is None:
            return path
        warn(f"{path.name} is passed over: {problem}")
    if found:
        warn("no checkpoint of this run is whole: it begins again at its first step")
    return None


def read_progress(checkpoint: Path) -> Progress | None:
    """Read what a checkpoint holds beside transformers' own state; None where it is damaged or of another version."""
    if damage(checkpoint, [PROGRESS]):
        return None
    try:
        return restore(Progress, read_json(checkpoint / PROGRESS))
    except (TypeError, RunError, OSError):
        return None


def refuse_other_state(checkpoint: Path, callbacks: Iterable[Any]) -> None:
    """Raise TypeError, ValueError or LookupError where transformers' own state is not what it writes after this step.

    It would set whatever the file says of a callback: each must have the names and types that it has at the start.
    """
    from transformers import TrainerState
    from transformers.trainer_callback import ExportableState

    try:
        raw = read_small_json(checkpoint / "trainer_state.json", HISTORY_LIMIT, nan=True)
    except SmallFileError as error:
        raise ValueError(str(error)) from error
    progress = read_progress(checkpoint)
    log, stored = raw.pop("log_history"), raw.pop("stateful_callbacks")
    state = restore(TrainerState, raw)
    if progress is None or (state.global_step, state.best_global_step) != (progress.step, progress.best_step):
        raise ValueError("trainer_state.json is of another step")
    own = {type(one).__name__: one.state() for one in callbacks if isinstance(one, ExportableState)}
    if not isinstance(log, list) or not all(_alike(stored[name], own[name]) for name in {*stored} & {*own}):
        raise TypeError("trainer_state.json holds something else than was written")


def _alike(one: Any, other: Any) -> bool:
    """Return whether two pieces of json have the same names, with values of the same types."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[name], other[name]) for name in one)
    return type(one) is type(other)


def _problem(path: Path, step: int, run_id: str) -> str | None:
    """Return why a run cannot go on from a checkpoint, or None."""
    if problem := damage(path):
        return problem
    progress = read_progress(path)
    if progress is None:
        return "it was written by another version of ftclf"
    if progress.run != run_id:
        return "it was written by another run"
    if progress.step != step:
        return f"it was written after step {progress.step}"
    best = None if progress.best_step is None else path.with_name(f"checkpoint-{progress.best_step}")
    if best is not None and best != path and (problem := damage(best)):
        return f"its best checkpoint is {best.name}, and there {problem}"
    return None


def step_of(path: Path) -> int | None:
    number = path.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else None
