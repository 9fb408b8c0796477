"""The run folder: every name inside it, atomic writes, and how run folders are found."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftclf.config.did_you_mean import pasteable
from ftclf.storage.small_files import read_json_lines, read_small_json
from ftclf.system.console import note
from ftclf.system.errors import RunError, SmallFileError
from ftclf.system.signals import unbroken

NEWEST = 3  # runs that a message names
PARTS = (("checkpoint",), ("resumable",), ("predictions",), ("plots",))  # folders of a run's own


@dataclass(frozen=True)
class Run:
    """One run's folder. `metrics` is written last and whole: where it stands, the run is finished."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.json"

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def history(self) -> Path:
        return self.folder / "history.jsonl"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.json"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def failure(self) -> Path:
        return self.folder / "failure.json"

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions"

    @property
    def plots(self) -> Path:
        return self.folder / "plots"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    @property
    def resumable(self) -> Path:
        """Trainer checkpoints with the optimizer's state; gone once the run is finished."""
        return self.folder / "resumable"

    @property
    def augmented(self) -> Path:
        """The training rows that `augment` made."""
        return self.folder / "augmented.jsonl"

    @property
    def own(self) -> tuple[Path, ...]:
        """All that a run writes in its folder."""
        files = (self.config, self.manifest, self.metrics, self.history, self.log, self.failure, self.report)
        return (*files, self.augmented, self.predictions, self.plots, self.checkpoint, self.resumable)

    @property
    def finished(self) -> bool:
        return self.metrics.is_file()


def clear(run: Run) -> None:
    """Remove what a run wrote, its config last, and nothing else that a user may keep in its folder."""
    import shutil

    for path in run.own:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path != run.config:
            path.unlink(missing_ok=True)
    run.config.unlink(missing_ok=True)


def find_runs(paths: list[Path]) -> list[Run]:
    """Return the finished runs at or below the paths, by name; an error where there is none."""
    found: dict[Path, Run] = {}
    for path in paths:
        if not path.exists():
            raise RunError(f"{path}: no such folder; runs lie in runs/ unless runs_dir says otherwise")
        top = around.folder if (around := run_around(path)) is not None else path
        for metrics in sorted(top.rglob("metrics.json")):
            if metrics.with_name("config.json").is_file():
                found.setdefault(metrics.parent.resolve(), Run(metrics.parent))
    if not found:
        raise RunError(f"{', '.join(map(str, paths))}: no finished run there (a finished run has a metrics.json)")
    return list(found.values())


def find_failures(folder: Path) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Yield the jobs below a sweep's folder that failed, each with its `reason` and `overrides`."""
    for path in sorted(folder.glob("*/failure.json")):
        try:
            found = read_json(path)
            why = {"reason": str(found["reason"]), "overrides": [str(word) for word in found["overrides"]]}
        except (RunError, OSError, LookupError, TypeError):
            why = {"reason": f"{path.name} cannot be read", "overrides": []}
        yield Run(path.parent), why


def checkpoint_of(path: Path) -> Path:
    """Return the checkpoint that a path stands for: that of a run, a file in one, or a folder that holds one run."""
    folder = path.parent if path.is_file() else path
    for candidate in (folder, folder / "checkpoint", *([folder.parent / "checkpoint"] if path.is_file() else [])):
        if (candidate / "ftclf.json").is_file() or (candidate / "files.json").is_file():
            return candidate
    if not path.exists():
        raise RunError(f"checkpoint: no folder {path}")
    if Run(folder).config.is_file():
        raise RunError(f"checkpoint: the run in {folder} is not finished and has no checkpoint yet")
    if path.is_dir() and (runs := [run for run in runs_below(path) if run.finished and run.checkpoint.is_dir()]):
        return only_run(runs, "checkpoint", path, kind="finished run").checkpoint
    raise RunError(f"checkpoint: {path} is neither a run folder nor a checkpoint (no ftclf.json in it)")


