"""A process for each job of a sweep: what ends one, be it the kernel, harms no other.

A server process imports torch and transformers once, and every job is forked from it: a job starts in a tenth of a
second. It computes nothing itself, so that no thread pool is ever forked.
"""

from __future__ import annotations

import multiprocessing
import os
import shlex
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from ftclf.config import TrainConfig
from ftclf.storage.lock import is_taken
from ftclf.storage.run_folder import Run, write_json
from ftclf.system.console import speak_as
from ftclf.system.memory import free_memory
from ftclf.system.signals import SIGNALS, asked, stop_later

PRELOADED = ["ftclf.cli.sweep_server"]
SERVER_GONE = 255  # what multiprocessing says of a process whose server is gone
LOOK = 0.5  # seconds between looks at the memory, while jobs wait


@dataclass(frozen=True)
class Job:
    """One job of a sweep. `name` stands before its lines, where jobs run side by side; `words` are its command line."""

    config: TrainConfig
    folder: Path
    overrides: list[str]
    words: list[str] | None = None
    name: str = ""
    gpu_share: float | None = None

    def fail(self, error: str, reason: str) -> None:
        """Leave the reason in the job's folder, where the sweep's end finds it; not where another sweep trains it."""
        if not Run(self.folder).finished and not is_taken(self.folder):
            why = {"error": error, "reason": reason, "overrides": self.overrides}
            write_json(Run(self.folder).failure, why)


@dataclass
class Running:
    """A job in its process. `ended` can be read when the process has ended, however it did."""

    job: Job
    process: Any
    ended: Connection
    began: float
    told: bool = False  # of a signal: twice would end it at once
    most_memory: int = 0  # bytes that it has had

    def hand_on(self, number: int) -> None:
        """Send a signal to the process, once."""
        if not self.told and self.process.pid is not None:
            self.told = True
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def memory(self) -> int:
        """Return the bytes of memory that the process has now."""
        import psutil

        with suppress(psutil.Error):
            now = int(psutil.Process(self.process.pid).memory_info().rss)
            self.most_memory = max(self.most_memory, now)
            return now
        return 0

    def settle(self) -> None:
        """Wait for the end of the process; the job leaves its metrics, or the reason why there are none."""
        self.process.join()
        self.ended.close()
        run = Run(self.job.folder)
        if not run.finished and not run.failure.exists():
            self.job.fail("Ended", _ended(self.process.exitcode or 0, self.job))


class Pool:
    """Jobs side by side: `at_once` at most, on so many cores, and as the memory allows that each may need.

    Without a need, or cores, these do not count.
    """

    def __init__(self, at_once: int = 1, need: int = 0, cores: int | None = None) -> None:
        self.at_once, self.need, self.cores = at_once, need, cores
        self.running: list[Running] = []
        self.seconds: list[float] = []  # that the jobs took which have ended

    def train(
        self,
        jobs: list[Job],
        begins: Callable[[Job], None] = lambda _: None,
        ends: Callable[[Job, float], None] = lambda *_: None,
    ) -> None:
        """Train each job in a process of its own. Signals are handed on to those that run; no other begins then.

        `begins` and `ends` are told of each job, `ends` with the seconds that are left for all.
        """
        # Counting devices through the driver, as importing transformers does, would spoil them for forked processes.
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        waiting = deque(jobs)
        with stop_later(self._hand_on):
            while (waiting and asked() is None) or self.running:
                while waiting and asked() is None and self._has_room_for(waiting[0]):
                    begins(waiting[0])
                    self._start(waiting.popleft(), context)
                # The end of the pipe is what counts: a process whose server is gone is joined at once, and goes on.
                for found in wait([one.ended for one in self.running], LOOK if waiting else None):
                    (one,) = (one for one in self.running if one.ended is found)
                    one.settle()
                    self.running.remove(one)
                    self.need = self.need and max(self.need, one.most_memory)
                    self.seconds.append(time.monotonic() - one.began)
                    ends(one.job, self._left(len(waiting)))

    def _start(self, job: Job, context: Any) -> None:
        Run(job.folder).failure.unlink(missing_ok=True)
        ended, held = context.Pipe(duplex=False)
        one = Running(job, context.Process(target=_work, args=(job, held)), ended, time.monotonic())
        self.running.append(one)
        with _server_deaf_to_signals():
            one.process.start()
        held.close()
        if (number := asked()) is not None:  # it came while the server started: there was nobody to hand it on to
            one.hand_on(number)

    def _hand_on(self, number: int) -> None:
        for one in [*self.running]:
            one.hand_on(number)

    def _has_room_for(self, job: Job) -> bool:
        """Return whether one more job can run beside those that do: they may still grow to what a job needs."""
        taken = [one.memory() for one in self.running] if self.need else []  # seen, whether another could begin or not
        if not self.running or len(self.running) >= self.at_once:
            return not self.running
        if self.cores is not None:
            every = [job.config, *(one.job.config for one in self.running)]
            if sum(config.training.threads or self.cores for config in every) > self.cores:
                return False
        if not self.need:
            return True
        return free_memory() - sum(max(0, self.need - now) for now in taken) >= self.need

    def _left(self, waiting: int) -> float:
        """Return the seconds until all jobs are done, if each takes as long as those that have ended did."""
        each, now = sum(self.seconds) / len(self.seconds), time.monotonic()
        rest = [max(0.0, each - (now - one.began)) for one in self.running]
        return max([*rest, (each * waiting + sum(rest)) / self.at_once])


@contextmanager
def _server_deaf_to_signals() -> Iterator[None]:
    """Let a server that starts in the block never see a signal that is meant for all processes of a sweep.

    `timeout` and SLURM send such. The server has no work to end: its death would leave its jobs without anyone who
    knows of them. What it forks is as deaf, until it can obey.
    """
    resource_tracker.ensure_running()  # lets the signals through again, where it is the first to start it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        forkserver.ensure_running()
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(job: Job, held: Connection) -> None:
    """Train, in the job's process. `held` is closed by its end, however it comes."""
    os.setpgrp()  # Ctrl-C reaches the sweep, which hands it on: twice would mean at once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if job.name:
        speak_as(job.name)
    from ftclf.cli.exit_codes import guarded

    def work() -> int:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        _train(job)
        return 0

    sys.exit(guarded(work))


def _train(job: Job) -> float | None:
    from ftclf.cli.exit_codes import attempt, report
    from ftclf.training.run import train

    def give_up(error: Exception) -> None:
        report(error)
        job.fail(type(error).__name__, " ".join(str(error).split()) or type(error).__name__)

    def work() -> float:
        if job.gpu_share is not None:
            _share_gpu(job.gpu_share)
        return train(job.config, job.folder, command)

    command = shlex.join(["ftclf", "train", *(job.words or job.overrides)])
    return attempt(work, give_up)


def _share_gpu(share: float) -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(share)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _ended(code: int, job: Job) -> str:
    go_on = f"go on with {shlex.join(['ftclf', 'train', f'resume={job.folder}'])}"
    if code == -signal.SIGKILL:
        fewer = "run fewer jobs at a time (jobs=1), or " if job.name else ""
        return f"its process was killed; the system does that when memory runs out: {fewer}lower training.batch_size"
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    if code in (130, 143):
        return f"it was stopped by a signal; {go_on}"
    if code == SERVER_GONE:
        return f"its process was ended, and so was the one that had started it; {go_on}"
    return f"its process left with exit code {code} and no reason"
