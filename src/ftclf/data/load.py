"""From a data set's settings to checked splits with label names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ftclf.config import DatasetConfig
from ftclf.config.did_you_mean import did_you_mean
from ftclf.data.cache import find_kept, keep, not_kept
from ftclf.data.cells import excerpt, some
from ftclf.data.dataset import Data, RawRows, Split
from ftclf.data.read import read_rows
from ftclf.data.sources import content_key, has_own, label_file_names, read_source
from ftclf.data.split import cut_missing, group_by_text, shared_texts
from ftclf.system.errors import DataError
from ftclf.system.progress_bar import phase


def load_data(config: DatasetConfig) -> Data:
    """Read, check and split a data set; where its content was seen before, take what was made of it then.

    Splits that the source has stay as they are; a missing test or validation split is cut from train, stratified and
    seeded, with no text on two sides. Raises DataError for the first row that is not what it should be.
    """
    with phase(f"reading {config.name}"):
        return _load(config)


def _load(config: DatasetConfig) -> Data:
    key = content_key(config)
    if key is None:
        return _make(config)
    if (kept := find_kept(key)) is not None:
        return kept
    with not_kept(key) as fresh:
        if not fresh and (kept := find_kept(key)) is not None:  # by another process, in the meantime
            return kept
        data = _make(config)
        if content_key(config) != key:
            raise DataError(f"dataset.train: the files of {config.name} changed while they were read; start again")
        return keep(data, key)


def _make(config: DatasetConfig) -> Data:
    raw, names = read_source(config)
    notes = [note for rows in raw.values() for note in rows.notes]
    raw, names = _group_labels(raw, names, config)
    raw = {split: _one_label(rows, config, notes, split) for split, rows in raw.items()}
    label_names = _label_names(raw["train"], names, config)
    _refuse_ids(raw["train"], label_names, config)
    notes += _lookalikes(label_names) + _undivided(label_names, config)
    splits = {split: _to_split(rows, label_names, config) for split, rows in raw.items()}
    _check_classes(splits["train"], label_names, raw["train"].where)
    notes += _contradictions(splits["train"])
    splits = cut_missing(splits, config, notes)
    # The cut may have taken all texts of a class that has each under other labels too.
    _check_classes(splits["train"], label_names, raw["train"].where)
    notes += _shared(splits)
    name = config.name
    if config.official_train_rows and len(raw["train"].texts) < config.official_train_rows:
        name = f"{name}_sample"
        notes.append(
            f"a sample: {len(raw['train'].texts)} of the official {config.official_train_rows} training rows; "
            "scores are not those of the full set"
        )
    return Data(name, label_names, splits, notes, config.task)


def _contradictions(train: Split) -> list[str]:
    """Return a note on texts of train that stand there more than once under different labels."""
    group = group_by_text(train.texts)
    labels = train.labels if train.labels.ndim == 2 else train.labels[:, None]
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    first = np.repeat(order[starts], np.diff(np.append(starts, len(order))))  # the first row of each row's text
    other = (labels[order] != labels[first]).any(axis=1)
    rows = int(np.isin(group, group[order[other]]).sum())
    return [f"{rows} train rows repeat a text under different labels"] if rows else []


def _shared(splits: dict[str, Split]) -> list[str]:
    """Return a note for each two splits that have texts in common, as the cut of a missing split tells texts apart."""
    return [
        f"{shared} of the {len(splits[name])} {name} rows have a text that also stands in {other}"
        for other, name, shared in shared_texts(splits)
        if shared
    ]


def load_split(config: DatasetConfig, split: str, label_names: list[str]) -> Data:
    """Load one split to be scored by a classifier that has these label names.

    Raises DataError where a row's label is not among them.
    """
    raw: dict[str, RawRows] = {}
    uncut = replace(config, group_column=None, time_column=None)  # a file that is not cut need not have the columns
    if split != "train" and has_own(config, split):
        raw, names = read_source(uncut, only=split)
    if split not in raw:  # train is what is left when the others are cut
        data = load_data(config)
        if data.label_names != label_names:
            unknown = sorted(set(data.label_names) - set(label_names))
            raise DataError(
                f"dataset: {data.name} has labels that the checkpoint does not know "
                f"({some(unknown or data.label_names)}); it knows {some(label_names)}"
            )
        return data
    config, notes = uncut, list(raw[split].notes)
    raw, _ = _group_labels({split: raw[split]}, names, config)
    rows = _one_label(raw[split], config, notes, split)
    if names is not None and config.label_file and not config.label_groups:
        ids = {str(index + config.first_label_id): name for index, name in enumerate(names)}
        rows.combinations = [tuple(ids.get(label, label) for label in labels) for labels in rows.combinations]
    named = replace(config, label_file=None)
    return Data(config.name, label_names, {split: _to_split(rows, label_names, named)}, notes, config.task)


def load_more(path: Path, config: DatasetConfig, label_names: list[str]) -> Split:
    """Load rows of another file, in the columns of a data set that has these labels.

    Raises DataError where a row's label is not among them.
    """
    config = replace(config, slice_columns=[], group_column=None, time_column=None)  # of use where splits are cut
    names = label_file_names(config) if config.label_groups else label_names  # vectors and ids are of the ungrouped
    raw = RawRows.collect(str(path), read_rows(path, config, names=names))
    grouped, _ = _group_labels({"more": raw}, names if config.label_groups else None, config)
    rows = _one_label(grouped["more"], config, [], "more")
    if not len(rows.labels):
        raise DataError(f"{path}: it holds no rows")
    return _to_split(rows, label_names, config)


def load_texts(path: Path, config: DatasetConfig) -> Iterator[tuple[str, list[str]]]:
    """Read the texts of one file, and what its `slice_columns` hold, in their order, as they are asked for."""
    return ((row.text, row.cells) for row in read_rows(path, config, labels=False))


def _one_label(rows: RawRows, config: DatasetConfig, notes: list[str], split: str) -> RawRows:
    """Apply the protocol that makes single-label rows of rows that have several labels."""
    labels_of_row = np.array([len(labels) for labels in rows.combinations])[rows.labels]
    several = int((labels_of_row > 1).sum())
    if not several or config.task == "multi_label":
        return rows
    if config.protocol == "first":
        notes.append(
            f"protocol first: {several} of the {len(rows.labels)} {split} rows have several labels, "
            "and the first of them counts; dataset.task=multi_label learns them all"
        )
        return replace(rows, combinations=[labels[:1] for labels in rows.combinations])
    single = np.flatnonzero(labels_of_row == 1)
    notes.append(f"protocol only: {len(single)} of the {len(rows.labels)} {split} rows have one label and are used")
    if not len(single):
        raise DataError(f"{rows.where}: every row has several labels; dataset.protocol=only leaves none")
    return rows.take(single)


def _label_names(train: RawRows, names: list[str] | None, config: DatasetConfig) -> list[str]:
    if names is None:
        found = train.found_labels()
        numbers = all(re.fullmatch("-?[0-9]{1,18}", name) for name in found)
        names = sorted(found, key=lambda name: (int(name), name) if numbers else (0, name))
    if len(names) < 2:
        raise DataError(
            f"{train.where}: column '{config.label_column}' holds "
            + (f"one class only ({excerpt(names[0])})" if names else "no label at all")
            + "; a classifier needs two or more"
        )
    return names


def _refuse_ids(train: RawRows, names: list[str], config: DatasetConfig) -> None:
    """Refuse a label column that has another value in every row, as an id has."""
    rows = len(train.labels)
    if config.task == "single_label" and rows > 3 and len(train.found_labels()) == rows:
        raise DataError(
            f"dataset.label_column: '{config.label_column}' has another value in each of the {rows} rows "
            f"({some(names)}), as an id has; name the column of the classes"
        )


def _lookalikes(names: list[str]) -> list[str]:
    """Return a note on labels that a reader may take for one another."""
    first: dict[str, str] = {}
    for name in names:
        seen = "".join(unicodedata.normalize("NFKC", name).casefold().split())
        if (other := first.setdefault(seen, name)) != name:
            return [f"labels {excerpt(other)} and {excerpt(name)} are two, told apart by case, spaces or code points"]
    return []


def _undivided(names: list[str], config: DatasetConfig) -> list[str]:
    """Return a note on labels most of which look like several that stand in one cell."""
    if config.task == "multi_label" and not config.label_delimiter:
        for mark in "|;,":
            if 2 * len(holding := [name for name in names if mark in name]) > len(names):
                return [
                    f"{len(holding)} of the {len(names)} labels hold '{mark}', as {excerpt(holding[0])}: "
                    f"dataset.label_delimiter='{mark}' makes several of each"
                ]
    return []


def _to_split(rows: RawRows, names: list[str], config: DatasetConfig) -> Split:
    ids = {name: index for index, name in enumerate(names)}
    if config.label_file and not config.label_groups:
        # The column holds ids of the file's lines; names are accepted too.
        ids.update({str(index + config.first_label_id): index for index in range(len(names))})
    _refuse_unknown(rows, ids, names, config)
    several = config.task == "multi_label"
    shape = (len(rows.combinations), len(names)) if several else (len(rows.combinations),)
    by_combination = np.zeros(shape, dtype=bool if several else np.int64)
    for number in np.unique(rows.labels):
        places = [ids[label] for label in rows.combinations[number]]
        if several:
            by_combination[number, places] = True
        else:
            by_combination[number] = places[0]
    return Split(
        rows.texts,
        by_combination[rows.labels],
        {name: rows.columns[name] for name in config.slice_columns},
        places=rows.places(),
        groups=rows.columns[config.group_column] if config.group_column else None,
        times=rows.columns[config.time_column] if config.time_column else None,
    )


def _refuse_unknown(rows: RawRows, ids: dict[str, int], names: list[str], config: DatasetConfig) -> None:
    unknown = [any(label not in ids for label in labels) for labels in rows.combinations]
    bad = np.flatnonzero(np.array(unknown)[rows.labels])
    if len(bad):
        first = bad[0]
        label = next(label for label in rows.combinations[rows.labels[first]] if label not in ids)
        raise DataError(
            f"{rows.where}: row {rows.lines[first]}: label {excerpt(label)} is not among the {len(names)} labels of "
            f"{config.label_file or 'train'} ({some(names)}).{did_you_mean(label, names)}"
        )


def _group_labels(
    raw: dict[str, RawRows], names: list[str] | None, config: DatasetConfig
) -> tuple[dict[str, RawRows], list[str] | None]:
    """Merge labels into the groups of the settings; what stands in no group keeps its name."""
    if not config.label_groups:
        return raw, names
    group_of = {label: group for group, labels in config.label_groups.items() for label in labels}
    ids = {} if names is None else {str(index + config.first_label_id): name for index, name in enumerate(names)}
    known = set(names) if names is not None else raw["train"].found_labels() if "train" in raw else set(group_of)
    if unknown := sorted(set(group_of) - known):
        raise DataError(f"dataset.label_groups: no label {excerpt(unknown[0])}.{did_you_mean(unknown[0], known)}")

    def group(label: str) -> str:
        name = ids.get(label, label)
        return group_of.get(name, name)

    grouped = {
        split: replace(rows, combinations=[tuple(dict.fromkeys(map(group, labels))) for labels in rows.combinations])
        for split, rows in raw.items()
    }
    return grouped, None if names is None else list(dict.fromkeys(map(group, names)))


def _check_classes(train: Split, names: list[str], where: str) -> None:
    if absent := [names[index] for index in np.flatnonzero(train.rows_per_label(len(names)) == 0)]:
        raise DataError(
            f"{where}: no row of {some(absent)} in train; a class without rows cannot be learned, "
            "take it out of the label names or add rows"
        )
