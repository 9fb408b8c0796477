"""What a resumable checkpoint holds beside transformers' own state, and which of a run's checkpoints it goes on from.

transformers restores weights, optimizer, schedule and random state. What it forgets stands in `progress.json`: the
loss since the last log, the length of the history, an evaluation that a signal broke off, and an early stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ftclf.console import warn
from ftclf.durable import damage
from ftclf.errors import RunError
from ftclf.runs import Run, read_json

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
        return Progress(**read_json(checkpoint / PROGRESS))
    except (TypeError, RunError, OSError):
        return None


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
