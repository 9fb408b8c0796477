"""What the C library keeps of freed memory: steps want it again, what comes between them does not."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ftclf.system.containers import free_in_container
from ftclf.system.library import library_use

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # as malloc.h numbers them
KEPT = 2**25  # bytes; larger pieces are the system's again as soon as they are free
_kept = False  # whether the C library was told so


def keep_memory() -> None:
    """Let the C library keep what a step frees for the next one, and oneDNN fewer kernels.

    A step allocates the same again and again; handing it back to the system costs a tenth of a step in page faults.
    oneDNN keeps 1,024 kernels of up to 0.7 MB, one for every shape; an epoch of short texts needs some 300, and others
    should not pile up (it asks before its first product, and never again). What a user has set in the environment
    stays, and so does all in a process of somebody else.
    """
    global _kept
    if library_use() is not None:
        return
    _kept = True
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "400")
    _set_malloc({TRIM_THRESHOLD: 2**30, MMAP_THRESHOLD: KEPT})


@contextmanager
def apart_from_steps() -> Iterator[None]:
    """Take what is allocated here from the system, piece by piece, not from what steps use again and again."""
    if not _kept:
        yield
        return
    _set_malloc({MMAP_THRESHOLD: 2**17})
    try:
        yield
    finally:
        _set_malloc({MMAP_THRESHOLD: KEPT})


def _set_malloc(options: dict[int, int]) -> None:
    """Set options of glibc's malloc, if it is there and the user has set none in the environment."""
    mallopt = _of_glibc("mallopt")
    if mallopt is not None and not any(name.startswith("MALLOC_") for name in os.environ):
        for option, value in options.items():
            mallopt(option, value)


@contextmanager
def no_collections() -> Iterator[None]:
    """Collect nothing in the block: what it imports stays, and looking at it again and again takes long."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def set_aside() -> None:
    """Let collections pass over all that lives now, modules most of all: it stays, and looking at it takes long."""
    if library_use() is None and not gc.get_freeze_count():
        gc.freeze()


@contextmanager
def nothing_set_aside_later() -> Iterator[None]:
    """Let collections look at everything again after the block."""
    before = gc.get_freeze_count()
    try:
        yield
    finally:
        if not before:
            gc.unfreeze()


def hand_back_memory(*, collect: bool = True) -> None:
    """Give the system what was kept for steps, when something else comes next, which has its own room.

    Without `collect`, which takes longer than a step, what nothing but a circle of objects holds stays.
    """
    if collect:
        gc.collect()  # a network and its trainer hold one another
    malloc_trim = _of_glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def free_memory() -> int:
    """Return the bytes of memory that are free: of the machine, within the limits of a container."""
    import psutil

    available = int(psutil.virtual_memory().available)
    return min(available, left) if (left := free_in_container()) is not None else available


def _of_glibc(name: str) -> Any:
    """Return a function of the C library that glibc alone has, or None."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
