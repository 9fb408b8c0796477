"""Damaged entries of the cache: rows, labels, tokens and baselines that are missing, empty, cut or changed by a bit."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from faults.damages import damage
from faults.processes import run
from faults.world import Check, Outcome, World, outcome

NAME = "damages to the cache: rows, labels, tokens, baselines; files missing, empty, cut, one bit"
GOAL = "the entry is named and made anew, and the run ends with the bits of one that found it whole"
SHORT, LONG = 8, 120


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    first = _First(world)
    for number in range(LONG if long else SHORT):
        yield seed + number, lambda n=number: _damaged(world, seed + n, first)


class _First:
    """The run that fills a cache of its own, made when the first check needs it."""

    def __init__(self, world: World) -> None:
        self.world, self.lock = world, threading.Lock()
        self.found: tuple[Path, Outcome] | None = None

    def __call__(self) -> tuple[Path, Outcome]:
        with self.lock:
            if self.found is None:
                cache, folder = self.world.folder("cache", "first"), self.world.folder("cache", "run")
                code, said = run(_words(self.world, folder), folder.with_name("said"), use_cache, str(cache))
                if code != 0:
                    raise RuntimeError(f"the first run ended with {code}: {said}")
                self.found = cache, _without_seconds(outcome(folder))
            return self.found


def _words(world: World, folder: Path) -> list[str]:
    return world.words("full", folder, "baselines=[majority,tfidf]", "training.max_steps=4")


def use_cache(folder: str) -> None:
    """Let a command of another process use a cache of its own."""
    os.environ["FTCLF_CACHE"] = folder


def _damaged(world: World, seed: int, first: _First) -> str:
    """Damage a file of a copy of the cache, and train by what it holds."""
    whole, expected = first()
    chooser, cache, folder = (
        random.Random(seed),
        world.folder("cache", seed, "copy"),
        world.folder("cache", seed, "run"),
    )
    shutil.copytree(whole, cache)
    entries = sorted(path.parent for path in cache.rglob("files.json"))
    entry = chooser.choice(entries)
    done = f"{entry.parent.name}: {damage(chooser, entry, entry)}"
    code, said = run(_words(world, folder), folder.with_name("said"), use_cache, str(cache))
    if code != 0 or "a bug in" in said:
        return f"{done}: ended with {code}: {said}"
    if f"cache: {entry} is damaged (" not in said:
        return f"{done}: it was not said: {said}"
    differs = expected.differs(_without_seconds(outcome(folder)))
    return differs and f"{done}: {differs}"


def _without_seconds(found: Outcome) -> Outcome:
    """Leave out how long the baselines took to fit, which is kept with them."""
    metrics = json.loads(found.metrics)
    for baseline in metrics["baselines"].values():
        del baseline["seconds"]
    return replace(found, metrics=json.dumps(metrics).encode())
