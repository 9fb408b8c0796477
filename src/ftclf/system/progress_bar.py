"""What a run is doing: a bar on a terminal, elsewhere a line now and then, with the time that is left."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ftclf.system.console import clock, colours, emit, speaker

SOON, OFTEN, SELDOM = 9.0, 600.0, 30.0  # seconds between lines; how long they come often; then


class Phase:
    """One part of a run's work. `total` counts what there is to do; without it only the time that has passed is shown.

    Lines come from a thread of its own: a phase that is one long call says that it goes on, too.
    """

    def __init__(self, what: str, total: int | None = None, *, soon: float = SOON) -> None:
        self.what, self.total, self.soon = what, total, soon
        self.began, self.done = time.perf_counter(), 0
        self._speaker = speaker()
        self._bar: Any = None
        self._paused = False
        self._closed = threading.Event()
        if sys.stdout.isatty() and not self._speaker:  # bars of several trainings would write over one another
            self._open_bar()
        else:
            self._lines = threading.Thread(target=self._say_now_and_then, daemon=True)
            self._lines.start()

    def advance(self, count: int = 1) -> None:
        """Count what is done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, more=self.more())

    def more(self) -> str:
        """Return what else there is to say of the work."""
        return ""

    def left(self) -> float | None:
        """Return the seconds that are left if it goes on as it did; None where that cannot be told."""
        if not self.total or not self.done:
            return None
        return (self.total - self.done) * (time.perf_counter() - self.began) / self.done

    def close(self) -> None:
        """Take the bar away; no line comes any more."""
        self._closed.set()
        if self._bar is not None:
            self._bar.stop()
        elif self._lines is not threading.current_thread():
            self._lines.join()

    def pause(self) -> None:
        """Show nothing while a phase within this one is shown."""
        self._paused = True
        if self._bar is not None:
            self._bar.stop()

    def go_on(self) -> None:
        """Show this phase again."""
        self._paused = False
        if self._bar is not None:
            self._bar.start()

    def line(self) -> str:
        """Return how far it is as a line."""
        passed, left = time.perf_counter() - self.began, self.left()
        if left is None:
            return f"{self.what}: {f'{self.done:,} done, ' if self.done else ''}{clock(passed)}"
        return f"{self.what}: {self.done}/{self.total}, {clock(left)} left"

    def _say_now_and_then(self) -> None:
        while not self._closed.wait(self.soon if time.perf_counter() - self.began < OFTEN else SELDOM):
            if not self._paused:
                emit(f"{self._speaker}{self.line()}")

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        counted = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[more]}"), TimeRemainingColumn())
        columns = counted if self.total else (TextColumn("{task.fields[more]}"), TimeElapsedColumn())
        console = None if colours() else Console(color_system=None)
        self._bar = Progress(TextColumn("{task.description}"), *columns, transient=True, console=console)
        self._bar.start()
        self._task = self._bar.add_task(self.what, total=self.total, more="")


class TrainingPhase(Phase):
    """The steps of a training: loss, examples per second, and what comes when they are done."""

    def __init__(self, steps: int, batch_size: int, first_step: int = 0, *, soon: float = SOON) -> None:
        self.batch_size, self.first_step = batch_size, first_step
        self.after: float | None = None  # seconds of evaluation and baselines, once they can be told
        self.loss: float | None = None
        super().__init__("training", steps, soon=soon)
        self.done = first_step

    def reach(self, step: int, loss: float | None) -> None:
        """Show that `step` optimizer steps are done."""
        self.loss = self.loss if loss is None else loss
        self.advance(step - self.done)

    def left(self) -> float | None:
        own = self.done - self.first_step  # not those of the processes before
        if self.total is None or own < 1:
            return None
        return (self.total - self.done) * (time.perf_counter() - self.began) / own

    def more(self) -> str:
        rate = (self.done - self.first_step) * self.batch_size / (time.perf_counter() - self.began)
        shown = [*([] if self.loss is None else [f"loss {self.loss:.3f}"]), f"{rate:.0f} examples/s"]
        return ", ".join(shown) + ("" if self._bar is None or self.after is None else f", then {clock(self.after)}")

    def line(self) -> str:
        left = self.left()
        if left is None:
            return f"step {self.done}/{self.total}"
        after = "" if self.after is None else f", then {clock(self.after)} for evaluation and baselines"
        return f"step {self.done}/{self.total}: {self.more()}, {clock(left)} left{after}"


_innermost: ContextVar[Phase | None] = ContextVar("phase", default=None)  # that a `with` of this thread has opened


@contextmanager
def phase(what: str, total: int | None = None) -> Iterator[None]:
    """Show a part of a run's work while the block runs; `advance` inside of it counts."""
    around = _innermost.get()
    if around is not None:
        around.pause()
    shown = Phase(what, total)
    token = _innermost.set(shown)
    try:
        yield
    finally:
        _innermost.reset(token)
        shown.close()
        if around is not None:
            around.go_on()


def advance(count: int = 1) -> None:
    """Count what is done of the innermost phase, if one is open."""
    if (shown := _innermost.get()) is not None:
        shown.advance(count)
