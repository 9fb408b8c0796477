"""The one place where errors become lines and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from ftclf.system.console import READER_GONE, complain, emit, one_line, speaker
from ftclf.system.errors import ConfigError, SweepError, as_ftclf_error
from ftclf.system.signals import Stopped, stoppable, stopped


def guarded(work: Callable[[], int]) -> int:
    """Do some work that signals may stop, and return its exit code, or that of whatever ended it."""
    try:
        with stoppable():
            code = work()
            print(end="", flush=True)  # here, where it may still fail
            return code
    except SystemExit as error:  # argparse and Hydra leave so
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 2
    except Stopped as signal:
        _complain(str(signal))
        return signal.exit_code
    except KeyboardInterrupt:
        _complain("stopped")
        return 130
    except Exception as error:
        if (cause := stopped()) is None:
            return 0 if _reader_gone(error) else report(error)
        _complain(str(cause))
        return cause.exit_code


def _reader_gone(error: Exception) -> bool:
    """Return whether the reader of our output is gone, as in `ftclf ls | head -1`, and write to nobody from then on."""
    if not isinstance(error, OSError) or error.errno not in READER_GONE or error.filename is not None:
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _complain(line: str) -> None:
    """Print one line to stderr; nobody need read it, as in `ftclf train x=1 2>&1 | true`."""
    emit(f"{speaker()}{one_line(line)}", sys.stderr)


def attempt(work: Callable[[], float | None], give_up: Callable[[Exception], None]) -> float | None:
    """Do something and hand whatever error it has, unless it comes of a signal, to `give_up`."""
    try:
        return work()
    except Exception as error:
        if (cause := stopped()) is not None:
            raise cause from error  # Hydra prints lines of its own around any other
        give_up(error)
        return None


def report(error: Exception) -> int:
    """Print an error as one line a problem and return its exit code. FTCLF_DEBUG=1 shows the traceback."""
    if os.environ.get("FTCLF_DEBUG"):
        import traceback

        traceback.print_exception(error)
    if (known := as_ftclf_error(error)) is not None:
        for line in str(known).split("\n") if isinstance(known, ConfigError | SweepError) else [str(known)]:
            complain(line)
        return known.exit_code
    text = " ".join(str(error).split())[:300]
    complain(f"{type(error).__name__}: {text} (a bug in ftclf; FTCLF_DEBUG=1 shows where)")
    return 1
