"""What people see while a run goes: one console, one log file, a progress bar or plain lines."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

LOG = logging.getLogger("ftclf")
LOG.addHandler(logging.NullHandler())  # without one Python prints warnings a second time
_speaker: ContextVar[str] = ContextVar("speaker", default="")


def speak_as(name: str) -> None:
    """Put a name before every line of this thread, which is one of several that train side by side."""
    _speaker.set(f"{name}: ")


def say(line: str) -> None:
    """Print one line to the user, as it is: no markup in it counts, and control characters are shown, not obeyed."""
    LOG.info(line)
    print(f"{_speaker.get()}{printable(line)}", flush=True)


def warn(line: str) -> None:
    """Print one warning to stderr and the log."""
    LOG.warning(line)
    print(f"{_speaker.get()}warning: {printable(line)}", file=sys.stderr, flush=True)


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


class Progress:
    """Loss, examples a second and time left of a training run: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, total_steps: int, batch_size: int, *, seconds_between_lines: float = 20.0) -> None:
        self.total, self.batch_size, self.every = total_steps, batch_size, seconds_between_lines
        self.started = self.last_line = time.perf_counter()
        self.first_step = 0
        self.loss: float | None = None
        self.bar: Any = None
        if sys.stdout.isatty() and not _speaker.get():  # bars of several trainings would write over one another
            self._open_bar()

    def start_at(self, step: int) -> None:
        """Say that a resumed run begins at this step."""
        self.first_step = step

    def step(self, step: int, loss: float | None) -> None:
        """Show that `step` optimizer steps are done."""
        self.loss = self.loss if loss is None else loss
        done = max(1, step - self.first_step)
        seconds = time.perf_counter() - self.started
        rate = done * self.batch_size / seconds
        left = (self.total - step) * seconds / done
        if self.bar is not None:
            shown = "" if self.loss is None else f"loss {self.loss:.3f}"
            self.bar.update(self.task, completed=step, loss=shown, rate=f"{rate:.0f} examples/s")
        elif time.perf_counter() - self.last_line > self.every:
            self.last_line = time.perf_counter()
            loss_text = "" if self.loss is None else f"loss {self.loss:.3f}, "
            print(
                f"{_speaker.get()}step {step}/{self.total}: {loss_text}{rate:.0f} examples/s, {clock(left)} left",
                flush=True,
            )

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()

    def _open_bar(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.bar = RichProgress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self.bar.start()
        self.task = self.bar.add_task("training", total=self.total, loss="", rate="")


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
