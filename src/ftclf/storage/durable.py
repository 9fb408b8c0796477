"""Folders that are whole or not there: written beside, hashed, synced to the disk, renamed into place.

`files.json` in a folder holds the size and the SHA-256 of every file; it is written last. What a kill, a full disk or
a copy that broke off leaves behind does not agree with it, and is never taken for a checkpoint.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftclf.storage.small_files import read_small_json
from ftclf.system.console import size
from ftclf.system.errors import ResourceError, SmallFileError
from ftclf.system.signals import unbroken

FILES = "files.json"
BESIDE = ".writing"  # folder of what is being written; whatever is left in it was never finished

# What says that a disk, not ftclf, is at fault. ENOENT: the folder was taken away while it was written to.
DISK_ERRORS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EIO", "EACCES", "EPERM", "EROFS", "EFBIG", "ENOENT", "ENOTDIR", "ESTALE")
    if hasattr(errno, name)
}


@contextmanager
def whole_folder(folder: Path, *, needed: int = 0) -> Iterator[Path]:
    """Yield a folder to write into; when the block ends it is sealed and stands in the place of `folder`.

    If the block or the disk fails, what stood in `folder` is untouched and nothing is left beside it. `needed` is the
    size in bytes that the message of a full disk names. Raises ResourceError where the disk is at fault.
    """
    beside = folder.parent / BESIDE / folder.name
    try:
        shutil.rmtree(beside.parent, ignore_errors=True)
        beside.mkdir(parents=True)
        yield beside
        with unbroken():
            seal(beside)
            if folder.exists():
                shutil.rmtree(folder)
            beside.rename(folder)
            sync_folder(folder.parent)
    except Exception as error:
        if (of_disk := disk_error(error, folder, needed)) is not None:
            raise of_disk from error
        raise
    finally:
        with unbroken():
            shutil.rmtree(beside.parent, ignore_errors=True)


def seal(folder: Path) -> None:
    """Write the sizes and hashes of all files of a folder into it, and sync all of it to the disk."""
    found = {str(path.relative_to(folder)): _sealed(path) for path in _files(folder)}
    with (folder / FILES).open("w", encoding="utf-8") as file:
        file.write(json.dumps({"files": found}, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        sync_folder(path)


def damage(folder: Path, names: Iterable[str] | None = None) -> str | None:
    """Return what is wrong with a sealed folder, in words, or None; `names` asks for some of its files alone.

    What `files.json` does not list is not looked at.
    """
    try:
        known = read_small_json(folder / FILES)["files"]
        wanted = {
            name: (int(known[name]["bytes"]), str(known[name]["sha256"])) for name in names or known if name in known
        }
    except FileNotFoundError:
        return f"it has no {FILES}, which is written last"
    except (SmallFileError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return f"{FILES} is damaged"
    except OSError as error:
        return f"{FILES} cannot be read ({error.strerror})"
    return next((problem for name in wanted if (problem := _damage_of(folder / name, name, *wanted[name]))), None)


def sync_files(folder: Path) -> None:
    """Put the files of a folder on the disk."""
    for path in _files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last: a rename is on the disk only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(error: Exception, folder: Path, needed: int = 0) -> ResourceError | None:
    """Return the line about a disk that did not take a folder, or None where something else went wrong."""
    number = _disk_errno(error)
    elsewhere = isinstance(error, OSError) and error.filename and not Path(error.filename).is_relative_to(folder.parent)
    if number is None or elsewhere:
        return None
    there = next(parent for parent in [folder, *folder.parents] if parent.exists())
    free = shutil.disk_usage(there).free
    wants = f"it needs {size(needed)}, " if needed else ""
    return ResourceError(
        f"{folder}: {os.strerror(number)} ({wants}{size(free)} are free); mend that, then give the same command again"
    )


def refuse_too_little_room(folder: Path, needed: int) -> None:
    """Raise ResourceError where the disk of a folder, which need not exist, has less room than is needed in bytes."""
    there = next(parent for parent in [folder, *folder.absolute().parents] if parent.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise ResourceError(
            f"run_dir: {folder} has {size(free)} free, the run needs {size(needed)} while it goes on; "
            "make room or choose another folder"
        )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FILES)


def _sealed(path: Path) -> dict[str, Any]:
    """Sync a file and return what is kept of it. Libraries give weights the mode of a temporary file: mend that."""
    path.chmod(0o644)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _damage_of(path: Path, name: str, length: int, digest: str) -> str | None:
    try:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            return f"{FILES} names {name}, which is not in its folder"
        if path.exists() and not path.is_file():  # a pipe or a device could be read without an end
            return f"{name} is no file"
        found = path.stat().st_size
        if found != length:
            return f"{name} has {found} bytes, {length} were written"
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                return f"{name} holds other bytes than were written"
    except OSError as error:
        return f"{name} is missing" if error.errno == errno.ENOENT else f"{name} cannot be read ({error.strerror})"
    return None


def _disk_errno(error: BaseException) -> int | None:
    """Find the system's error number, also where safetensors and torch put it into a text of their own."""
    if isinstance(error, OSError):
        return error.errno if error.errno in DISK_ERRORS else None
    text = str(error)
    if found := re.search(r"os error (\d+)", text):
        return int(found[1]) if int(found[1]) in DISK_ERRORS else None
    # torch's writer of zip files says no more than that a position is not what it should be.
    return errno.ENOSPC if re.search(r"inline_container|PytorchStreamWriter|iostream error", text) else None
