"""Networks unlike BERT, each trained by every method, loaded again and asked for labels; or refused in one line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from faults.apart import Ended, run_apart
from faults.world import Check, World
from many_models import MANY, make_many

NAME = "networks of other architectures: full, lora and head, trained, loaded, merged and asked; lengths at the border"
GOAL = "the logits of training, or one line with exit 2 before anything is written"
SHORT = ("bart", "gpt2", "ibert", "nomic_bert", "xmod")
METHODS = ("full", "lora", "head")


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    place = world.folder("architectures")
    place.mkdir()
    (place / "texts.txt").write_text("goal match\nsoup bread and salt\n")
    models = make_many(place / "models", *MANY)
    tried = [(name, method) for name in (MANY if long else SHORT) for method in METHODS]
    lines = [line for name, method in tried for line in _lines(world, models[name], place / f"{name}_{method}", method)]
    ends = iter(run_apart([*lines, *(_too_long(world, models[name], place) for name in MANY)], place))
    for name, method in tried:
        found = [next(ends) for _ in range(3 if method == "lora" else 2)]
        yield seed, lambda n=name, m=method, f=found: _told(f"{n} {m}", _trained(f, place / f"{n}_{m}"))
    for name, ended in zip(MANY, ends, strict=True):
        yield seed, lambda n=name, e=ended: _told(f"{n} at its border", _refused(e, place / "run"))


def _lines(world: World, model: Path, folder: Path, method: str) -> list[list[str]]:
    """Return the commands that train, and that use what was trained."""
    few = ("training.max_steps=2", "training.eval_steps=2", "dataset.max_length=32", f"model.name={model}")
    train = [word for word in world.words(method, folder, *few) if not word.startswith("training.epochs")]
    merged = str(folder.with_name(f"{folder.name}_merged"))
    if method != "lora":
        return [train, ["predict", str(folder), "input=texts.txt"]]
    return [train, ["merge", str(folder), "--output", merged], ["predict", merged, "input=texts.txt"]]


def _too_long(world: World, model: Path, place: Path) -> list[str]:
    """Return a training whose texts are a token longer than the network reads; one without a limit learns nothing."""
    from ftclf.model.network import longest_text, outline

    longest = longest_text(outline(model)) or math.inf
    return world.words("head", place / "run", f"model.name={model}", f"dataset.max_length={min(longest, 8191) + 1}")


def _trained(found: list[Ended], folder: Path) -> str:
    train, *others = found
    if train.code == 2:
        return _refused(train, folder)
    for ended in found:
        if ended.code != 0 or "Traceback" in ended.said:
            return f"ended with {ended.code}: {ended.said[-400:]}"
    return "" if others[-1].out.count('"label": ') == 2 else f"it predicted {others[-1].out[-400:]}"


def _refused(ended: Ended, folder: Path) -> str:
    errors = [line for line in ended.said.splitlines() if not line.startswith("warning: ")]
    if ended.code != 2 or len(errors) != 1 or "a bug in" in ended.said:
        return f"ended with {ended.code}: {ended.said[-400:]}"
    return f"{folder} was left behind" if folder.exists() else ""


def _told(what: str, problem: str) -> str:
    return f"{what}: {problem}" if problem else ""
