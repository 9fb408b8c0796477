"""Commands in processes of their own that can really be killed: forked from a server that has imported everything."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
PRELOADED = ["faults.warm"]
LIMIT = 900.0  # seconds until a process counts as hanging
# An exit code can be read once, and whoever starts a process reads those of all that have ended: of two threads at it
# at once, the later one finds nothing and takes the code for 255.
_exit_codes = threading.Lock()


def start_server(library: Path | None) -> None:
    """Start the process from which the trials are forked, with the library of calls.c under it."""
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    before = dict(os.environ)
    # A process that is killed takes nothing back, which is no news.
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(TESTS), before.get("PYTHONPATH")]))
    if library is not None:
        os.environ["LD_PRELOAD"] = str(library)
    forkserver.ensure_running()
    os.environ.clear()
    os.environ.update(before)


class Trial:
    """One command in a process; `before` is a module-level function that is called in it first."""

    def __init__(self, words: list[str], output: Path, before: Callable[..., None] | None = None, *args: Any) -> None:
        output.parent.mkdir(parents=True, exist_ok=True)
        self.output, self.started = output, time.perf_counter()
        context = multiprocessing.get_context("forkserver")
        self.process = context.Process(target=_work, args=(words, output, before, args))
        with _exit_codes:
            self.process.start()
        self.seconds = 0.0

    def wait(self, seconds: float = LIMIT) -> int | None:
        """Return the exit code as a shell gives it, or None if the process has not ended in this time."""
        if not wait([self.process.sentinel], seconds):
            return None
        with _exit_codes:
            code = self.process.exitcode
        if code is None:
            return None
        self.seconds = time.perf_counter() - self.started
        return code if code >= 0 else 128 - code

    def signal(self, number: int) -> None:
        """Send a signal, if the process still runs."""
        with _exit_codes:
            if self.process.is_alive() and self.process.pid is not None:
                os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Kill the process, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def said(self) -> str:
        """Return what the command printed to stderr."""
        return self.output.with_suffix(".err").read_text(encoding="utf-8")


def run(words: list[str], output: Path, before: Callable[..., None] | None = None, *args: Any) -> tuple[int, str]:
    """Run a command to its end; return its exit code and what it printed to stderr. A hanging one is killed: 999."""
    trial = Trial(words, output, before, *args)
    code = trial.wait()
    if code is None:
        trial.kill()
    return 999 if code is None else code, trial.said()


_one_at_a_time = threading.Lock()  # a command prints to the process's own stderr


def in_this_process(work: Callable[[], int]) -> tuple[int, str]:
    """Run a command that ends before anything heavy begins; return its exit code and what it printed to stderr."""
    with _one_at_a_time, contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        return work(), said.getvalue()


def fresh(words: list[str], **environment: str) -> subprocess.Popen[str]:
    """Start a command as a user does: a new interpreter that imports everything itself."""
    return subprocess.Popen(
        [sys.executable, "-m", "ftclf", *words],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _work(words: list[str], output: Path, before: Callable[..., None] | None, args: tuple[Any, ...]) -> None:
    os.setpgrp()
    for number, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(output.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    from ftclf.cli.main import run as command

    if before is not None:
        before(*args)
    code = command(words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
