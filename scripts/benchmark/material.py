"""The rows that both sides train on, in the form that each wants, in a temporary folder.

ftclf reads them as its own data set (`FTCLF_DATA`), the peers as JSON lines of text and label id.
"""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmark.process import FailedError

SEED = 0
SPLITS = {"train": "train", "validation": "dev", "test": "test"}  # and GoEmotions' names of them
LABELS = 28


@dataclass(frozen=True)
class Rows:
    """A data set in a folder."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"FTCLF_DATA": str(self.folder)}

    def file(self, split: str) -> str:
        """Return the JSON lines of a split."""
        return str(self.folder / f"{split}.jsonl")


def source(name: str) -> Path:
    """Return the folder of the real rows of a data set."""
    given = os.environ.get("FTCLF_DATA")
    if not given or not (folder := Path(given) / name).is_dir():
        raise FailedError(f"no folder {name} in FTCLF_DATA: the benchmark needs the files that docs/data.md describes")
    return folder


def go_emotions(target: Path, train: int | None, validation: int | None, test: int | None) -> Rows:
    """Write so many rows of each split of GoEmotions, drawn by chance; None for all of them."""
    here, there = source("go_emotions"), target / "go_emotions"
    there.mkdir(parents=True, exist_ok=True)
    (there / "labels.txt").write_bytes((here / "labels.txt").read_bytes())
    for (split, name), count in zip(SPLITS.items(), (train, validation, test), strict=True):
        lines = (here / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
        lines = lines if count is None else random.Random(SEED).sample(lines, count)
        _write(target, split, name, lines)
    return Rows(target)


def few_a_label(target: Path, count: int, validation: int) -> Rows:
    """Write `count` rows of each label of GoEmotions for training."""
    rows = go_emotions(target, None, validation, validation)
    chosen: dict[str, list[str]] = {}
    lines = (target / "go_emotions" / "train.tsv").read_text(encoding="utf-8").splitlines()
    for line in random.Random(SEED).sample(lines, len(lines)):
        same = chosen.setdefault(line.split("\t")[1], [])
        if len(same) < count and "," not in line.split("\t")[1]:
            same.append(line)
    _write(target, "train", "train", [line for same in chosen.values() for line in same])
    return rows


def _write(target: Path, split: str, name: str, lines: list[str]) -> None:
    (target / "go_emotions" / f"{name}.tsv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with (target / f"{split}.jsonl").open("w", encoding="utf-8") as file:
        for line in lines:
            text, labels, _ = line.split("\t")
            file.write(json.dumps({"text": text, "label": int(labels.split(",")[0])}) + "\n")


def short_texts(target: Path, count: int) -> Path:
    """Write a csv of texts of GoEmotions that no model was trained on."""
    here = source("go_emotions")
    lines = [line for name in ("dev", "test") for line in (here / f"{name}.tsv").read_text("utf-8").splitlines()]
    path = target / f"texts_{count}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text"], *([line.split("\t")[0]] for line in lines[:count])])
    return path


def many_short(target: Path, train: int, others: int) -> Rows:
    """Write a GoEmotions of `train` rows: its rows again and again, every copy with its words in another order."""
    rows = go_emotions(target, None, others, others)
    path = target / "go_emotions" / "train.tsv"
    lines = [line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open("w", encoding="utf-8") as file:
        for number in range(train):
            copy, place = divmod(number, len(lines))
            text, rest = lines[place]
            file.write(f"{_turned(text, copy)}\t{rest}\n")
    return rows


def dbpedia(target: Path, train: int, test: int = 1000) -> Rows:
    """Write a DBpedia of `train` rows: the sample again and again, every copy with other words first."""
    here, there = source("dbpedia_14"), target / "dbpedia_14"
    there.mkdir(parents=True, exist_ok=True)
    (there / "classes.txt").write_bytes((here / "classes.txt").read_bytes())
    for split, count in (("train", train), ("test", test)):
        with (there / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(_copies(here / f"{split}.csv", count))
    return Rows(target)


def _copies(path: Path, count: int) -> Iterator[tuple[str, str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    for number in range(count):
        copy, place = divmod(number, len(rows))
        label, title, content = rows[place]
        yield label, title, _turned(content, copy)


def _turned(text: str, copy: int) -> str:
    """Return the text with other words first, and the number of the copy last; copy 0 is the text."""
    words = text.split()
    turn = copy % max(1, len(words))
    return f"{' '.join(words[turn:] + words[:turn])} {copy}" if copy else text
