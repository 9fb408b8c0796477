"""The same command again, under everything that must not matter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from faults.processes import LIMIT, fresh, run
from faults.world import Check, World, outcome

NAME = "the same command again and again: fresh process, PYTHONHASHSEED, folder, cold and warm cache, inside a sweep"
GOAL = "the same weights, metrics and history (same machine, one thread)"


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    for number in range(4 if long else 1):
        yield seed, lambda n=number: _alone(world, n, "lora", PYTHONHASHSEED=str(n + 1))
    yield seed, lambda: _alone(world, 9, "full", PYTHONHASHSEED="7", FTCLF_CACHE=str(world.folder("repeats", "cold")))
    for number, variant in enumerate(("lora", "full", "head", "lora random")[: 4 if long else 2], start=4):
        yield seed, lambda n=number, v=variant: _forked(world, n, v)
    yield seed, lambda: _in_a_sweep(world)


def _alone(world: World, number: int, variant: str, **environment: str) -> str:
    folder = world.folder("repeats", number, "run")
    process = fresh(world.words(variant, folder), **environment)
    said = process.communicate(timeout=LIMIT)[1]
    return f"ended with {process.returncode}: {said}" if process.returncode else _compared(world, variant, folder)


def _forked(world: World, number: int, variant: str) -> str:
    folder = world.folder("repeats", number, "another folder")
    code, said = run(world.words(variant, folder), folder.with_name("output"))
    return f"ended with {code}: {said}" if code else _compared(world, variant, folder)


def _in_a_sweep(world: World) -> str:
    """One of two jobs of a sweep, after another job in the same server."""
    folder = world.folder("repeats", "sweep")
    words = world.words("lora", folder, "training.seed=1,0")
    process = fresh([words[0], "-m", *words[1:]])
    said = process.communicate(timeout=2 * LIMIT)[1]
    return f"ended with {process.returncode}: {said}" if process.returncode else _compared(world, "lora", folder / "1")


def _compared(world: World, variant: str, folder: Path) -> str:
    return world.reference(variant).outcome.differs(outcome(folder))
