"""The rows of `augment`: made before training from train alone, kept in the run folder, the same when a run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ftclf.config import (
    ContextualAugmentConfig,
    LevelledConfig,
    RowsAugmentConfig,
    SynonymsAugmentConfig,
    TrainConfig,
)
from ftclf.data import Data, Split
from ftclf.data.augment.draft import AugmentInputs, Chosen, Replacements
from ftclf.data.augment.held_out import HeldOut, place_of
from ftclf.data.augment.level import level
from ftclf.data.augment.rows_file import chosen_rows, read_rows_file
from ftclf.data.augment.steps import STEPS
from ftclf.data.augment.targets import needs
from ftclf.data.augment.words import core_of
from ftclf.data.text_store import write_texts
from ftclf.storage.run_folder import Run, read_json, write_text
from ftclf.storage.run_paths import found_at
from ftclf.system.console import say
from ftclf.system.errors import DataError, UserError
from ftclf.system.progress_bar import phase
from ftclf.system.text import counted

if TYPE_CHECKING:
    from ftclf.model.base_weights import Weights
    from ftclf.model.compute import Compute

DIGEST = "augmented"  # its name among the digests of a run, which a run that goes on must have again


@dataclass(frozen=True)
class NewRow:
    """One row that was made: label ids, the places in their source of the rows that it is made from, and how."""

    text: str
    labels: list[int]
    sources: list[str]
    how: str


@dataclass(frozen=True)
class Augmented:
    """Training rows as they were with the new ones behind them, and what the manifest says of these."""

    split: Split
    rows: list[NewRow]
    record: dict[str, Any]


@dataclass(frozen=True)
class Base:
    """The run's own encoder and machine, for steps that use a model."""

    weights: Weights
    tokenizer: Any
    compute: Compute
    home: Path | None


def augmented(config: TrainConfig, data: Data, base: Base, stored: Run | None) -> Augmented | None:
    """Return the rows to train on where `augment` adds some; nothing is written.

    `stored` is the run that goes on: its rows are taken as they stand in its folder.
    """
    if config.augment.kind == "none":
        return None
    key = _key(config, data)
    kept = _stored(stored, key, data) if stored else None
    found = kept or _made(config, data, base)
    split = extended(data.splits["train"], found[0])
    digest = replace(data, splits={DIGEST: split}).digest(DIGEST)
    return Augmented(split, found[0], {**found[1], "key": key, "digest": digest})


def extended(train: Split, rows: Sequence[NewRow]) -> Split:
    """Return a split with new rows behind its own."""
    shape = (len(rows), *train.labels.shape[1:])
    labels: NDArray[Any] = np.zeros(shape, dtype=train.labels.dtype)
    for place, row in enumerate(rows):
        if train.labels.ndim == 1:
            labels[place] = row.labels[0]
        else:
            labels[place, row.labels] = True
    texts = write_texts(chain(train.texts, (row.text for row in rows)))
    return Split(texts, np.concatenate([train.labels, labels]))


def write_rows(path: Path, rows: Iterable[NewRow], label_names: list[str]) -> None:
    """Write new rows as json lines."""
    lines = (
        {"text": row.text, "labels": [label_names[label] for label in row.labels], "from": row.sources, "how": row.how}
        for row in rows
    )
    write_text(path, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))


def read_rows(path: Path, label_names: list[str]) -> list[NewRow]:
    """Read what `write_rows` wrote."""
    ids = {name: index for index, name in enumerate(label_names)}
    with path.open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return [NewRow(line["text"], [ids[name] for name in line["labels"]], line["from"], line["how"]) for line in lines]


Found = tuple[list[NewRow], dict[str, Any]]


def _key(config: TrainConfig, data: Data) -> str:
    """Return the SHA-256 of the settings and rows that new rows come from."""
    settings = {name: value for name, value in asdict(config.augment).items() if name != "about"}
    digests = [data.digest(name) for name in data.splits]
    return hashlib.sha256(json.dumps([settings, config.training.seed, digests], sort_keys=True).encode()).hexdigest()


def _stored(run: Run, key: str, data: Data) -> Found | None:
    """Return the rows of a run that goes on, or None where they are not there as they were written."""
    with suppress(OSError, UserError, ValueError, LookupError, TypeError):
        record = read_json(run.manifest)["augmented"]
        rows = read_rows(run.augmented, data.label_names)
        split = extended(data.splits["train"], rows)
        if record["key"] == key and replace(data, splits={DIGEST: split}).digest(DIGEST) == record["digest"]:
            return rows, record
    return None


def _made(config: TrainConfig, data: Data, base: Base) -> Found:
    held_out = HeldOut(data.splits)
    if isinstance(config.augment, RowsAugmentConfig):
        return _from_file(config, config.augment, data, held_out=held_out, home=base.home)
    return _levelled(config, cast(LevelledConfig, config.augment), data, base, held_out=held_out)


def _from_file(
    config: TrainConfig, augment: RowsAugmentConfig, data: Data, *, held_out: HeldOut, home: Path | None
) -> Found:
    train, path = data.splits["train"], found_at(augment.rows, home)
    split = read_rows_file(path, config.dataset, data.label_names, held_out)
    chosen = chosen_rows(split, train, augment.target, seed=config.training.seed)
    if not len(chosen):
        raise DataError(f"augment.rows: every text of {path} stands in train too; it adds nothing")
    rows = [
        NewRow(split.texts[int(row)], _ids(split.labels[row]), [place_of(split, int(row))], "rows") for row in chosen
    ]
    say(f"  augment=rows: {counted(len(rows), 'row')} of the {len(split):,} in {path.name}")
    return rows, {"kind": "rows", "rows": len(rows), "in_file": len(split), "label_rows": _per_label(rows, data)}


