"""Damaged checkpoints: files that are missing, empty, cut, changed by a bit, or of another step."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from faults.processes import run
from faults.world import Check, World, checkpoint_steps, outcome

NAME = "damages to a checkpoint: files missing, empty, cut, one bit, from another step"
GOAL = "resume falls back with a warning to the same bits; eval and predict: exit 3 and one line"
SHORT, LONG = 16, 200
WAYS = ("missing", "empty", "cut", "one bit", "of another step")


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    for number in range(LONG if long else SHORT):
        variant, final = ("full", "lora")[number % 2], number % 4 // 2 == 1
        yield seed + number, lambda n=number, v=variant, f=final: (_final if f else _resumable)(world, seed + n, v)


def _resumable(world: World, seed: int, variant: str) -> str:
    """Damage the newest checkpoint of a run that was killed after its last step, and give the command again."""
    chooser, folder = random.Random(seed), world.folder("damages", seed, "run")
    reference = world.reference(variant)
    shutil.copytree(reference.folder, folder)
    for name in ("metrics.json", "report.html"):
        (folder / name).unlink()
    shutil.rmtree(folder / "checkpoint")
    steps = checkpoint_steps(folder)
    newest, older = (folder / "resumable" / f"checkpoint-{step}" for step in (steps[-1], steps[-2]))
    done = damage(chooser, newest, older)
    code, said = run(world.words(variant, folder, "training.keep_checkpoints=true"), folder.with_name("again"))
    if code != 0:
        return f"{done}: the command given again ended with {code}: {said}"
    if f"warning: {newest.name} is passed over: " not in said:
        return f"{done}: it was not said that {newest.name} is passed over: {said}"
    return reference.outcome.differs(outcome(folder))


def _final(world: World, seed: int, variant: str) -> str:
    """Damage a finished run's checkpoint, then score and predict with it."""
    chooser, folder = random.Random(seed), world.folder("damages", seed, "checkpoint")
    reference = world.reference(variant)
    shutil.copytree(reference.folder / "checkpoint", folder)
    done = damage(chooser, folder, world.reference("full early").folder / "checkpoint")
    texts = folder.with_name("texts.txt")
    texts.write_text("goal match\nsoup bread\n")
    for words in (["eval"], ["predict", f"input={texts}", f"output={texts.with_suffix('.csv')}"]):
        code, said = run([words[0], f"checkpoint={folder}", *words[1:]], folder.with_name(words[0]))
        if code != 3 or said.count("\n") != 1:
            return f"{done}: {words[0]} ended with {code}: {said}"
    return "predictions were written" if texts.with_suffix(".csv").exists() else ""


def damage(chooser: random.Random, folder: Path, other: Path) -> str:
    """Damage one file of a folder; return what was done. `other` has files of other contents under the same names."""
    path = chooser.choice(sorted(path for path in folder.iterdir() if path.stat().st_size))
    content, way = path.read_bytes(), chooser.choice(WAYS)
    if way == "of another step":
        there = other / path.name
        if not there.exists() or there.read_bytes() == content:
            way = "one bit"
        else:
            path.write_bytes(there.read_bytes())
    if way == "missing":
        path.unlink()
    elif way == "empty":
        path.write_bytes(b"")
    elif way == "cut":
        path.write_bytes(content[: chooser.randrange(len(content))])
    elif way == "one bit":
        place = chooser.randrange(len(content))
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << chooser.randrange(8)]) + content[place + 1 :])
    return f"{path.name} {way}"
