"""A resume under other conditions than the run began with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from conftest import make_models, make_rows, write_csv
from faults.processes import run
from faults.world import Check, World

NAME = "changed conditions on resume"
GOAL = "refused with exit 2 and one line that names the condition, its old and its new value; nothing is changed"

# The words that change a setting, and what the line must say.
SETTINGS = {
    "training.seed=1": "training.seed was 0, now it is 1",
    "training.batch_size=4": "training.batch_size was 8, now it is 4",
    "training.accumulation=2": "training.accumulation was 1, now it is 2",
    "training.learning_rate=1e-3": "training.learning_rate was 0.005, now it is 0.001",
    "training.epochs=4": "training.epochs was 3.0, now it is 4.0",
    "training.batching=random": "training.batching was by_tokens, now it is random",
    "training.optimizer=sgd": "training.optimizer was adamw_torch_fused, now it is sgd",
    "training.average=0": "training.average was 0.999, now it is 0",
    "method=full": "method.kind was lora, now it is full",
    "method.r=4": "method.r was 16, now it is 4",
    "dataset.max_length=16": "dataset.max_length was 128, now it is 16",
    "dataset.split_seed=1": "dataset.split_seed was 0, now it is 1",
    "model.dropout=0.5": "model.dropout was None, now it is 0.5",
}


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    for word, line in SETTINGS.items():
        yield seed, lambda word=word, line=line: _refused(world, word.partition("=")[0], [word], line)
    for name, change, line in (
        ("rows", _other_rows, "digests.train was "),
        ("labels", _other_labels, "label_names was ['food', 'space', 'sport'], now it is ['eating', 'space', 'sport']"),
        ("weights", _other_weights, "base.sha256 was "),
    ):
        yield seed, lambda name=name, change=change, line=line: _refused(world, name, [], line, change)


def _refused(
    world: World, name: str, words: list[str], line: str, change: Callable[[World, Path], list[str]] | None = None
) -> str:
    folder = world.folder("changes", name, "run")
    shutil.copytree(world.reference("lora").folder, folder)
    (folder / "metrics.json").unlink()
    given = ["training.keep_checkpoints=true", *words]
    if change is not None:
        # The same settings must stand for other things: the run is one of a copy that is then changed.
        shutil.rmtree(folder)
        own = _copies(world, folder.parent)
        code, said = run(world.words("lora", folder, *given, *own, "training.max_steps=3"), folder.with_name("begun"))
        if code != 0:
            return f"the run that was to be changed ended with {code}: {said}"
        (folder / "metrics.json").unlink()
        given += [*change(world, folder.parent), "training.max_steps=3"]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, said = run(world.words("lora", folder, *given), folder.with_name("again"))
    if code != 2 or said.count("\n") != 1 or line not in said:
        return f"{name}: ended with {code}: {said}"
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return "" if after == before else f"{name}: files were changed"


def _copies(world: World, folder: Path) -> list[str]:
    """Copy data and model, and return the words that name the copies."""
    shutil.copytree(world.root / "models" / "bert", folder / "bert")
    shutil.copy(world.root / "data.csv", folder / "data.csv")
    return _paths(folder)


def _paths(folder: Path) -> list[str]:
    return [f"dataset.train={folder / 'data.csv'}", f"model.name={folder / 'bert'}"]


def _other_rows(world: World, folder: Path) -> list[str]:
    write_csv(folder / "data.csv", make_rows(96, seed=1))
    return _paths(folder)


def _other_labels(world: World, folder: Path) -> list[str]:
    rows = [(text, "eating" if label == "food" else label) for text, label in make_rows(96)]
    write_csv(folder / "data.csv", rows)
    return _paths(folder)


def _other_weights(world: World, folder: Path) -> list[str]:
    make_models(folder / "other", ["bert"], seed=1)
    shutil.copy(folder / "other" / "bert" / "model.safetensors", folder / "bert" / "model.safetensors")
    return _paths(folder)
