"""ftclf as a library: nothing is printed, warnings are Python's, and the process stays as it was found.

The command line owns its process, and sets it up as it likes. A function of `import ftclf` runs in somebody else's.
"""

from __future__ import annotations

import functools
import logging
import os
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import ParamSpec, TypeVar

from ftclf.system.errors import FtclfError, FtclfWarning, as_ftclf_error

P = ParamSpec("P")
T = TypeVar("T")
# Variables that a training sets, for itself or by its libraries.
VARIABLES = (
    *("TENSORBOARD_LOGGING_DIR", "HF_HUB_OFFLINE", "PYTORCH_ENABLE_MPS_FALLBACK", "FSDP_CPU_RAM_EFFICIENT_LOADING"),
    *("ACCELERATE_MIXED_PRECISION", "ACCELERATE_DYNAMO_BACKEND", "ACCELERATE_DYNAMO_MODE"),
)


@dataclass
class LibraryUse:
    """A call of one of the library's functions: what it may show, and what it has to say at its end."""

    progress: bool = False
    warnings: list[str] = field(default_factory=list)
    log: logging.Handler | None = None  # of the run that it trains


_use: ContextVar[LibraryUse | None] = ContextVar("library_use", default=None)


def library_use() -> LibraryUse | None:
    """Return the call of the library that this thread works for, None on the command line."""
    return _use.get()


def as_library(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function print nothing, raise nothing but FtclfErrors for what a user can mend, and warn at its end.

    Its argument `progress`, if it has one, says whether bars are shown.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        use = LibraryUse(progress=bool(kwargs.get("progress")))
        token = _use.set(use)
        try:
            with _Errors():
                result = function(*args, **kwargs)
        except FtclfError:
            with suppress(Warning):  # made an error by `-W error`: the one that is raised says more
                _tell(use)
            raise
        finally:
            _use.reset(token)
        _tell(use)
        return result

    return call


def _tell(use: LibraryUse) -> None:
    for line in dict.fromkeys(use.warnings):
        warnings.warn(line, FtclfWarning, stacklevel=3)


class _Errors:
    """Turns what libraries and the system raise for a full disk or memory into an FtclfError."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if isinstance(error, Exception) and (known := as_ftclf_error(error)) is not None and known is not error:
            raise known from error


# ---- the process


class _Kept:
    """How often `process_kept` is open now: the first saves, the last restores."""

    lock = threading.Lock()
    count = 0
    restore = ExitStack()


@contextmanager
def process_kept() -> Iterator[None]:
    """Put back after the block what it sets for the whole process: threads, random states, loggers, variables."""
    with _Kept.lock:
        _Kept.count += 1
        if _Kept.count == 1:
            _Kept.restore = _saved()
    try:
        yield
    finally:
        with _Kept.lock:
            _Kept.count -= 1
            if _Kept.count == 0:
                _Kept.restore.close()


@contextmanager
def threads_kept(threads: int) -> Iterator[None]:
    """Let torch compute with so many threads in the block, and with as many as before after it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _saved() -> ExitStack:
    """Return what restores the process when it is closed."""
    import numpy as np
    import torch

    stack = ExitStack()
    stack.callback(_set_variables, {name: os.environ.get(name) for name in VARIABLES})
    stack.callback(random.setstate, random.getstate())
    stack.callback(np.random.set_state, np.random.get_state())
    stack.callback(torch.set_rng_state, torch.get_rng_state())
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        stack.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
    stack.callback(torch.set_num_threads, torch.get_num_threads())
    stack.callback(_loggers_restored())
    stack.enter_context(warnings.catch_warnings())
    warnings.filterwarnings("ignore", module="(transformers|peft|torch|accelerate|sklearn)([.]|$)")
    return stack


def _set_variables(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _loggers_restored() -> Callable[[], None]:
    """Return what gives transformers' logger and bars back what they had."""
    from transformers.utils import logging as logs

    logger, bars = logging.getLogger("transformers"), logs.is_progress_bar_enabled()
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate

    def restore() -> None:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)
        (logs.enable_progress_bar if bars else logs.disable_progress_bar)()  # type: ignore[no-untyped-call]

    return restore
