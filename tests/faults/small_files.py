"""Json, safetensors headers and yaml that break their readers, in every place where somebody else may have put them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

from faults.apart import Ended, run_apart
from faults.hostile import sealed
from faults.world import Check, World

NAME = "damaged and endless small files: every json of a run, its checkpoint and a model, headers, yaml of --config-dir"
GOAL = (
    "one line and exit 2 (run, model, config) or 3 (checkpoint) within seconds; compare and report show the other runs"
)
SLOW = 20.0  # seconds of one command

HERE = "\x01here\x01"  # stands for the text that takes a value's place
TOKENS = {
    "digits": "9" * 6000,
    "1e400": "1e400",
    "half a character": '"\\ud83d"',
    "deep value": "[" * 5000 + "]" * 5000,
}
Make = Callable[[Path, bytes], Any]


def _link(target: str) -> Make:
    return lambda path, _: path.symlink_to(target)


def _sparse(path: Path, _: bytes) -> None:
    with path.open("wb") as file:
        file.truncate(41 * 2**20)


def _with_token(token: str) -> Make:
    return lambda path, content: path.write_bytes(_replaced(content, path.suffix).replace(_MARK, token.encode()))


# What can be wrong with a file of json, by name; each is given a path where nothing stands, and what stood there.
DAMAGES: dict[str, Make] = {
    "empty": lambda path, _: path.write_bytes(b""),
    "cut": lambda path, content: path.write_bytes(content[: len(content) // 2]),
    "deep": lambda path, _: path.write_bytes(b"[" * 100_000),
    "raw NUL": lambda path, content: path.write_bytes(content[:-3] + b"\0" + content[-3:]),
    "no UTF-8": lambda path, content: path.write_bytes(content[:-3] + b"\xff\xfe" + content[-3:]),
    "pipe": lambda path, _: os.mkfifo(path),
    "device": _link("/dev/zero"),
    "loop": lambda path, _: path.symlink_to(path.name),
    "folder": lambda path, _: path.mkdir(),
    "huge": _sparse,
    **{name: _with_token(token) for name, token in TOKENS.items()},
}
OTHER_VALUES = {name: lambda path, _, text=name: path.write_text(text) for name in ("[]", "null", "7", "{}")}
NO_FILES = ("pipe", "device", "loop", "folder")
NO_HISTORY = ("empty", "loop", "{}")  # of a run that logged nothing
_MARK = json.dumps(HERE).encode()


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    place = world.folder("small_files")
    place.mkdir()
    (place / "texts.txt").write_text("goal match\n")
    tried = [*_of_runs(world, place), *_of_checkpoints(world, place), *_of_models(world, place)]
    tried += [*_of_headers(world, place), *_of_configs(place)]
    found = run_apart([words for words, _ in tried], place)
    for (words, judge), ended in zip(tried, found, strict=True):
        yield seed, lambda w=words, j=judge, e=ended: _told(w, e, j(e))


Judged = tuple[list[str], Callable[[Ended], str]]
MORE = ("special_tokens_map.json", "added_tokens.json", "generation_config.json", "vocab.json")  # of other models


def _of_runs(world: World, place: Path) -> Iterator[Judged]:
    """Yield commands that read a run whose own files are damaged, alone and beside another."""
    reference, whole = world.reference("lora").folder, str(world.reference("full").folder)
    page = ["--output", str(place / "page.html")]
    for name in sorted(path.name for path in reference.iterdir() if path.suffix in (".json", ".jsonl")):
        for kind, make in {**DAMAGES, **OTHER_VALUES}.items():
            run = _copied(reference, place / "runs" / f"{name} {kind}", "resumable", "plots")
            _damaged(run / name, make)
            is_run = name not in ("metrics.json", "config.json") or kind not in NO_FILES  # else there is none
            shown = _beside if is_run and not (name == "history.jsonl" and kind in NO_HISTORY) else _one_of(0)
            yield ["report", str(run), whole, *page], shown
            if name != "history.jsonl":
                yield ["compare", str(run), whole], shown
                yield ["report", str(run), *page], _one_of(2)
    for name in ("config.json", "manifest.json"):
        for kind, make in DAMAGES.items():
            run = _copied(reference, place / "unfinished" / f"{name} {kind}", "metrics.json", "resumable", "checkpoint")
            _damaged(run / name, make)
            yield ["train", f"resume={run}"], _one_of(2)


def _of_checkpoints(world: World, place: Path) -> Iterator[Judged]:
    """Yield commands that read a checkpoint whose files are damaged and listed with the hashes that they have.

    All that is damaged is read by `merge`, which begins quickest; by the others too, a few times.
    """
    for method in ("lora", "full"):
        reference = world.reference(method).folder / "checkpoint"
        names = sorted(path.name for path in reference.glob("*.json"))
        for number, (name, (kind, make)) in enumerate(product(names, {**DAMAGES, **OTHER_VALUES}.items())):
            folder = _copied(reference, place / "checkpoints" / f"{method} {name} {kind}")
            _damaged(folder / name, make)
            if name != "files.json":
                sealed(folder)
            if name == "adapter_config.json" and kind not in NO_FILES:
                continue  # nobody opens it
            strict = kind in DAMAGES or name in ("ftclf.json", "files.json")
            if not strict and method == "lora":
                continue  # no more than transformers would make of it, and it may do no harm
            refused = _one_of(3) if strict else _one_of(2, 3)  # a whole one has nothing to be merged
            yield ["merge", str(folder), "--output", str(place / "merged")], refused
            if number % 5 == 0 and strict:
                command = [["eval", str(folder)], ["predict", str(folder), "input=texts.txt"]][number // 5 % 2]
                yield command, refused


def _of_models(world: World, place: Path) -> Iterator[Judged]:
    """Yield trainings from a model folder whose files are damaged, and uses of an adapter on it."""
    model, adapter = world.root / "models" / "bert", world.reference("lora").folder / "checkpoint"
    names = [*sorted(path.name for path in model.glob("*.json")), *MORE]
    for number, (name, (kind, make)) in enumerate(product(names, DAMAGES.items())):
        folder = _copied(model, place / "models" / f"{name} {kind}")
        _damaged(folder / name, make)
        moved = _copied(adapter, place / "adapters" / f"{name} {kind}")
        info = json.loads((moved / "ftclf.json").read_text())
        info["model"]["name"] = str(folder)
        (moved / "ftclf.json").unlink()
        (moved / "ftclf.json").write_text(json.dumps(info))
        sealed(moved)
        yield ["merge", str(moved), "--output", str(place / "merged")], _one_of(3)
        if number % 5 == 0:
            yield world.words("head", place / "run", f"model.name={folder}"), _one_of(2)


def _of_headers(world: World, place: Path) -> Iterator[Judged]:
    """Yield readings of weights whose header is none, or would be read for a minute."""
    model, adapter = world.root / "models" / "bert", world.reference("lora").folder / "checkpoint"
    many = json.dumps(
        {f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(80_000)}
    )
    for kind, content in {
        "none": b"",
        "short": b"\3\0\0",
        "negative": b"\xff" * 8 + b"{}",
        "beyond": (2**20).to_bytes(8, "little") + b"{}",
        "deep": (20_000).to_bytes(8, "little") + b'{"a":' * 4000,
        "list": (2).to_bytes(8, "little") + b"[]",
        "many": len(many).to_bytes(8, "little") + many.encode(),
    }.items():
        for source, file in ((model, "model.safetensors"), (adapter, "adapter_model.safetensors")):
            folder = _copied(source, place / "headers" / f"{file} {kind}")
            (folder / file).unlink()
            (folder / file).write_bytes(content)
            if source == adapter:
                sealed(folder)
                yield ["merge", str(folder), "--output", str(place / "merged")], _one_of(3)
            else:
                yield world.words("head", place / "run", f"model.name={folder}"), _one_of(2)


def _of_configs(place: Path) -> Iterator[Judged]:
    """Yield trainings with a folder of yaml files that would keep Hydra for ever."""
    laughs = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        laughs += f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    kinds: dict[str, Make] = {
        "laughs": lambda path, _: path.write_text(laughs),
        "in itself": lambda path, _: path.write_text("a: &a [*a]\n"),
        "deep": lambda path, _: path.write_text("name: " + "[" * 5000 + "]" * 5000),
        "wide": lambda path, _: path.write_text("".join(f"k{number}: 1\n" for number in range(90_000))),
        **{kind: DAMAGES[kind] for kind in ("pipe", "device", "loop", "huge", "folder")},
    }
    for kind, make in kinds.items():
        path = place / "configs" / kind / "dataset" / "x.yaml"
        path.parent.mkdir(parents=True)
        make(path, b"")
        yield ["train", "--config-dir", str(path.parents[1]), "dataset=x", "run_dir=run"], _one_of(2)


# ---- what must come of it


def _told(words: list[str], ended: Ended, problem: str) -> str:
    if not problem and ended.seconds > SLOW:
        problem = f"took {ended.seconds:.0f} s"
    return f"{' '.join(words)[-300:]}: {problem}" if problem else ""


def _lines(ended: Ended) -> tuple[list[str], list[str]]:
    """Return warnings and other lines that a command said."""
    said = ended.said.splitlines()
    warnings = [line for line in said if line.startswith("warning: ")]
    return warnings, [line for line in said if line not in warnings]


def _one_of(*codes: int) -> Callable[[Ended], str]:
    def judge(ended: Ended) -> str:
        _, errors = _lines(ended)
        fine = ended.code in codes and len(errors) == (ended.code != 0) and "a bug in" not in ended.said
        return "" if fine else f"ended with {ended.code}: {ended.said[-500:]}"

    return judge


def _beside(ended: Ended) -> str:
    """A run is left out in one warning, and the other one shown."""
    problem, (warnings, _) = _one_of(0)(ended), _lines(ended)
    return problem or ("" if len(warnings) == 1 and " is left out: " in warnings[0] else f"said {ended.said[-500:]}")


# ---- folders


def _copied(source: Path, folder: Path, *without: str) -> Path:
    """Copy a folder by links, all but what is written in place; whoever changes another file in it removes it first."""
    shutil.copytree(source, folder, copy_function=_linked_or_copied, ignore=shutil.ignore_patterns(*without))
    return folder


def _linked_or_copied(source: str, target: str) -> None:
    (shutil.copyfile if Path(source).name == "files.json" else os.link)(source, target)


def _damaged(path: Path, make: Make) -> None:
    content = path.read_bytes() if path.exists() else b'{"a": "b"}'
    path.unlink(missing_ok=True)
    make(path, content)


def _replaced(content: bytes, suffix: str) -> bytes:
    """Return a json text with a mark in the place of its first value that is neither list nor object."""
    first, _, rest = content.partition(b"\n") if suffix == ".jsonl" else (content, b"", b"")
    value = json.loads(first)
    holder: Any = value
    while True:
        key = next(iter(holder)) if isinstance(holder, dict) else 0
        if not isinstance(holder[key], dict | list) or not holder[key]:
            break
        holder = holder[key]
    holder[key] = HERE
    return json.dumps(value).encode() + b"\n" + rest
