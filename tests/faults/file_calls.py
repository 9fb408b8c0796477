"""Every file call of a save, one after the other: the process dies in it, or it fails."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faults.processes import Trial, run
from faults.world import Check, World, checkpoint_steps, outcome

NAME = "every file call of a save made to die, and to fail (no space, I/O error, no permission)"
GOAL = "a whole checkpoint stands after each, the error is one line, and the run goes on to the same bits"
WAYS = {"dies": 0, "no space": errno.ENOSPC, "input-output error": errno.EIO, "no permission": errno.EACCES}
FAILURES = [way for way, number in WAYS.items() if number]
RESUMED = 8  # of the folders that are left, in the short form; the others are compared with the undisturbed one's


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    for variant in ("full", "lora") if long else ("lora",):
        yield from _of_variant(world, seed, variant, long=long)


def _of_variant(world: World, seed: int, variant: str, *, long: bool) -> Iterator[tuple[int, Check]]:
    reference = world.reference(variant)
    base = world.folder("calls", variant.replace(" ", "_"))
    base.mkdir(parents=True)
    # One process trains to its second save and forks there: a child for each call and each way that is tried.
    code, said = run(world.words(variant, base / "run"), base / "all", fork_at_second_save, str(base), long)
    if code != 0:
        raise RuntimeError(f"the run whose saves are broken ended with {code}: {said}")
    left = sorted(base.glob("*-*/"), key=lambda path: (int(path.name.split("-")[0]), path.name))
    every = 1 if long else max(1, len(left) // RESUMED)
    for number, folder in enumerate(left):
        yield (
            seed,
            lambda folder=folder, number=number: _after(
                world, variant, folder, resumed=number % every == 0, steps=reference.saved
            ),
        )


def _after(world: World, variant: str, folder: Path, *, resumed: bool, steps: list[int]) -> str:
    said = (folder / "said").read_text(encoding="utf-8")
    if said and (not said.startswith("ResourceError: ") or said.count("\n") > 1):
        return f"{folder.name}: {said}"
    left = checkpoint_steps(folder)
    wanted = steps[0] if said or "dies" in folder.name else steps[1]  # else only the removing of something failed
    if not left or left[-1] < wanted:
        return f"{folder.name}: whole checkpoints of steps {left or 'none'} are left, {wanted} was written"
    if not resumed:
        return ""
    trial = Trial(world.words(variant, folder), folder.with_suffix(".again"))
    if (code := trial.wait()) != 0:
        return f"{folder.name}: the command given again ended with {code}: {trial.said()}"
    return world.reference(variant).outcome.differs(outcome(folder))


def fork_at_second_save(base: str, long: bool) -> None:
    """Put a copy of the run folder before a child process for each file call, at the second save. Runs in the trial.

    In the short form a call dies, and fails in one of the ways, which take turns.
    """
    from ftclf.training.stoppable import ResumableTrainer

    save: Any = ResumableTrainer._save_checkpoint
    saves = 0

    def counted(self: Any, *args: Any) -> None:
        nonlocal saves
        saves += 1
        if saves == 2:
            for call in itertools.count():
                ways = WAYS if long else ("dies", FAILURES[call % len(FAILURES)])
                folders = {Path(base) / f"{call:03}-{way}": WAYS[way] for way in ways}
                made = [_broken(lambda: save(self, *args), self, path, call, way) for path, way in folders.items()]
                if not any(made):
                    break
        save(self, *args)

    ResumableTrainer._save_checkpoint = counted  # type: ignore[method-assign]


def _broken(save: Any, trainer: Any, folder: Path, call: int, number: int) -> bool:
    """Save in a child whose file call `call` is broken; return whether there was such a call."""
    from ftclf.storage.run_folder import Run

    shutil.copytree(trainer.run.folder, folder, ignore=shutil.ignore_patterns(".lock"))
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:  # every call was made
            shutil.rmtree(folder)
            return False
        return True
    library = ctypes.CDLL(None)
    trainer.run = Run(folder)
    said = ""
    (folder / "said").write_text(said)
    library.ftclf_arm(os.fsencode(folder / "resumable"), ctypes.c_long(call), number, ctypes.c_long(-1))
    try:
        save()
    except Exception as error:
        said = f"{type(error).__name__}: {error}\n"
    library.ftclf_count.restype = ctypes.c_long
    made = library.ftclf_count() > call
    library.ftclf_arm(b"", ctypes.c_long(-1), 0, ctypes.c_long(-1))
    (folder / "said").write_text(said)
    sys.stdout.flush()
    os._exit(1 if made else 0)
