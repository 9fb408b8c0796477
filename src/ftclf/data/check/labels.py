"""Labels as they are given: contradictions, names that look alike, rare ones, balance, and which come together."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ftclf.data import Data
from ftclf.data.check.all_rows import AllRows
from ftclf.data.check.duplicates import equal_texts, place_of_row
from ftclf.data.check.finding import MOST_EXAMPLES, Finding, example, examples
from ftclf.data.label_sets import LabelSets

FEW = 10  # train rows of a label that is rare
ALIKE, SHORTEST = 90, 6  # percent of two names' letters in common, and letters that such names have
MOST_COMPARED = 5000  # labels that are compared two by two
UNEVEN, VERY_UNEVEN = 10, 100  # rows of the most frequent label per row of the rarest
EXPECTED = 5  # rows that two labels would share by chance: else it says nothing that they share none
MOST_PAIRS = 50


def labels(data: Data) -> Iterator[Finding]:
    """Yield what is odd about the labels of a data set."""
    yield _contradictions(data)
    yield _look_alike(data)
    yield from _rare(data)
    yield _balance(data)
    if data.task == "multi_label":
        yield from _together(data)


# ---- the same text under different labels


def _contradictions(data: Data) -> Finding:
    rows = AllRows.of(data)
    group = equal_texts(rows.texts(data))
    numbers = _label_numbers(data, rows)
    order = np.lexsort((numbers, group))
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(order)))
    differs = np.add.reduceat(np.diff(numbers[order], prepend=numbers[order[:1]]) != 0, starts)
    differs -= np.diff(numbers[order], prepend=numbers[order[:1]])[starts] != 0  # a change from one text to the next
    mixed = np.repeat(differs > 0, sizes)
    found = {
        name: np.sort(order[mixed & (order >= part.start) & (order < part.stop)]) - part.start
        for name, part in rows.parts.items()
    }
    count = int(mixed.sum())
    agreeing, pairs = _agreement(group, numbers)
    agree = f"{agreeing / pairs:.0%} of the {pairs} pairs of equal texts have equal labels" if pairs else ""
    first_of, last_of = order[starts], order[starts + sizes - 1]  # with the lowest and the highest number of labels
    other = {
        int(row): int(last_of[group[row]] if numbers[row] != numbers[last_of[group[row]]] else first_of[group[row]])
        for part in found
        for row in (found[part][:MOST_EXAMPLES] + rows.parts[part].start)
    }
    shown = [
        example(data, part, int(row), f"other labels in {place_of_row(data, rows, other[int(row) + start])}")
        for part in found
        for start in [rows.parts[part].start]
        for row in found[part][:MOST_EXAMPLES]
    ]
    return Finding(
        "labels",
        "rows of the same text under different labels",
        "warning" if count else "ok",
        count,
        len(rows),
        f"{agree}: no model can have more of these right; settle which label holds" if count else agree,
        shown[:MOST_EXAMPLES],
        found,
        figures={"pairs": pairs, "agreeing_pairs": agreeing, "agreement": agreeing / pairs if pairs else None},
    )


def _label_numbers(data: Data, rows: AllRows) -> NDArray[np.int64]:
    """Return a number for each row, equal where all labels are."""
    parts = [data.splits[name].labels for name in rows.parts]
    if parts[0].ndim == 1:
        return np.concatenate(parts).astype(np.int64)
    packed = np.concatenate([np.packbits(part, axis=1) for part in parts])
    return np.unique(packed, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _agreement(group: NDArray[np.int64], numbers: NDArray[np.int64]) -> tuple[int, int]:
    """Return how many pairs of rows of equal text have equal labels, and how many pairs there are."""
    both = np.unique(np.stack([group, numbers]), axis=1, return_counts=True)[1]
    sizes = np.bincount(group)
    return int((both * (both - 1) // 2).sum()), int((sizes * (sizes - 1) // 2).sum())


# ---- names


def _look_alike(data: Data) -> Finding:
    pairs = list(_alike(data.label_names))
    shown = "; ".join(f"'{first}' and '{second}'" for first, second in pairs[:3])
    return Finding(
        "labels",
        "pairs of labels whose names look alike",
        "warning" if pairs else "ok",
        len(pairs),
        len(data.label_names),
        f"{shown}: if they mean the same, merge them by dataset.label_groups" if pairs else "",
        figures={"pairs": [list(pair) for pair in pairs[:MOST_PAIRS]]},
    )


def _alike(names: list[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of names that differ by case, spaces, punctuation or a plural, or by a letter of many."""
    plain = [_plain(name) for name in names]
    first: dict[str, int] = {}
    for number, name in enumerate(plain):
        if (other := first.setdefault(name, number)) != number:
            yield names[other], names[number]
    if len(names) <= MOST_COMPARED:
        yield from ((names[one], names[two]) for one, two in _close(plain))


