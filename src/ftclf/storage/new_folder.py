"""The folder of a new run, sweep or check: a place of its own, taken back where nothing began."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from ftclf.config import TrainConfig
from ftclf.config.settings import run_name
from ftclf.system.errors import ConfigError


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
        name = _file_name(run_name(config)) or "run"
        parent = Path(config.runs_dir).expanduser().absolute() / (f"sweep-{name}" if sweep else name)
        if beside is not None:
            parent = beside.resolve().parent
        made = _missing(parent)
        folder = _new_folder(parent)
        made.insert(0, folder)
    try:
        yield folder
    finally:
        _take_back(made)


@contextmanager
def new_check_folder(output: Path | None, name: str) -> Iterator[Path]:
    """Give the folder of a check: `output`, else a new one, checks/<name>/<time>. It is taken back if empty."""
    parent = Path("checks").absolute() / (_file_name(name) or "data")
    made = _missing(output or parent)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        folder = output
    else:
        folder = _new_folder(parent)
        made.insert(0, folder)
    try:
        yield folder
    finally:
        _take_back(made)


def refuse_used(setting: str, folder: Path) -> None:
    """Raise ConfigError for a folder that holds something, or a file: nothing is written over."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{setting}: {folder} is no folder, allowed: a new or an empty folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{setting}: {folder} is not empty, allowed: a new or an empty folder")


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name).strip(".")


def _take_back(folders: list[Path]) -> None:
    for path in folders:
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
