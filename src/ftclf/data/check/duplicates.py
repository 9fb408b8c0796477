"""Texts that stand more than once: exactly, but for case, spaces and punctuation, or nearly."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data import Data
from ftclf.data.check.all_rows import AllRows, repeats_inside, shared_rows
from ftclf.data.check.finding import MOST_EXAMPLES, Finding, example, place_of
from ftclf.data.check.near import ORDERED, Pairs, WordSets, WordSetWriter, near_pairs, normalised, words_of

GRAVE = 0.01  # share of a split's rows from which a leak is an error, and repeats inside a split are a warning
KINDS = {
    "exact": ("exact duplicates", "also in"),
    "normalised": ("duplicates but for case, spaces and punctuation", "but for case, spaces and punctuation also in"),
    "near": ("near duplicates", "nearly the same words in"),
    "semantic": ("duplicates in meaning", "nearly the same meaning in"),
}


@dataclass
class Twins:
    """Rows that have a duplicate and, for each, one of these; `count` is what the table shows.

    `alike` are those that fix drops: inside a split, a duplicate with other labels is no repetition but a
    contradiction, which another check tells.
    """

    rows: NDArray[np.int64]
    twins: NDArray[np.int64]
    count: int
    alike: NDArray[np.bool_] | None = None  # None: all

    @property
    def dropped(self) -> NDArray[np.int64]:
        return self.rows if self.alike is None else self.rows[self.alike]


@dataclass
class Keys:
    """What rows are compared by: numbers that are equal for equal texts and for equal labels, and their words."""

    exact: NDArray[np.int64]
    normal: NDArray[np.int64]
    labels: NDArray[np.int64]
    words: WordSets

    @classmethod
    def of(cls, data: Data, rows: AllRows) -> Keys:
        exact, normal, words = array("q"), array("q"), WordSetWriter()
        for text in rows.texts(data):
            folded = normalised(text)
            exact.append(_hash(text))
            normal.append(_hash(folded))
            words.add(words_of(folded))
        return cls(_numbered(exact), _numbered(normal), equal_labels(data, rows), words.sets())


def duplicates(data: Data, near: float) -> Iterator[Finding]:
    """Yield what is found inside splits and across them, for exact, normalised and near duplicates."""
    rows = AllRows.of(data)
    keys = Keys.of(data, rows)
    nothing = np.zeros(len(rows), bool)
    exact = np.zeros(len(rows), bool)
    for kind, group, before in (("exact", keys.exact, nothing), ("normalised", keys.normal, exact)):
        for places, twins in equal_twins(rows, group, keys.labels):
            exact[twins.rows] |= kind == "exact"
            yield as_finding(data, rows, kind, places, twins, last=before)
    if near < 1:
        yield from findings_of_pairs(data, rows, "near", _near_groups(data, rows, keys, near), keys.normal, keys.labels)


def equal_twins(
    rows: AllRows, group: NDArray[np.int64], labels: NDArray[np.int64]
) -> Iterator[tuple[tuple[str, ...], Twins]]:
    """Yield the duplicates across each two splits and inside each, where equal numbers are equal texts."""
    for earlier, later in rows.pairs():
        yield (earlier, later), Twins(*shared_rows(group, rows.parts[earlier], rows.parts[later]))
    for split, part in rows.parts.items():
        repeated, first = repeats_inside(group, part)
        same, first_alike = repeats_inside(group * (int(labels.max(initial=0)) + 1) + labels, part)
        alike = np.isin(repeated, same)
        first[alike] = first_alike
        yield (split,), Twins(repeated, first, len(repeated), alike)


def findings_of_pairs(
    data: Data, rows: AllRows, kind: str, pairs: Pairs, group: NDArray[np.int64], labels: NDArray[np.int64]
) -> Iterator[Finding]:
    """Yield the findings of pairs of groups of equal texts: each pair names two groups by their numbers."""
    nothing = np.zeros(len(rows), bool)
    for earlier, later in rows.pairs():
        twins = _across(pairs, group, rows.parts[earlier], rows.parts[later])
        yield as_finding(data, rows, kind, (earlier, later), twins, last=nothing)
    for split, part in rows.parts.items():
        yield as_finding(data, rows, kind, (split,), _inside(pairs, group, labels, part), last=nothing)


def as_finding(
    data: Data, rows: AllRows, kind: str, places: tuple[str, ...], twins: Twins, *, last: NDArray[np.bool_]
) -> Finding:
    """Return a line of the table; rows of `last` are examples only where there are no others."""
    title, why = KINDS[kind]
    split, start, of = places[0], rows.parts[places[0]].start, len(data.splits[places[-1]])
    order = np.argsort(last[twins.rows], kind="stable")[:MOST_EXAMPLES]
    twin_of = dict(zip((twins.rows - start).tolist(), twins.twins.tolist(), strict=True))

    def reason(_: str, row: int) -> str:
        return f"{why} {place_of_row(data, rows, twin_of[row])}"

    shown = (twins.rows[order] - start).tolist()
    where = f"{places[-1]} rows that {split} has too" if len(places) > 1 else f"rows repeated in {split}"
    return Finding(
        "duplicates",
        f"{title}: {where}",
        _verdict(kind, places, twins.count / max(of, 1)) if twins.count else "ok",
        twins.count,
        of,
        _advice(kind, places) if twins.count else "",
        [example(data, split, row, reason(split, row)) for row in shown],
        {} if split == "test" else {split: np.sort(twins.dropped - start)},
        drop=split != "test",
        figures={"kind": kind, "splits": list(places), "rows_to_drop": 0 if split == "test" else len(twins.dropped)},
        why=reason,
    )


def place_of_row(data: Data, rows: AllRows, row: int) -> str:
    """Return where a row stands in its source, by its number among all rows."""
    split, number = rows.split_of(row)
    return place_of(data.splits[split], split, number)


def _verdict(kind: str, places: tuple[str, ...], share: float) -> str:
    if len(places) > 1:
        return "error" if share >= GRAVE and kind in ("exact", "normalised") else "warning"
    return "warning" if share >= GRAVE and places != ("test",) else "note"


def _advice(kind: str, places: tuple[str, ...]) -> str:
    template = "" if kind in ("exact", "normalised") else ", unless they are a form in which one word says it all"
    if len(places) > 1:
        return f"scores on {places[1]} are too good{template}; fix=FOLDER drops the {places[0]} rows"
    if places == ("test",):
        return f"each counts several times in the scores{template}; fix leaves test as it is"
    return f"they add weight and no information{template}; fix=FOLDER keeps the first of those with the same label"


def equal_texts(texts: Iterable[str]) -> NDArray[np.int64]:
    """Return a number for each text from 0, equal where the texts are, to the character."""
    return _numbered(array("q", map(_hash, texts)))


def equal_labels(data: Data, rows: AllRows) -> NDArray[np.int64]:
    """Return a number for the labels of each row, equal where they are."""
    of_splits = [data.splits[split].labels for split in rows.parts]
    if of_splits[0].ndim == 1:
        return np.concatenate(of_splits).astype(np.int64)
    return _numbered(array("q", (_hash_of(row) for labels in of_splits for row in np.packbits(labels, axis=1))))


def _hash(text: str) -> int:
    return _hash_of(text.encode("utf-8", "surrogatepass"))


def _hash_of(content: Any) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little", signed=True)


def _numbered(hashes: array[int]) -> NDArray[np.int64]:
    """Return numbers from 0, equal where the hashes are, in the order of their first rows.

    So the first and the last text of any group of texts are of different splits where the group is.
    """
    values = np.frombuffer(hashes, np.int64) if hashes else np.empty(0, np.int64)
    _, first, number = np.unique(values, return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return place[number]


def _near_groups(data: Data, rows: AllRows, keys: Keys, near: float) -> Pairs:
    """Return the pairs of groups of equal normalised texts that are near duplicates."""
    _, first = np.unique(keys.normal, return_index=True)
    pairs = near_pairs(keys.words.take(first), near)
    few = (keys.words.sizes[first][pairs] < ORDERED).any(axis=1)
    in_order = np.array([_same_order(data, rows, first[pair], near) for pair in pairs[few]], bool)
    return np.concatenate([pairs[~few], pairs[few][in_order]])


def _same_order(data: Data, rows: AllRows, pair: NDArray[np.int64], near: float) -> bool:
    """Return whether two short texts have their words in about the same order."""
    from rapidfuzz.distance import Indel

    first, second = (
        normalised(data.splits[split].texts[row]).split() for split, row in (rows.split_of(int(row)) for row in pair)
    )
    return Indel.normalized_similarity(first, second) >= near


def _across(pairs: Pairs, group: NDArray[np.int64], earlier: slice, later: slice) -> Twins:
    """Return the rows of the earlier split that pairs join to the later one, without those that it has itself."""
    twin = _group_twins(pairs, group, earlier, later)
    rows = np.flatnonzero((twin[group[earlier]] >= 0) & ~np.isin(group[earlier], group[later]))
    values, first = np.unique(group[later], return_index=True)
    twins = first[np.searchsorted(values, twin[group[earlier][rows]])] if len(rows) else np.empty(0, np.int64)
    count = int((_group_twins(pairs, group, later, earlier)[group[later]] >= 0).sum()) if len(rows) else 0
    return Twins(rows + earlier.start, twins + later.start, count)


def _group_twins(pairs: Pairs, group: NDArray[np.int64], here: slice, other: slice) -> NDArray[np.int64]:
    """Return for each group of `here` one that it is paired with and that stands in `other`, or -1."""
    groups = int(group.max(initial=0)) + 1
    inside, beyond = (np.bincount(group[part], minlength=groups) > 0 for part in (here, other))
    twin = np.full(len(inside), -1, np.int64)
    for one, two in ((pairs[:, 0], pairs[:, 1]), (pairs[:, 1], pairs[:, 0])):
        joined = inside[one] & beyond[two]
        twin[one[joined]] = two[joined]
    return twin


def _inside(pairs: Pairs, group: NDArray[np.int64], labels: NDArray[np.int64], part: slice) -> Twins:
    """Return the first row of each group that has an earlier near duplicate in its split which itself is kept."""
    values, first = np.unique(group[part], return_index=True)
    row_of = np.full(int(group.max(initial=0)) + 1, -1, np.int64)
    row_of[values] = first
    ends = np.sort(row_of[pairs], axis=1)
    ends = ends[ends[:, 0] >= 0]
    ends = ends[np.lexsort((ends[:, 0], ends[:, 1]))]
    alike = _earlier_twins(ends[np.equal(*labels[part][ends].T)])
    twin = {**_earlier_twins(ends), **alike}
    rows, twins = np.array(list(twin), np.int64), np.array(list(twin.values()), np.int64)
    return Twins(rows + part.start, twins + part.start, len(rows), np.isin(rows, np.array(list(alike), np.int64)))


def _earlier_twins(ends: Pairs) -> dict[int, int]:
    """Return for each later row the first of its earlier ones that has none itself."""
    twin: dict[int, int] = {}
    for earlier, later in ends.tolist():
        if earlier not in twin:
            twin.setdefault(later, earlier)
    return twin
