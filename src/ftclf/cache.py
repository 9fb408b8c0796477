"""The folder of what is made once and used by every later run: checked rows, tokens, baselines."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ftclf.durable import sync_files
from ftclf.errors import ResourceError
from ftclf.stopping import unbroken


def cache_folder() -> Path:
    """Return $FTCLF_CACHE, else the user's cache folder."""
    if given := os.environ.get("FTCLF_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "ftclf"


@contextmanager
def new_entry(folder: Path) -> Iterator[Path]:
    """Give a folder to write into; it is renamed to `folder` at the end: others see the whole entry or none."""
    with writing_cache():
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix="."))
        try:
            yield beside
            sync_files(beside)
            try:
                beside.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster: its entry is the same
                    raise
        finally:
            with unbroken():
                shutil.rmtree(beside, ignore_errors=True)


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
