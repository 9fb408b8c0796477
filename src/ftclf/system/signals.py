"""Signals that ask a command to end: it does so cleanly; a second one ends it at once.

They are SIGINT, SIGTERM, SIGHUP (a terminal that was closed) and what schedulers warn by: SIGUSR1, SIGUSR2, SIGXCPU.
One that the process was started to ignore, as `nohup` does, stays ignored.

Outside `stop_later` the first signal raises Stopped wherever the command is: all that it writes is whole or not there.
Inside, it only leaves a mark, and the training loop ends after its step with a checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from ftclf.system.console import speaker

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
SOON = 0.01  # seconds until a signal is obeyed again whose exception Python passed over
GRACE = 10.0  # seconds until a command ends that swallowed the exception, as a library's bare `except` may


class Stopped(BaseException):
    """A signal asked the command to end. No `except Exception` may take it for a failure."""

    def __init__(self, number: int, where: str = "") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}{where}")
        self.exit_code = exit_code(number)
        _Request.stopped = self


class _Request:
    """The signal that came, and who is told of it instead of the exception."""

    number: int | None = None
    stopped: Stopped | None = None
    instead: Callable[[int], None] | None = None
    obeyed = False  # whether there is a command that it may ask
    deadline: threading.Timer | None = None


def exit_code(number: int) -> int:
    """Return the exit code of a command that a signal ended: 130 for Ctrl-C, 143 for the others."""
    return 130 if number == signal.SIGINT else 143


@contextmanager
def stoppable() -> Iterator[None]:
    """Obey the signals while the block runs. Only a main thread can; elsewhere they stay as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _Request.number = _Request.stopped = _Request.instead = None
    obeyed = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before, hook = {number: signal.signal(number, _obey) for number in obeyed}, sys.unraisablehook
    sys.unraisablehook = lambda passed_over: _obey_again() if _is_stop(passed_over) else hook(passed_over)
    _Request.obeyed = True
    try:
        yield
    finally:
        _Request.obeyed = False
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
        if _Request.deadline is not None:
            _Request.deadline.cancel()


def _say_later(_: int) -> None:
    with suppress(OSError):  # the terminal may be gone: that may be what the signal says
        os.write(2, f"{speaker()}stopping after this step; a second signal stops at once\n".encode())


@contextmanager
def stop_later(tell: Callable[[int], None] = _say_later) -> Iterator[None]:
    """Let the block end by itself: a signal is told to `tell` and raises Stopped when the block has ended.

    In a thread beside the main one it does so anyway: signals come to the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        stop_if_asked()
        return
    before, _Request.instead = _Request.instead, tell
    try:
        yield
    finally:
        _Request.instead = before
    stop_if_asked()


@contextmanager
def unbroken() -> Iterator[None]:
    """Let a signal wait for the few calls of the block, which leave something behind if they do not all happen."""
    if threading.current_thread() is not threading.main_thread() or _Request.instead is not None:
        yield  # no signal breaks in here
        return
    came: list[int] = []
    _Request.instead = came.append
    try:
        yield
    except Exception as error:
        if came:
            raise Stopped(came[0]) from error
        raise
    finally:
        _Request.instead = None
    if came:
        raise Stopped(came[0])


def asked() -> int | None:
    """Return the signal that asked the command to end, if one did."""
    return _Request.number if _Request.obeyed else None


def stopped() -> Stopped | None:
    """Return what a signal raised. An error that comes after it comes of it: libraries swallow it, and then fail."""
    return _Request.stopped


def stop_if_asked(where: str = "") -> None:
    """Raise Stopped if a signal came."""
    if (number := asked()) is not None:
        raise Stopped(number, where)


def _obey(number: int, _: FrameType | None) -> None:
    if _Request.number is not None:
        os._exit(exit_code(number))
    _Request.number = number
    if _Request.instead is not None:
        _Request.instead(number)
        return
    _Request.deadline = threading.Timer(GRACE, os._exit, [exit_code(number)])
    _Request.deadline.daemon = True
    _Request.deadline.start()
    raise Stopped(number)


def _is_stop(passed_over: Any) -> bool:
    return isinstance(passed_over.exc_value, Stopped)


def _obey_again() -> None:
    """Obey a signal that came where nothing can be raised: in a callback of Python's own, as of a weak reference."""
    number = _Request.number
    if number is None:
        return
    _Request.number = _Request.stopped = None
    if _Request.deadline is not None:
        _Request.deadline.cancel()
    _Request.deadline = threading.Timer(SOON, os.kill, [os.getpid(), number])  # not once the command has ended
    _Request.deadline.daemon = True
    _Request.deadline.start()
