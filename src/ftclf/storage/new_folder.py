"""The folder of a new run or sweep: a place of its own, taken back where nothing began."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from ftclf.config import TrainConfig
from ftclf.config.settings import run_name


@contextmanager
def new_run_folder(config: TrainConfig, *, sweep: bool, beside: Path | None = None) -> Iterator[Path]:
    """Give the folder of a run or sweep: run_dir, else a new one, runs_dir/<name>/<time to the microsecond>.

    The new one of a run that trains another further stands `beside` that. Folders that are made for it and stay empty,
    since nothing began, are taken back; those that were there are not.
    """
    if config.run_dir:
        folder = Path(config.run_dir).expanduser().absolute()
        made = _missing(folder)
    else:
        name = re.sub(r"[^\w.+-]", "_", run_name(config)).strip(".") or "run"
        parent = Path(config.runs_dir).expanduser().absolute() / (f"sweep-{name}" if sweep else name)
        if beside is not None:
            parent = beside.resolve().parent
        made = _missing(parent)
        folder = _new_folder(parent)
        made.insert(0, folder)
    try:
        yield folder
    finally:
        for path in made:
            with suppress(OSError):  # it holds something, or is gone
                path.rmdir()


def _missing(folder: Path) -> list[Path]:
    """Return the folder and those above it that are not there, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _new_folder(parent: Path) -> Path:
    """Make a folder that is no other process's, named by the time."""
    while True:
        parent.mkdir(parents=True, exist_ok=True)
        folder = parent / datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
        with suppress(FileExistsError, FileNotFoundError):  # another made it, or took the parent back
            folder.mkdir()
            return folder
