"""SIGTERM and SIGINT into runs of 1,500 labels, where a matrix of all pairs or a long call would hold them up."""

from __future__ import annotations

import functools
import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from conftest import COMMON, TOPICS, write_csv
from faults.processes import Trial
from faults.world import Check, World

NAME = "SIGTERM and SIGINT while 1,500 labels are trained, evaluated, scored, written and reported"
GOAL = "exit 143 or 130 within two seconds, the end of the process included; nothing unfinished is marked finished"
SHORT, LONG = 6, 60
LABELS, ROWS = 1500, 6000
LIMIT = 2.0  # seconds
_one_at_a_time = threading.Lock()  # checks run side by side, and share the undisturbed runs
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    for number in range(LONG if long else SHORT):
        which = (signal.SIGTERM, signal.SIGINT)[number % 2]
        task = ("single_label", "multi_label")[number // 2 % 2]
        yield seed + number, lambda n=number, w=which, t=task: _stop(world, seed + n, t, w)


def _stop(world: World, seed: int, task: str, which: signal.Signals) -> str:
    with _one_at_a_time:
        seconds = _undisturbed(world.root, task)
    folder = world.folder("many_labels", seed, "run")
    trial = Trial(_words(world.root, task, folder), folder.with_name("stopped"))
    if (code := trial.wait(random.Random(seed).uniform(0.05, 1.0) * seconds)) is None:
        sent = time.perf_counter()
        trial.signal(which)
        code, waited = trial.wait(), time.perf_counter() - sent
        if code not in (0, CODES[which]) or waited > LIMIT:
            return f"{which.name} ended with {code} after {waited:.2f} s: {trial.said()}"
    finished = (folder / "metrics.json").exists()
    return "ended with 0, unfinished" if code == 0 and not finished else ""  # it may come when all is written


@functools.cache
def _undisturbed(root: Path, task: str) -> float:
    """Return the seconds of a run that no signal disturbs."""
    folder = root / "undisturbed" / f"many_labels_{task}"
    trial = Trial(_words(root, task, folder), folder.with_suffix(".out"))
    if (code := trial.wait()) != 0:
        raise RuntimeError(f"the undisturbed run of {task} ended with {code}: {trial.said()}")
    return trial.seconds


def _words(root: Path, task: str, folder: Path) -> list[str]:
    data = _data(root, task)
    named = [f"dataset.train={data}", f"dataset.task={task}", f"model.name={root / 'models' / 'bert'}"]
    rest = ["training.max_steps=3", "training.eval_steps=2", "training.precision=fp32", "training.threads=1"]
    return ["train", "dataset=files", *named, f"run_dir={folder}", *rest, "baselines=[majority]"]


@functools.cache
def _data(root: Path, task: str) -> Path:
    """Write rows of four of the known words each, so that a label has four rows or more."""
    chooser, words = random.Random(0), [*COMMON, *(word for topic in TOPICS.values() for word in topic)]
    rows = [(" ".join(chooser.choices(words, k=4)) + f" {row}", f"label {row % LABELS}") for row in range(ROWS)]
    if task == "single_label":
        return write_csv(root / "many_labels.csv", rows)
    path = root / "many_labels.jsonl"
    lines = ({"text": text, "label": sorted({label, f"label {chooser.randrange(LABELS)}"})} for text, label in rows)
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path
