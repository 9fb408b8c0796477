"""SIGKILL at random times, and the same command again, until the run is through."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from faults.processes import Trial
from faults.world import VARIANTS, Check, World, checkpoint_steps, last_step, outcome

NAME = "SIGKILL at random times, up to three a run, then the same command again"
GOAL = "all finish with the weights, metrics and history of the undisturbed run; no checkpoint is lost"
SHORT, LONG = 12, 200


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    for number in range(LONG if long else SHORT):
        yield seed + number, lambda number=number: _killed(world, seed + number, list(VARIANTS)[number % len(VARIANTS)])


def _killed(world: World, seed: int, variant: str) -> str:
    chooser, reference = random.Random(seed), world.reference(variant)
    folder = world.folder("kills", seed, "run")
    reached = 0
    for _ in range(chooser.randint(1, 3)):
        trial = Trial(world.words(variant, folder), folder.with_name("killed"))
        ended = trial.wait(chooser.uniform(0.1, 1.0) * reference.seconds)
        if ended is not None:
            return (
                f"ended with {ended} before it was killed: {trial.said()}"
                if ended
                else _compared(world, variant, folder)
            )
        trial.kill()
        if problem := _lost(folder, reached):
            return problem
        reached = max(checkpoint_steps(folder), default=0)
    trial = Trial(world.words(variant, folder), folder.with_name("last"))
    if (code := trial.wait()) != 0:
        return f"the command given again ended with {code}: {trial.said()}"
    return _compared(world, variant, folder)


def _lost(folder: Path, reached: int) -> str:
    """Return what is wrong after a kill: a checkpoint that was there is not, or more than an interval has gone."""
    if (folder / "metrics.json").exists():  # it had finished, and was removing what it no longer needs
        return ""
    newest = max(checkpoint_steps(folder), default=0)
    if newest < reached:
        return f"the newest checkpoint was of step {reached}, now it is of {newest}"
    interval = 9  # steps of an epoch, the longest interval of the variants
    behind = last_step(folder) - newest
    return f"{behind} steps are lost, a checkpoint is written every {interval}" if behind > interval else ""


def _compared(world: World, variant: str, folder: Path) -> str:
    return world.reference(variant).outcome.differs(outcome(folder))
