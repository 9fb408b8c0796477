"""A process for each job of a sweep, or for each group of jobs: what ends one, be it the kernel, harms no other.

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
from functools import partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

from ftclf.config import TrainConfig
from ftclf.runs import Run, write_json
from ftclf.stopping import SIGNALS, asked, stop_later

PRELOADED = ["torch", "transformers.trainer", "transformers.models.auto.modeling_auto", "peft", "sklearn.linear_model"]
SERVER_GONE = 255  # what multiprocessing says of a process whose server is gone


@dataclass(frozen=True)
class Job:
    """One job of a sweep."""

    config: TrainConfig
    folder: Path
    overrides: list[str]

    def fail(self, error: str, reason: str) -> None:
        """Leave the reason in the job's folder, where the sweep's end finds it."""
        write_json(Run(self.folder).failure, {"error": error, "reason": reason, "overrides": self.overrides})


def train_apart(jobs: dict[int, Job]) -> None:
    """Train jobs in a process of their own, several of them side by side. Signals are handed on to it.

    Each leaves its metrics, or the reason why there are none.
    """
    # Counting the devices through the driver, as importing transformers does, would spoil them for forked processes.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    for job in jobs.values():
        Run(job.folder).failure.unlink(missing_ok=True)
    ended, held = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(jobs, held))

    told: list[int] = []  # twice would end it at once

    def hand_on(number: int) -> None:
        if process.pid is not None and not told:
            told.append(number)
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)

    with ended, stop_later(hand_on):
        with _server_deaf_to_signals():
            process.start()
        held.close()
        if (number := asked()) is not None:  # it came while the server started: there was nobody to hand it on to
            hand_on(number)
        process.join()
        ended.poll(None)  # a process whose server is gone counts as joined, and goes on all the same
    for job in jobs.values():
        run = Run(job.folder)
        if not run.finished and not run.failure.exists():
            job.fail("Ended", _ended(process.exitcode or 0))


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


def _work(jobs: dict[int, Job], held: Connection) -> None:
    """Train, in the process of the jobs. `held` is closed by its end, however it comes."""
    os.setpgrp()  # Ctrl-C reaches the sweep, which hands it on: twice would mean at once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from ftclf.cli import guarded

    def work() -> int:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if len(jobs) == 1:
            _train(*jobs.values())
        else:
            from ftclf.together import train_side_by_side

            train_side_by_side({number: partial(_train, job) for number, job in jobs.items()})
        return 0

    sys.exit(guarded(work))


def _train(job: Job) -> float | None:
    from ftclf.cli import attempt, report
    from ftclf.training import train

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


def _ended(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed; the system does that when memory runs out: lower training.batch_size"
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    if code in (130, 143):
        return "it was stopped by a signal; the same command goes on"
    if code == SERVER_GONE:
        return "its process was ended, and so was the one that had started it; the same command goes on"
    return f"its process left with exit code {code} and no reason"