def _levelled(config: TrainConfig, augment: LevelledConfig, data: Data, base: Base, *, held_out: HeldOut) -> Found:
    train, seed = data.splits["train"], config.training.seed
    needed = needs(augment.target, train.labels, most_per_row=augment.most_per_row)
    replacements, source = _replacements(config, base)
    inputs = AugmentInputs(augment, train.texts, train.labels, needed[0].rows, replacements)
    with phase(f"augment={augment.kind}", sum(need.new for need in needed)):
        levelled = level(STEPS[augment.kind], inputs, needed, held_out, seed=seed)
    rows = [
        NewRow(
            draft.text,
            _ids(train.labels[draft.sources[0]]),
            [place_of(train, row) for row in draft.sources],
            draft.how,
        )
        for draft in levelled.drafts
    ]
    capped = {need.label: need.short for need in needed if need.short}
    record = {
        "kind": augment.kind,
        **({"source": source} if source else {}),
        "rows": len(rows),
        "label_rows": _per_label(rows, data),
        "dropped_like_validation_or_test": levelled.like_held_out,
        "dropped_repeated": levelled.repeated,
        "missing": {data.label_names[label]: count for label, count in levelled.missing.items()},
        "capped": {data.label_names[label]: count for label, count in capped.items()},
    }
    _say_levelled(augment, record, labels=len(needed))
    return rows, record


def _say_levelled(augment: LevelledConfig, record: dict[str, Any], *, labels: int) -> None:
    source = f" ({record['source']})" if "source" in record else ""
    say(f"  augment={augment.kind}{source}: {counted(record['rows'], 'row')} made for {counted(labels, 'label')}")
    if dropped := record["dropped_like_validation_or_test"]:
        say(f"  note: {counted(dropped, 'made row')} dropped and replaced: like a row of validation or test")
    for name, why in (
        ("capped", f"augment.most_per_row={augment.most_per_row} allows no more"),
        ("missing", "their rows give no more new texts"),
    ):
        if short := record[name]:
            most = max(short, key=short.__getitem__)
            say(
                f"  note: {counted(len(short), 'label')} below the target, as {most} by {counted(short[most], 'row')}: "
                f"{why}"
            )


def _ids(labels: Any) -> list[int]:
    """Return the label ids of a row, given as an id or as truth values."""
    return [int(label) for label in np.flatnonzero(labels)] if np.ndim(labels) else [int(labels)]


def _per_label(rows: Sequence[NewRow], data: Data) -> list[int]:
    ids = [label for row in rows for label in row.labels]
    counts = np.bincount(np.array(ids, dtype=np.int64), minlength=len(data.label_names))
    return [int(count) for count in counts]


# ---- where words come from


def _replacements(config: TrainConfig, base: Base) -> tuple[Replacements | None, str]:
    """Return what gives the words of a step, and its name."""
    match config.augment:
        case SynonymsAugmentConfig() as augment:
            words, name = _thesaurus(augment, config, base)
            return _word_by_word(words), name
        case ContextualAugmentConfig() as augment:
            from ftclf.model.masked_words import MaskedWords, find_masked_model

            found = find_masked_model(augment.model, augment.revision, base.home)
            return _in_context(MaskedWords(found.folder, base.compute.device, augment.candidates)), found.origin
        case _:
            return None, ""


Thesaurus = Callable[[Iterable[str]], list[list[str]]]


def _thesaurus(augment: SynonymsAugmentConfig, config: TrainConfig, base: Base) -> tuple[Thesaurus, str]:
    from ftclf.data.augment.wordnet import find_wordnet, require_wordnet

    wordnet = None
    if augment.source != "neighbours":
        wordnet = (require_wordnet if augment.source == "wordnet" else find_wordnet)(augment.language)
    if wordnet is not None:
        return wordnet.of, "WordNet"
    from ftclf.model.word_neighbours import WordNeighbours

    neighbours = WordNeighbours(base.weights.folder, base.tokenizer, augment.similarity)
    return neighbours.of, f"neighbours in the embeddings of {config.model.alias}"


def _word_by_word(words_of: Thesaurus) -> Replacements:
    def replacements(chosen: Sequence[Chosen]) -> list[list[list[str]]]:
        words = iter(words_of([word for text in chosen for word in _cores(text)]))
        return [[next(words) for _ in text.places] for text in chosen]

    return replacements


def _in_context(model: Any) -> Replacements:
    def replacements(chosen: Sequence[Chosen]) -> list[list[list[str]]]:
        texts = []
        for text in chosen:
            pieces = list(text.pieces)
            for place in text.places:
                pieces[place] = pieces[place].replace(core_of(pieces[place]), model.tokenizer.mask_token, 1)
            texts.append("".join(pieces))
        return cast(list[list[list[str]]], model.expected(texts, [_cores(text) for text in chosen]))

    return replacements


def _cores(text: Chosen) -> list[str]:
    return [core_of(text.pieces[place]) for place in text.places]