def run_to_resume(path: Path) -> Run:
    """Return the run that a path stands for: its folder, a file or checkpoint in it, or a folder that holds one run.

    Of several runs the only unfinished one is meant.
    """
    if Run(path).config.is_file() or not path.exists():
        return Run(path)
    if (around := run_around(path)) is not None:
        return around
    runs = runs_below(path)
    if unfinished := [run for run in runs if not run.finished]:
        return only_run(unfinished, "resume", path, kind="unfinished run")
    return only_run(runs, "resume", path, kind="finished run") if runs else Run(path)


def run_around(path: Path) -> Run | None:
    """Return the run that a file or a folder of its own, as `checkpoint/`, belongs to."""
    for folder in [path.parent, *path.parents[1:3]]:
        inside = path.relative_to(folder).parts[:1]
        if _begun(folder) and (inside in PARTS or (inside == (path.name,) and path.is_file())):
            return Run(folder)
    return None


def runs_below(folder: Path) -> list[Run]:
    """Return the runs that were begun below a folder, as runs/NAME/TIME or runs/sweep-NAME/TIME/JOB, newest first."""
    configs = [path for depth in ("*", "*/*", "*/*/*") for path in folder.glob(f"{depth}/config.json")]
    begun = [path for path in configs if _begun(path.parent)]
    return [Run(path.parent) for path in sorted(begun, key=lambda path: path.stat().st_mtime, reverse=True)]


def _begun(folder: Path) -> bool:
    return Run(folder).config.is_file() and Run(folder).manifest.is_file()


def only_run(runs: list[Run], setting: str, folder: Path, *, kind: str) -> Run:
    """Return the only one of some runs. Raises RunError, with the newest of several, as they are typed."""
    if len(runs) == 1:
        note(f"{folder} is taken as {runs[0].folder}, the only {kind} there")
        return runs[0]
    newest = ", ".join(pasteable(str(run.folder)) for run in runs[:NEWEST])
    more = f", and {len(runs) - NEWEST} more" if len(runs) > NEWEST else ""
    raise RunError(f"{setting}: {folder} holds {len(runs)} {kind}s; name one, the newest first: {newest}{more}")


def read_json(path: Path) -> Any:
    """Read one json file that ftclf wrote. Raises RunError where it is not one."""
    with of_a_run():
        return read_small_json(path, any_text=True)  # labels may be; whatever shows them knows how


def read_history(path: Path) -> list[dict[str, Any]]:
    """Read the records of a run's history, none where it has not begun. Raises RunError where they are not such."""
    with of_a_run():
        records = read_json_lines(path) if path.exists() else []
    if not all(isinstance(record, dict) for record in records):
        raise RunError(f"{path}: a line in it is no record; the file is damaged")
    return records


@contextmanager
def of_a_run() -> Iterator[None]:
    """Let a small file that is not what it should be count as one of a run."""
    try:
        yield
    except SmallFileError as error:
        raise RunError(str(error)) from error


def write_json(path: Path, value: Any) -> None:
    """Write json whole or not at all. NaN becomes null, since json has no NaN."""
    write_text(path, json.dumps(as_json(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all: beside it first, synced, then renamed into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with unbroken():
        descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(beside).chmod(0o666 & ~_umask())
            Path(beside).replace(path)
        finally:
            Path(beside).unlink(missing_ok=True)


def append_json_line(path: Path, value: Any) -> None:
    """Add one record to a jsonl file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(as_json(value), ensure_ascii=False, allow_nan=False) + "\n")


def cut_history(run: Run, length: int) -> None:
    """Cut the history back to a checkpoint's length in bytes: what is trained again will be logged again."""
    if run.history.exists():
        os.truncate(run.history, min(length, run.history.stat().st_size))


def as_json(value: Any) -> Any:
    """Return a value as json has it: lists for tuples, None for what is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
