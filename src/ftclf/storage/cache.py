"""The folder of what is made once and used by every later run: checked rows, tokens, baselines.

An entry is a folder with the size and hash of each file. It is checked whenever it is opened, and made anew where it is
damaged: what is trained on is what was written.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ftclf.storage.durable import damage, seal
from ftclf.storage.lock import turn
from ftclf.system.console import warn
from ftclf.system.errors import ResourceError
from ftclf.system.signals import unbroken


def cache_folder() -> Path:
    """Return $FTCLF_CACHE, else the user's cache folder."""
    if given := os.environ.get("FTCLF_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "ftclf"


def has_entry(folder: Path) -> bool:
    """Return whether an entry is there and as it was written; a damaged one is taken away, with a warning."""
    if not folder.is_dir():
        return False
    problem = damage(folder)
    if problem is None:
        return True
    warn(f"cache: {folder} is damaged ({problem}); it is made anew")
    with writing_cache(), suppress(FileNotFoundError), _room_beside(folder) as room:  # else another process did so
        folder.rename(room / folder.name)
    return False


@contextmanager
def missing(folder: Path) -> Iterator[bool]:
    """Give whether an entry has to be made, and keep other processes from making it too while the block runs.

    Jobs that run side by side need the same at the same time: the first makes it, the others wait.
    """
    if has_entry(folder):
        yield False
        return
    with ExitStack() as stack:
        with writing_cache():
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(turn(folder.with_name(f".{folder.name}.lock")))
        yield not has_entry(folder)


@contextmanager
def new_entry(folder: Path) -> Iterator[Path]:
    """Give a folder to write into; it is renamed to `folder` at the end: others see the whole entry or none."""
    with writing_cache(), _room_beside(folder) as room:
        beside = room / folder.name
        beside.mkdir()
        yield beside
        seal(beside)
        try:
            beside.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster: its entry is the same
                raise


@contextmanager
def _room_beside(folder: Path) -> Iterator[Path]:
    """Give a folder on the same disk, which goes with all that is left in it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(dir=folder.parent, prefix="."))
    try:
        yield room
    finally:
        with unbroken():
            shutil.rmtree(room, ignore_errors=True)


@contextmanager
def writing_cache() -> Iterator[None]:
    """Raise ResourceError where the block's disk does not take what it writes."""
    try:
        yield
    except OSError as error:
        raise not_writable(error) from error


def not_writable(error: OSError) -> ResourceError:
    """Return the line about a cache that cannot be written to."""
    reason = error.strerror or "no space left on device?"  # numpy does not hand on the system's word
    return ResourceError(
        f"FTCLF_CACHE: cannot write to {cache_folder()}: {reason}; make room, or let FTCLF_CACHE name another folder"
    )
