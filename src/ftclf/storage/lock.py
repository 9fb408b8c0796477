"""One process in a run folder at a time: a lock that the kernel takes back when its holder dies, however it dies."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ftclf.system.console import warn
from ftclf.system.errors import ResourceError, RunError

LOCK = ".lock"


@contextmanager
def taken(folder: Path) -> Iterator[None]:
    """Make a run's folder and keep other processes out of it while the block runs; take it back if it stays empty.

    Raises RunError where another process is in it, ResourceError where it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(folder / LOCK)
    except OSError as error:
        raise ResourceError(f"run_dir: cannot write to {folder}: {error.strerror}; choose another folder") from error
    try:
        yield
    finally:
        with suppress(OSError):
            (folder / LOCK).unlink()
        os.close(descriptor)
        with suppress(OSError):  # it holds something: the run
            folder.rmdir()


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Wait until no other process holds this lock file, and hold it while the block runs.

    On a file system that knows no locks nobody waits.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_at(path, descriptor):
            break
        os.close(descriptor)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def is_taken(folder: Path) -> bool:
    """Return whether another process is in a run's folder now."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(descriptor)
    return False


def _lock(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                holder = os.read(descriptor, 20).decode() or "unknown"
                os.close(descriptor)
                raise RunError(
                    f"run_dir: another process ({holder}) works in {path.parent}; wait for it, or choose another folder"
                ) from error
            warn(f"{path.parent}: its file system knows no locks ({error.strerror}); keep other runs out of it")
        # Who held it before may have removed the file that we opened: then its lock keeps nobody out.
        if _is_at(path, descriptor):
            os.truncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
            return descriptor
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