def _plain(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold()
    if len(folded) <= 3 or re.fullmatch(r"[+-]?[\d.,]+", folded):  # C and C++ are two names, as -1 and 1 are
        return folded
    letters = "".join(mark for mark in folded if mark.isalnum()) or folded
    return re.sub(r"(?<=[^\Ws]{3})s$", "", re.sub(r"ies$", "y", letters))


def _close(plain: list[str]) -> Iterator[tuple[int, int]]:
    from rapidfuzz import fuzz, process

    words = [number for number, name in enumerate(plain) if len(name) >= SHORTEST]
    names = [plain[number] for number in words]
    if len(names) < 2:
        return
    scores = process.cdist(names, names, scorer=fuzz.ratio, score_cutoff=ALIKE)
    for one, two in np.argwhere(np.triu(scores >= ALIKE, 1)).tolist():
        if names[one] != names[two] and _digits(names[one]) == _digits(names[two]):
            yield words[one], words[two]


def _digits(name: str) -> str:
    return "".join(mark for mark in name if mark.isnumeric())


# ---- how many rows


def _rare(data: Data) -> Iterator[Finding]:
    names = data.label_names
    per_label = {name: split.rows_per_label(len(names)) for name, split in data.splits.items()}
    few = np.flatnonzero(per_label["train"] < FEW)
    counts = [f"{names[label]} ({per_label['train'][label]})" for label in few[np.argsort(per_label["train"][few])]]
    yield Finding(
        "labels",
        f"labels with fewer than {FEW} train rows",
        "warning" if len(few) else "ok",
        len(few),
        len(names),
        f"{_some(counts)}: find more rows, or merge labels by dataset.label_groups" if counts else "",
        figures={"labels": {names[label]: int(per_label["train"][label]) for label in few}},
    )
    for split, counts_of_split in per_label.items():
        absent = [names[label] for label in np.flatnonzero(counts_of_split == 0)]
        if split != "train" or absent:
            yield Finding(
                "labels",
                f"labels without a row in {split}",
                ("note" if split == "validation" else "warning") if absent else "ok",
                len(absent),
                len(names),
                f"{_some(absent)}: no score in {split} is of them" if absent else "",
                figures={"labels": absent},
            )


def _balance(data: Data) -> Finding:
    counts = data.splits["train"].rows_per_label(len(data.label_names))
    most, least = int(counts.argmax()), int(counts.argmin())
    ratio = float(counts[most] / max(counts[least], 1))
    shares = counts[counts > 0] / max(counts.sum(), 1)
    effective = float(np.exp(-(shares * np.log(shares)).sum()))
    names = data.label_names
    text = (
        f"{names[most]} has {counts[most]} train rows, {names[least]} {counts[least]}: {ratio:.3g} to 1; "
        f"as many as {effective:.1f} equally frequent labels of {len(names)}"
    )
    uneven = ratio >= UNEVEN
    return Finding(
        "labels",
        "balance: rows of the most frequent label per row of the rarest",
        "warning" if ratio >= VERY_UNEVEN else "note" if uneven else "ok",
        round(ratio),
        0,
        f"{text}; loss=weighted or sampler=sqrt weighs the rare ones more" if uneven else text,
        figures={"ratio": ratio, "effective_labels": effective, "rows": dict(zip(names, counts.tolist(), strict=True))},
    )


# ---- several labels per row


def _together(data: Data) -> Iterator[Finding]:
    train, names = data.splits["train"], data.label_names
    if len(names) > MOST_COMPARED:
        return
    counts = train.rows_per_label(len(names))
    common = _common(train.labels)
    always = [
        (one, two)
        for one, two in np.argwhere((common == counts[:, None]) & (counts[:, None] >= FEW)).tolist()
        if one != two
    ]
    shown = [f"{names[one]} with {names[two]}" for one, two in always]
    rows = train.labels[:, always[0][0]] if always else np.zeros(len(train), bool)
    yield Finding(
        "labels",
        "labels that never stand without another",
        "note" if always else "ok",
        len(always),
        len(names),
        f"{_some(shown)}: is the first a kind of the second, or is one of the two too many?" if always else "",
        examples(data, {"train": np.flatnonzero(rows)}),
        figures={"pairs": [[names[one], names[two], int(counts[one])] for one, two in always[:MOST_PAIRS]]},
    )
    expected = np.triu(np.outer(counts, counts) / max(len(train), 1), 1)
    never = np.argwhere((common == 0) & (expected >= EXPECTED))
    never = never[np.argsort(-expected[never[:, 0], never[:, 1]], kind="stable")]
    listed = [[names[one], names[two], round(float(expected[one, two]), 1)] for one, two in never[:MOST_PAIRS].tolist()]
    yield Finding(
        "labels",
        f"pairs of labels that never come together, though {EXPECTED} rows or more would by chance",
        "note" if len(never) else "ok",
        len(never),
        len(names) * (len(names) - 1) // 2,
        f"{_some([f'{one} and {two}' for one, two, _ in listed])}: do they exclude each other?" if listed else "",
        figures={"pairs": listed},
    )


def _common(labels: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many rows have each two labels, shape (labels, labels)."""
    from scipy.sparse import csr_matrix

    sets = LabelSets.of(labels)
    ones = np.ones(len(sets.ids), np.int64)
    matrix = csr_matrix((ones, sets.ids, sets.starts), shape=labels.shape)
    return np.asarray((matrix.T @ matrix).toarray(), np.int64)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
