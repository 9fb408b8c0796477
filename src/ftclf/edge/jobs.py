"""A process for each job of a sweep: what ends one, be it the kernel, harms no other.

A server process imports torch and transformers once, and every job is forked from it: a job starts in a tenth of a
second. It computes nothing itself, so that no thread pool is ever forked.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from ftclf.config import TrainConfig, choosing_metric
from ftclf.errors import SweepError
from ftclf.runs import Run, read_json, write_json
from ftclf.stopping import stop_later

PRELOADED = ["torch", "transformers.trainer", "transformers.models.auto.modeling_auto", "peft", "sklearn.linear_model"]


def train_in_process(config: TrainConfig, folder: Path, command: str) -> float:
    """Train in a process of its own and return the validation score. Signals are handed on to it.

    Raises SweepError with the reason that the job left, or with how its process ended.
    """
    # Counting the devices through the driver, as importing transformers does, would spoil them for forked processes.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    run = Run(folder)
    run.failure.unlink(missing_ok=True)
    process = context.Process(target=_work, args=(config, folder, command))
    process.start()

    def hand_on(number: int) -> None:
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, number)

    with stop_later(hand_on):
        process.join()
    if process.exitcode == 0:
        return float(read_json(run.metrics)["validation"][choosing_metric(config)])
    raise SweepError(read_json(run.failure)["reason"] if run.failure.exists() else _ended(process.exitcode))


def failure_of(error: Exception) -> dict[str, Any]:
    """Return what is kept of the error that ended a run."""
    return {"error": type(error).__name__, "reason": " ".join(str(error).split()) or type(error).__name__}


def _work(config: TrainConfig, folder: Path, command: str) -> None:
    """Train, in the job's own process."""
    os.setpgrp()  # Ctrl-C reaches the sweep, which hands it on: twice would mean at once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from ftclf.cli import guarded

    def work() -> int:
        from ftclf.training import train

        try:
            train(config, folder, command)
        except Exception as error:
            write_json(Run(folder).failure, failure_of(error))
            raise
        return 0

    sys.exit(guarded(work))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _ended(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed; the system does that when memory runs out: lower training.batch_size"
    if code is not None and code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    if code in (130, 143):
        return "it was stopped by a signal; the same command goes on"
    return f"its process left with exit code {code} and no reason"
