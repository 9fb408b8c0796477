"""What people see while a run goes: one console, one log file."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ftclf.system.library import library_use

LOG = logging.getLogger("ftclf")
LOG.addHandler(logging.NullHandler())  # without one Python prints warnings a second time
ERROR, WARNING, NOTE = "bold red", "yellow", "cyan"
GOOD, BAD, OPEN = "bold green", "bold red", "yellow"  # verdicts
READER_GONE = (errno.EPIPE, errno.EIO)  # a pipe, a terminal


class _Speaker:
    """What stands before every line of this process."""

    prefix = ""


def speak_as(name: str) -> None:
    """Put a name before every line of this process, which is one of several that print side by side."""
    _Speaker.prefix = f"{name}: "


def speaker() -> str:
    """Return what stands before every line of this process."""
    return _Speaker.prefix


def say(line: str, style: str = "") -> None:
    """Print one line to the user, as it is: no markup in it counts, and control characters are shown, not obeyed.

    The log has the line without its style.
    """
    if _logged(line):
        emit(f"{speaker()}{painted(printable(line), style)}")


def say_lines(plain: str, styled: str) -> None:
    """Print lines that were rendered for this terminal; the log has the plain ones."""
    printed = [_logged(line) for line in plain.split("\n")]
    for line in styled.split("\n") if all(printed) else []:
        emit(f"{speaker()}{line}")


def _logged(line: str) -> bool:
    """Write a line to the log; return whether it is printed too, which it is not for a program that calls ftclf."""
    use = library_use()
    if use is None or LOG.isEnabledFor(logging.INFO):
        LOG.info(line)
    elif use.log is not None:  # the program that called has its log of warnings alone, the run has one of its own
        use.log.handle(LOG.makeRecord(LOG.name, logging.INFO, "", 0, line, (), None))
    return use is None


def warn(line: str) -> None:
    """Print one warning to stderr and the log."""
    LOG.warning(line)
    if (use := library_use()) is not None:
        use.warnings.append(line)
        return
    emit(f"{speaker()}{painted('warning:', WARNING, sys.stderr)} {printable(line)}", sys.stderr)


def complain(line: str) -> None:
    """Print one error to stderr."""
    emit(f"{speaker()}{painted('error:', ERROR, sys.stderr)} {one_line(line)}", sys.stderr)


def note(line: str) -> None:
    """Print to stderr how something of the command line was understood."""
    if library_use() is not None:
        say(f"note: {line}")
    else:
        emit(f"{painted('note:', NOTE, sys.stderr)} {one_line(line)}", sys.stderr)


def colours(stream: Any = None) -> bool:
    """Return whether a stream gets colours: a terminal does, others by FORCE_COLOR; none with NO_COLOR."""
    stream = stream or sys.stdout
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"


def painted(text: str, style: str, stream: Any = None) -> str:
    """Return a text in a style of rich, where the stream may have colours."""
    if not style or not colours(stream):
        return text
    from rich.color import ColorSystem
    from rich.style import Style

    return Style.parse(style).render(text, color_system=ColorSystem.STANDARD)


def width_of(stream: Any = None) -> int:
    """Return how many characters a line of a stream may have: COLUMNS, the terminal's width, and 200 into a file."""
    if (columns := os.environ.get("COLUMNS", "")).isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size((stream or sys.stdout).fileno()).columns or 80
    except (OSError, ValueError, AttributeError):  # no terminal, or no file
        return 200


def emit(line: str, stream: Any = None) -> None:
    """Print a line where somebody still reads it: a closed terminal or pipe ends no training.

    In one piece, so that lines of several processes stay whole.
    """
    stream = stream or sys.stdout
    try:
        print(f"{line}\n", end="", file=stream, flush=True)
    except OSError as error:
        if error.errno not in READER_GONE:
            raise
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def printable(text: str) -> str:
    """Replace control characters, so that a label or a path cannot steer the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def one_line(text: str) -> str:
    """Return a text as `printable` does, with its line breaks spelt out too."""
    return printable(text).replace("\n", "\\n")


class _Printable(logging.Formatter):
    """Lines of a log that may be shown on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Write everything that ftclf and the libraries log in this thread to a file while the block runs."""
    handler = logging.FileHandler(path, encoding="utf-8")
    owner = threading.get_ident()
    handler.addFilter(lambda record: record.thread == owner)
    handler.setFormatter(_Printable("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    level, disabled = root.level, LOG.disabled
    root.addHandler(handler)
    LOG.disabled = False  # Hydra disables the loggers that it finds
    if (use := library_use()) is None:
        root.setLevel(logging.INFO)
    else:
        use.log = handler
    try:
        yield
    finally:
        if use is not None:
            use.log = None
        root.removeHandler(handler)
        root.setLevel(level)
        LOG.disabled = disabled
        handler.close()


def clock(seconds: float) -> str:
    """Return seconds as 1:05 or 2:03:07."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(length: float) -> str:
    """Return bytes as 1.2 GB or 340 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if length >= scale:
            return f"{length / scale:.1f} {unit}"
    return f"{length / 1e3:.1f} kB"
