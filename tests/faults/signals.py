"""SIGTERM, SIGINT, SIGHUP and SIGUSR1 at random times over all of a run, then the same command again."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from faults.processes import LIMIT, Trial, fresh, run
from faults.world import VARIANTS, Check, World, checkpoint_steps, last_step, outcome

NAME = "SIGTERM, SIGINT, SIGHUP and SIGUSR1 over import, load, tokenise, train, evaluate, save, report"
GOAL = "exit 143, 130, 143 or 143 and one line, nothing unfinished is marked finished, and the same bits after a resume"
SHORT, LONG = 15, 200
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 143, signal.SIGUSR1: 143}
FRESH = 7  # every seventh in an interpreter of its own, while it imports


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    for number in range(LONG if long else SHORT):
        which = (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)[number % 5]
        variant = list(VARIANTS)[number // 5 % len(VARIANTS)]
        try_it = _while_importing if number % FRESH == FRESH - 1 else _while_running
        yield seed + number, lambda n=number, w=which, v=variant, t=try_it: t(world, seed + n, v, w)


def _while_running(world: World, seed: int, variant: str, which: signal.Signals) -> str:
    reference, folder = world.reference(variant), world.folder("signals", seed, "run")
    trial = Trial(world.words(variant, folder), folder.with_name("stopped"))
    at = random.Random(seed).uniform(0.02, 1.0) * reference.seconds
    if (code := trial.wait(at)) is None:
        trial.signal(which)
        code = trial.wait()
    return _after(world, variant, folder, which, (code, trial.said()))


def _while_importing(world: World, seed: int, variant: str, which: signal.Signals) -> str:
    folder = world.folder("signals", seed, "run")
    process = fresh(world.words(variant, folder))
    time.sleep(random.Random(seed).uniform(1.0, 5.0))
    process.send_signal(which)
    said = process.communicate(timeout=LIMIT)[1]
    return _after(world, variant, folder, which, (process.returncode, said))


def _after(world: World, variant: str, folder: Path, which: signal.Signals, ended: tuple[int | None, str]) -> str:
    code, said = ended
    if code == 0:  # it was through before the signal came
        return world.reference(variant).outcome.differs(outcome(folder))
    if code != CODES[which] or "Traceback" in said or said.count("\n") > 2:
        return f"{which.name} ended with {code}: {said}"
    finished = (folder / "metrics.json").exists()
    if not finished and "after step" in said and checkpoint_steps(folder)[-1:] != [last_step(folder)]:
        return f"{which.name}: checkpoints {checkpoint_steps(folder)}, but the last step was {last_step(folder)}"
    if litter := [path for path in folder.rglob(".*") if path.name != ".lock"] if folder.exists() else []:
        return f"{which.name} left {litter}"
    code, said = run(world.words(variant, folder), folder.with_name("again"))
    if code != 0:
        return f"after {which.name} the command given again ended with {code}: {said}"
    return world.reference(variant).outcome.differs(outcome(folder))
