"""Relative paths of a run, which may be looked at or go on in another working folder than it was started in.

No file holds an absolute path, which names users: a run keeps the way from its folder to the one it was started in.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftclf.config import DatasetConfig

FOLDER = "folder "  # how the origin of weights that came from a folder begins
OF_A_DATASET = ("train", "validation", "test", "label_file")  # settings that are paths


def way(folder: Path, home: Path) -> str:
    """Return the way from a folder to a run's working folder; nothing where it would lead by the name of a user."""
    start, end = folder.resolve(), home.resolve()
    found = os.path.relpath(end, start)
    above = os.path.commonpath([start, end])
    return "" if above == os.sep or Path.home().name in Path(found).parts else found


def home_of(folder: Path, stored: str) -> Path | None:
    """Return the working folder that a file in this folder names, if it is still there."""
    home = Path(os.path.normpath(folder.resolve() / stored))
    return home if stored and home.is_dir() else None


def exists(word: str) -> bool:
    """Return whether a word of a command line is the path of something."""
    try:
        return bool(word.strip()) and Path(word).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # a text that is too long, or holds what no path does
        return False


def found_at(path: str, home: Path | None) -> Path:
    """Return where a path lies: here, or in the folder that a run was started in, if it is there alone."""
    here = Path(path).expanduser()
    there = here if home is None else home / here
    return there if there.exists() and not here.exists() else here


def with_found_paths(dataset: DatasetConfig, home: Path | None) -> DatasetConfig:
    """Return a data set with its files where they lie: here, or in the folder that a run was started in."""
    given = {name: value for name in OF_A_DATASET if (value := getattr(dataset, name))}
    found: dict[str, Any] = {name: str(found_at(value, home)) for name, value in given.items()}
    return replace(dataset, **found)
