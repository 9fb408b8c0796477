"""Relative paths of a run, which may be looked at or go on in another working folder than it was started in.

No file holds an absolute path, which names users: a run keeps the way from its folder to the one it was started in.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftclf.config import DatasetConfig
from ftclf.config.did_you_mean import pasteable

FOLDER = "folder "  # how the origin of weights that came from a folder begins
TIME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-\d{3}(\d{3})")  # what a run's own folder is called
SHORT, KEPT = 24, 6  # characters of a path that is short enough; of each end of a name that is shortened
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


def from_here(folder: Path) -> str:
    """Return the path of a folder, relative to the working folder where it lies in it."""
    here, path = Path.cwd(), folder.absolute()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def typed_path(folder: Path) -> str:
    """Return the path of a run as it may be typed: shortened to a pattern of a shell where that fits no other."""
    path = from_here(folder)
    by_time = TIME.sub(r"*\1", path)
    shortest = by_time if len(by_time) <= SHORT else "/".join(map(_shortened, by_time.split("/")))
    start = "/" if path.startswith("/") else "."
    for pattern in dict.fromkeys((shortest, by_time)):
        if pasteable(path) == path != pattern and len(list(Path(start).glob(pattern.lstrip("/")))) == 1:
            return pattern
    return pasteable(path)


def _shortened(name: str) -> str:
    return name if len(name) <= 2 * KEPT + 2 or "*" in name else f"{name[:KEPT]}*{name[-KEPT:]}"
