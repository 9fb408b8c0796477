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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

from ftclf.config import TrainConfig
from ftclf.storage.lock import is_taken
from ftclf.storage.run_folder import Run, write_json
from ftclf.system.signals import SIGNALS, asked, stop_later

PRELOADED = ["ftclf.cli.sweep_server"]
SERVER_GONE = 255  # what multiprocessing says of a process whose server is gone


@dataclass(frozen=True)
class Job:
    """One job of a sweep."""

    config: TrainConfig
    folder: Path
    overrides: list[str]

    def fail(self, error: str, reason: str) -> None:
        """Leave the reason in the job's folder, where the sweep's end finds it; not where another sweep trains it."""
        if not Run(self.folder).finished and not is_taken(self.folder):
            why = {"error": error, "reason": reason, "overrides": self.overrides}
            write_json(Run(self.folder).failure, why)


def train_apart(job: Job) -> None:
    """Train a job in a process of its own. Signals are handed on to it.

    It leaves its metrics, or the reason why there are none.
    """
    # Counting the devices through the driver, as importing transformers does, would spoil them for forked processes.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    run = Run(job.folder)
    run.failure.unlink(missing_ok=True)
    ended, held = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, held))
    told: set[int] = set()  # twice would end it at once

    def hand_on(number: int) -> None:
        if (pid := process.pid) is not None and pid not in told:
            told.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    with stop_later(hand_on):
        with _server_deaf_to_signals():
            process.start()
        held.close()
        if (number := asked()) is not None:  # it came while the server started: there was nobody to hand it on to
            hand_on(number)
        process.join()
        with ended:
            ended.poll(None)  # a process whose server is gone counts as joined, and goes on all the same
    if not run.finished and not run.failure.exists():
        job.fail("Ended", _ended(process.exitcode or 0, job.folder))


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
    from ftclf.cli.main import guarded

    def work() -> int:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        _train(job)
        return 0

    sys.exit(guarded(work))


def _train(job: Job) -> float | None:
    from ftclf.cli.main import attempt, report
    from ftclf.training.run import train

    def give_up(error: Exception) -> None:
        report(error)
        job.fail(type(error).__name__, " ".join(str(error).split()) or type(error).__name__)

    command = shlex.join(["ftclf", "train", *job.overrides])
    return attempt(lambda: train(job.config, job.folder, command), give_up)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _ended(code: int, folder: Path) -> str:
    go_on = f"go on with {shlex.join(['ftclf', 'train', f'resume={folder}'])}"
    if code == -signal.SIGKILL:
        return "its process was killed; the system does that when memory runs out: lower training.batch_size"
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    if code in (130, 143):
        return f"it was stopped by a signal; {go_on}"
    if code == SERVER_GONE:
        return f"its process was ended, and so was the one that had started it; {go_on}"
    return f"its process left with exit code {code} and no reason"
