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
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ftclf.config import TrainConfig
from ftclf.runs import Run, write_json
from ftclf.stopping import stop_later

PRELOADED = ["torch", "transformers.trainer", "transformers.models.auto.modeling_auto", "peft", "sklearn.linear_model"]


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
    process = context.Process(target=_work, args=(jobs,))
    process.start()

    def hand_on(number: int) -> None:
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, number)

    with stop_later(hand_on):
        process.join()
    for job in jobs.values():
        run = Run(job.folder)
        if not run.finished and not run.failure.exists():
            job.fail("Ended", _ended(process.exitcode or 0))


def _work(jobs: dict[int, Job]) -> None:
    """Train, in the process of the jobs."""
    os.setpgrp()  # Ctrl-C reaches the sweep, which hands it on: twice would mean at once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from ftclf.cli import guarded

    def work() -> int:
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
    return f"its process left with exit code {code} and no reason"
