"""What people see while a run goes: one console, one log file."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

LOG = logging.getLogger("ftclf")
LOG.addHandler(logging.NullHandler())  # without one Python prints warnings a second time
ERROR, WARNING, NOTE = "bold red", "yellow", "cyan"
GOOD, BAD, OPEN = "bold green", "bold red", "yellow"  # verdicts
READER_GONE = (errno.EPIPE, errno.EIO)  # a pipe, a terminal
_speaker: ContextVar[str] = ContextVar("speaker", default="")


def speak_as(name: str) -> None:
    """Put a name before every line of this thread, which is one of several that train side by side."""
    _speaker.set(f"{name}: ")


def speaker() -> str:
    """Return what stands before every line of this thread."""
    return _speaker.get()


def say(line: str, style: str = "") -> None:
    """Print one line to the user, as it is: no markup in it counts, and control characters are shown, not obeyed.

    The log has the line without its style.
    """
    LOG.info(line)
    emit(f"{_speaker.get()}{painted(printable(line), style)}")


def say_lines(plain: str, styled: str) -> None:
    """Print lines that were rendered for this terminal; the log has the plain ones."""
    for line in plain.split("\n"):
        LOG.info(line)
    for line in styled.split("\n"):
        emit(f"{_speaker.get()}{line}")


def warn(line: str) -> None:
    """Print one warning to stderr and the log."""
    LOG.warning(line)
    emit(f"{_speaker.get()}{painted('warning:', WARNING, sys.stderr)} {printable(line)}", sys.stderr)


def complain(line: str) -> None:
    """Print one error to stderr."""
    emit(f"{painted('error:', ERROR, sys.stderr)} {one_line(line)}", sys.stderr)


def note(line: str) -> None:
    """Print to stderr how something of the command line was understood."""
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
    """Print a line where somebody still reads it: a closed terminal or pipe ends no training."""
    stream = stream or sys.stdout
    try:
        print(line, file=stream, flush=True)
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
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
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
