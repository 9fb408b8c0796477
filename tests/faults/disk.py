"""A disk that is full after so many bytes, a folder that cannot be written to, and one that is taken away."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faults.processes import run
from faults.world import Check, World, checkpoint_steps, outcome

NAME = "full disk at many sizes, full cache, read-only folder, folder removed while running"
GOAL = "exit 5 and one line; what stood before stays; the same command goes on to the same bits when it is mended"
SHORT, LONG = 8, 40


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    number = LONG if long else SHORT
    if world.library is not None:
        for part in range(number):
            yield seed, lambda part=part: _full(world, ("full", "lora")[part % 2], part / number)
        yield seed, lambda: _read_only(world)
        for room in (0, 500, 4_000, 30_000):
            yield seed, lambda room=room: _full_cache(world, room)
    yield seed, lambda: _taken_away(world)


def _full(world: World, variant: str, share: float) -> str:
    reference, folder = world.reference(variant), world.folder("disk", variant, f"{share:.3f}")
    # What all saves write, and what comes after them.
    sizes = [path.stat().st_size for path in reference.folder.rglob("checkpoint-*/*")]
    once = sum(sizes) / len(checkpoint_steps(reference.folder))
    room = int(share * (once * len(reference.saved) + once))
    code, said = run(world.words(variant, folder), folder.with_suffix(".first"), arm, str(folder), -1, 0, room)
    if code == 0:
        return reference.outcome.differs(outcome(folder))
    if code != 5 or said.count("\n") != 1 or "No space left on device" not in said:
        return f"{room} bytes: ended with {code}: {said}"
    return _mended(world, variant, folder, f"{room} bytes")


def _read_only(world: World) -> str:
    folder = world.folder("disk", "read-only")
    code, said = run(world.words("lora", folder), folder.with_suffix(".first"), arm, str(folder), 0, errno.EROFS, -1)
    if code != 5 or said.count("\n") != 1 or str(folder) not in said:
        return f"read-only: ended with {code}: {said}"
    return _mended(world, "lora", folder, "read-only")


def _full_cache(world: World, room: int) -> str:
    folder, cache = world.folder("disk", "cache", room, "run"), world.folder("disk", "cache", room, "cache")
    code, said = run(world.words("lora", folder), folder.with_suffix(".first"), arm_cache, str(cache), room)
    if code != 0 and (code != 5 or said.count("\n") != 1 or f"cannot write to {cache}: " not in said):
        return f"{room} bytes of cache: ended with {code}: {said}"
    if code == 0 and room < 1000:
        return f"{room} bytes of cache were enough"
    code, said = run(world.words("lora", folder), folder.with_suffix(".again"), arm_cache, str(cache), -1)
    if code != 0:
        return f"{room} bytes of cache: the command given again ended with {code}: {said}"
    return world.reference("lora").outcome.differs(outcome(folder))


def _taken_away(world: World) -> str:
    folder = world.folder("disk", "away")
    code, said = run(world.words("lora", folder), folder.with_suffix(".first"), take_away_at, 12)
    if code != 5 or said.count("\n") != 1 or str(folder) not in said:
        return f"taken away: ended with {code}: {said}"
    return "half a folder was made again" if folder.exists() else _mended(world, "lora", folder, "taken away")


def _mended(world: World, variant: str, folder: Path, what: str) -> str:
    code, said = run(world.words(variant, folder), folder.with_suffix(".again"))
    if code != 0:
        return f"{what}: the command given again ended with {code}: {said}"
    return world.reference(variant).outcome.differs(outcome(folder))


def arm(folder: str, call: int, number: int, room: int) -> None:
    """Let the library of calls.c break calls below a folder. Runs in the trial."""
    library = ctypes.CDLL(None)
    library.ftclf_arm(os.fsencode(folder), ctypes.c_long(call), number, ctypes.c_long(room))


def arm_cache(cache: str, room: int) -> None:
    """Use another cache, and let its disk be full after so many bytes. Runs in the trial."""
    os.environ["FTCLF_CACHE"] = cache
    arm(cache, -1, 0, room)


def take_away_at(step: int) -> None:
    """Remove the run's folder at a step. Runs in the trial."""
    from ftclf.training.trainer import ClassifierTrainer

    original: Any = ClassifierTrainer.training_step

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step + 1 == step:
            shutil.rmtree(self.run.folder, ignore_errors=True)
        return original(self, *args, **kwargs)

    ClassifierTrainer.training_step = broken  # type: ignore[method-assign]
