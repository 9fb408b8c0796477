"""One side of a comparison, in a process of its own: its seconds, its peak memory, and the clock of its training."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLOCK = Path(__file__).with_name("clock")
LONGEST_SECONDS = 3600.0


class FailedError(Exception):
    """A row that could not be measured; the message is one line."""


@dataclass(frozen=True)
class Speed:
    """What a training did per second after its warm-up; tokens are real ones, without padding."""

    examples: float
    tokens: float
    padding: float  # share of the places in its batches


@dataclass(frozen=True)
class Training:
    """What the clock saw of one training; seconds count from the start of the process."""

    began: float
    ends: list[float]  # of each step
    batches: list[tuple[int, int, int]]  # rows, real tokens and places of each step
    evaluations: list[tuple[float, float | None]]  # when, accuracy

    def speed(self, warm_up: int) -> Speed:
        """Return the speed over all steps after the first `warm_up`. The data's way to the step is part of it."""
        if len(self.ends) <= warm_up or warm_up < 1:
            raise FailedError(f"{len(self.ends)} steps were made, {warm_up} of them are warm-up: nothing to time")
        seconds = self.ends[-1] - self.ends[warm_up - 1]
        rows, tokens, places = (sum(column) for column in zip(*self.batches[warm_up:], strict=True))
        return Speed(rows / seconds, tokens / seconds, 1 - tokens / places)

    def reached(self, accuracy: float) -> float:
        """Return the seconds until an evaluation had this accuracy."""
        for seconds, found in self.evaluations:
            if found is not None and found >= accuracy:
                return seconds
        best = max((found for _, found in self.evaluations if found is not None), default=float("nan"))
        raise FailedError(f"accuracy {accuracy:.4f} is not reached: the best evaluation has {best:.4f}")


@dataclass(frozen=True)
class Done:
    """A process that ended well."""

    seconds: float
    peak_mb: float  # the most resident memory it had at once, in 10^6 bytes
    output: str  # stdout
    trainings: list[Training]
    warm_up: int

    @property
    def speed(self) -> Speed:
        return self.training.speed(self.warm_up)

    @property
    def training(self) -> Training:
        if not self.trainings:
            raise FailedError("the clock saw no training: is it no longer a Trainer of transformers that trains?")
        return self.trainings[-1]

    @property
    def answer(self) -> Any:
        """The JSON in the last line of the output."""
        return json.loads(self.output.strip().splitlines()[-1])


def run(
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    clock: Mapping[str, str] | None = None,
    warm_up: int = 0,
    expect: int = 0,
    timeout: float = LONGEST_SECONDS,
) -> Done:
    """Run a command to its end. `clock` holds the clock's options; None leaves the process without one.

    The caller has to be small: Linux counts the memory that a process has before it becomes another program.
    """
    with tempfile.TemporaryDirectory(prefix="ftclf-bench-") as folder:
        seen, output, errors = (Path(folder) / name for name in ("clock.jsonl", "stdout", "stderr"))
        variables = {**os.environ, **environment}
        if clock is not None:
            paths = [str(CLOCK), *filter(None, [variables.get("PYTHONPATH")])]
            variables |= {
                "PYTHONPATH": os.pathsep.join(paths),
                "BENCH_CLOCK": str(seen),
                "BENCH_WARM_UP": str(warm_up),
                **clock,
            }
        with output.open("wb") as out, errors.open("wb") as err:
            start = time.monotonic()
            variables["BENCH_SPAWNED"] = repr(start)
            code, peak = _wait(
                subprocess.Popen(
                    words, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
                ),
                timeout,
            )
            seconds = time.monotonic() - start
        if code != expect:
            raise FailedError(f"exit code {code} after {seconds:.0f} s: {_reason(errors, output)}")
        return Done(seconds, peak, output.read_text(encoding="utf-8"), _trainings(seen), warm_up)


def _wait(process: subprocess.Popen[bytes], timeout: float) -> tuple[int, float]:
    """Return the exit code and the peak memory in MB (Linux counts KiB); no process outlives its time or an error."""

    def stop() -> None:
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(timeout, stop)
    timer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        stop()
        process.wait()
        raise
    finally:
        timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * 1024 / 1e6


def _trainings(path: Path) -> list[Training]:
    if not path.is_file():
        return []
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Training(
            one["began"],
            one["ends"],
            [(rows, tokens, places) for rows, tokens, places in one["batches"]],
            [(seconds, accuracy) for seconds, accuracy in one["evaluations"]],
        )
        for one in records
    ]


def _reason(*files: Path) -> str:
    """Return the last line that a failed process wrote, without the folders of this machine."""
    for path in files:
        lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        if found := [line for line in lines if line]:
            return re.sub(r"(?:/[^\s/:']+)+/", "", found[-1])[:300]
    return "it said nothing"
