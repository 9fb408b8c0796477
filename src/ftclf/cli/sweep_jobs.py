"""A process for each job of a sweep, or for some that train together: what ends one, be it the kernel, harms no other.

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
from itertools import cycle
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

from ftclf.config import LoraConfig, TrainConfig
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


@dataclass(frozen=True)
class Lane:
    """Jobs, by their numbers, that one process trains; several of them in one pass.

    `cores` are those that it is confined to, None for all; `alone` is how many a job would have had without the others:
    its random draws, and so its result, are those that it would then have.
    """

    jobs: dict[int, Job]
    cores: frozenset[int] | None = None
    alone: int = 0


def lanes_of(jobs: dict[int, Job]) -> list[Lane]:
    """Deal out jobs that can train in one pass to processes: a core for each uses both better than two for all.

    The larger a job's rank the longer it takes: the sweep ends with the slowest process, so each gets large and small.
    """
    from ftclf.model.compute import usable_cores
    from ftclf.system.imports import may_have_gpu

    cores = usable_cores()
    threads = next(iter(jobs.values())).config.training.threads
    lanes = min(len(jobs), cores // (threads or 1))
    if lanes < 2 or not hasattr(os, "sched_getaffinity") or may_have_gpu():
        return [Lane(jobs)]
    free, by_rank = sorted(os.sched_getaffinity(0)), sorted(jobs, key=lambda number: _rank(jobs[number]), reverse=True)
    there_and_back = cycle([*range(lanes), *reversed(range(lanes))])
    dealt = dict(zip(by_rank, there_and_back, strict=False))
    return [
        Lane(
            {number: job for number, job in jobs.items() if dealt[number] == lane},
            frozenset(free[lane * cores // lanes : (lane + 1) * cores // lanes]),
            min(threads or cores, cores),
        )
        for lane in range(lanes)
    ]


def _rank(job: Job) -> int:
    return job.config.method.r if isinstance(job.config.method, LoraConfig) else 0


def train_apart(*lanes: Lane) -> None:
    """Train jobs in processes of their own, one for each lane. Signals are handed on to them.

    Each job leaves its metrics, or the reason why there are none.
    """
    jobs = {number: job for lane in lanes for number, job in lane.jobs.items()}
    # Counting the devices through the driver, as importing transformers does, would spoil them for forked processes.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    for job in jobs.values():
        Run(job.folder).failure.unlink(missing_ok=True)
    pipes = [context.Pipe(duplex=False) for _ in lanes]
    processes = [context.Process(target=_work, args=(lane, held)) for lane, (_, held) in zip(lanes, pipes, strict=True)]

    told: set[int] = set()  # twice would end it at once

    def hand_on(number: int) -> None:
        for pid in [process.pid for process in processes]:
            if pid is not None and pid not in told:
                told.add(pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    with stop_later(hand_on):
        with _server_deaf_to_signals():
            for process in processes:
                process.start()
        for _, held in pipes:
            held.close()
        if (number := asked()) is not None:  # it came while the server started: there was nobody to hand it on to
            hand_on(number)
        for process, (ended, _) in zip(processes, pipes, strict=True):
            process.join()
            with ended:
                ended.poll(None)  # a process whose server is gone counts as joined, and goes on all the same
    for lane, process in zip(lanes, processes, strict=True):
        for job in lane.jobs.values():
            run = Run(job.folder)
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


def _work(lane: Lane, held: Connection) -> None:
    """Train, in the process of a lane. `held` is closed by its end, however it comes."""
    os.setpgrp()  # Ctrl-C reaches the sweep, which hands it on: twice would mean at once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from ftclf.cli.main import guarded

    def work() -> int:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if lane.cores is not None:
            os.sched_setaffinity(0, lane.cores)
        if len(lane.jobs) == 1 and lane.cores is None:
            _train(*lane.jobs.values())
        else:
            from ftclf.training.together import train_side_by_side

            train_side_by_side({number: partial(_train, job) for number, job in lane.jobs.items()}, lane.alone)
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
