"""Cut splits: stratified, seeded, and never the same text on two sides; or by groups, or by time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ftclf.config import DatasetConfig
from ftclf.data.cells import excerpt
from ftclf.data.dataset import Split
from ftclf.data.label_sets import LabelSets
from ftclf.system.errors import DataError

SKETCHED, LOOKED_UP = 4096, 30  # texts of a sketch; rows that have to fall into its range
MONTH = re.compile(r"\d{1,2}\.(19|20)\d\d")
MOST_COPIES = 0.05  # of a cut split's rows: a text with more of them would be scored over and over


def cut_missing(splits: dict[str, Split], config: DatasetConfig, notes: list[str]) -> dict[str, Split]:
    """Return train, validation and test, in this order; what is missing is cut from train.

    `notes` gets a line where a text has so many copies that they stay in train.
    """
    found = dict(splits)
    absent = [name for name in ("test", "validation") if name not in found]
    if absent and (config.group_column or config.time_column):
        return _cut_by_column(found, absent, config)
    if absent:
        share = config.validation_size if "test" in found else config.test_size
        notes += _many_copies(found["train"], share)
    for name, share, seed in (
        ("test", config.test_size, config.split_seed),
        ("validation", config.validation_size, config.split_seed + 1),
    ):
        if name not in found:
            found["train"], found[name] = cut_split(found["train"], share, seed, name)
    return {name: found[name] for name in ("train", "validation", "test")}


def cut_split(rows: Split, share: float, seed: int, name: str) -> tuple[Split, Split]:
    """Cut `share` of the rows off: rows of one text stay together, each class keeps its share as far as it can.

    A class of a single text, and a text of very many rows, stay whole in the first part. Returns (rest, cut), rows in
    their order.
    """
    group = group_by_text(rows.texts)
    labels = rows.labels if rows.labels.ndim == 1 else strata(rows.labels)
    few = np.flatnonzero(~_are_many(group, share))
    taken = few[_draw_groups(_rarest(labels, group)[few], share, seed)]
    cut = np.isin(group, taken)
    if not cut.any() or cut.all():
        raise DataError(
            f"dataset.{name}_size: {share} of {len(rows)} rows gives {name} no rows to hold every class; "
            f"give a {name} file or more rows"
        )
    return rows.take(np.flatnonzero(~cut)), rows.take(np.flatnonzero(cut))


def _cut_by_column(splits: dict[str, Split], absent: list[str], config: DatasetConfig) -> dict[str, Split]:
    """Cut the missing splits by groups or by time. Equal texts are not kept together."""
    found = dict(splits)
    if config.group_column:
        _refuse_few_groups(found["train"], absent, config.group_column)
    for name in absent:
        share, seed = getattr(config, f"{name}_size"), config.split_seed + (name == "validation")
        rows = found["train"]
        cut = _newest(rows, share, str(config.time_column)) if config.time_column else _whole_groups(rows, share, seed)
        if not cut.any() or cut.all():
            raise DataError(f"dataset.{name}_size: {share} of {len(rows)} rows gives {name} none, or train; change it")
        found["train"], found[name] = rows.take(np.flatnonzero(~cut)), rows.take(np.flatnonzero(cut))
    return {name: found[name] for name in ("train", "validation", "test")}


def _refuse_few_groups(rows: Split, absent: list[str], column: str) -> None:
    groups = len(np.unique(_group_numbers(rows)))
    if groups <= len(absent):
        raise DataError(
            f"dataset.group_column: '{column}' has {groups} groups for {len(absent) + 1} splits; "
            f"give a {absent[-1]} file, or name a column of more values"
        )


def _group_numbers(rows: Split) -> NDArray[np.int64]:
    """Return a number for each row, equal where its group is; a row with an empty cell is a group of its own."""
    assert rows.groups is not None
    known: dict[str, int] = {}
    cells = ((number, " ".join(cell.split())) for number, cell in enumerate(rows.groups))
    return np.fromiter((known.setdefault(cell or f"\0{number}", len(known)) for number, cell in cells), np.int64)


def _whole_groups(rows: Split, share: float, seed: int) -> NDArray[np.bool_]:
    """Return which rows are cut off: whole groups, in an order by chance, each if it brings the labels nearer to share.

    A group that holds all rows of a label stays. Where no group is small enough, the smallest is cut off.
    """
    group = _group_numbers(rows)
    labels = rows.labels if rows.labels.ndim == 1 else strata(rows.labels)
    _, label = np.unique(labels, return_inverse=True)
    order = np.argsort(group, kind="stable")
    parts = np.split(label[order], np.flatnonzero(np.diff(group[order])) + 1)
    total = np.bincount(label)
    wanted, taken, cut = share * total, np.zeros(len(total)), np.zeros(len(parts), bool)
    for number in np.random.default_rng(seed).permutation(len(parts)).tolist():
        kinds, counts = np.unique(parts[number], return_counts=True)
        before, after = wanted[kinds] - taken[kinds], wanted[kinds] - taken[kinds] - counts
        nearer = float(((before**2 - after**2) / wanted[kinds]).sum()) > 0
        if nearer and (taken[kinds] + counts < total[kinds]).all():
            taken[kinds] += counts
            cut[number] = True
    if not cut.any():
        spare = [number for number, part in enumerate(parts) if (np.bincount(part, minlength=len(total)) < total).all()]
        cut[min(spare, key=lambda number: len(parts[number]), default=0)] = True
    return cut[group]


def _newest(rows: Split, share: float, column: str) -> NDArray[np.bool_]:
    """Return which rows are the newest, at least one; of equal times the later ones in the file."""
    cut = np.zeros(len(rows), bool)
    cut[np.argsort(_times(rows, column), kind="stable")[-max(1, round(share * len(rows))) :]] = True
    return cut


def _times(rows: Split, column: str) -> NDArray[np.float64]:
    """Return the times of rows: numbers where all cells are, else ISO dates, without a zone in UTC."""
    assert rows.times is not None
    months = all(MONTH.fullmatch(cell.strip()) for cell in rows.times)  # 01.2024 comes after 12.2023
    found = [None if months else _number(cell) for cell in rows.times]
    if None in found:
        found = [_date(cell) for cell in rows.times]
    if None in found:
        bad = found.index(None)
        where = rows.places.named(slice(bad, bad + 1))[0] if rows.places else f"row {bad + 1}"
        raise DataError(
            f"dataset.time_column: {where}, column '{column}': got {excerpt(rows.times[bad])}, allowed: ISO dates as "
            "2024-05-31 or 2024-05-31T12:30:00, or numbers, the same in every row"
        )
    return np.array(found, np.float64)


def _number(cell: str) -> float | None:
    try:
        number = float(cell.replace("_", "?"))  # Python takes 1_000 for a number
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _date(cell: str) -> float | None:
    try:
        time = datetime.fromisoformat(cell.strip())
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _are_many(group: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Return which texts have more rows than a split of this share should see."""
    return np.bincount(group) > max(3.0, MOST_COPIES * share * len(group))


def _many_copies(rows: Split, share: float) -> list[str]:
    group = group_by_text(rows.texts)
    many = np.flatnonzero(_are_many(group, share))
    if not len(many):
        return []
    counts = np.bincount(group)[many]
    first = rows.texts[int(np.flatnonzero(group == many[counts.argmax()])[0])]
    return [
        f"{counts.sum()} rows repeat {len(many)} of the texts so often that they stay in train, "
        f"as {counts.max()} times {excerpt(' '.join(first.split()))}"
    ]


def group_by_text(texts: Iterable[str]) -> NDArray[np.int64]:
    """Return a number for every row, equal where the texts are equal but for white space and case.

    Numbers count from 0 in the order of the rows.
    """
    hashes = _hashes(texts)
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    number = np.empty_like(first)
    number[np.argsort(first)] = np.arange(len(first))
    return number[group]


def shared_texts(splits: dict[str, Split]) -> Iterator[tuple[str, str, int]]:
    """Yield each two splits, and how many rows of the second have a text of the first but for white space and case."""
    hashes = {name: _hashes(split.texts) for name, split in splits.items()}
    for first, second in combinations(hashes, 2):
        yield first, second, int(np.isin(hashes[second], hashes[first]).sum())


def sketch(texts: Iterable[str]) -> list[str]:
    """Return the lowest 4,096 hashes of these texts: enough to tell how many of others are among them."""
    return [f"{one:016x}" for one in np.unique(_hashes(texts))[:SKETCHED].tolist()]


def share_known(texts: Iterable[str], known: list[str]) -> float:
    """Return about which share of these rows has a text that a sketch was made of, but for white space and case.

    A sketch holds every hash up to its highest; those of other texts that are as low are looked up in it. Where so few
    are that they tell nothing, it is 0.
    """
    hashes, low = _hashes(texts), np.array([int(one, 16) for one in known], dtype=np.uint64)
    if len(low) == SKETCHED:
        hashes = hashes[hashes <= low[-1]]
        if len(hashes) < LOOKED_UP:
            return 0.0
    return float(np.isin(hashes, low).mean()) if len(hashes) else 0.0


def _hashes(texts: Iterable[str]) -> NDArray[np.uint64]:
    """Return 64 bits of the hash of each text without its case and white space.

    Two of ten million texts share them with a chance of 3 in a million. All that comes of it is that these two stand on
    one side of a split.
    """
    encoded = (" ".join(text.split()).casefold().encode("utf-8", "surrogatepass") for text in texts)
    digests = (int.from_bytes(blake2b(text, digest_size=8).digest(), "little") for text in encoded)
    return np.fromiter(digests, dtype=np.uint64)


def strata(targets: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the label a row is stratified by: its own, or the rarest of several; -1 for none."""
    return LabelSets.of(targets).rarest()


def _rarest(labels: NDArray[np.int64], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the label of each group, the rarest where one text has several: its class must not leave with it."""
    _, place, count = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.lexsort((np.arange(len(labels)), count[place], group))
    return labels[order[np.unique(group[order], return_index=True)[1]]]


def _draw_groups(label_of_group: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Return the places of the groups that are cut off, one at least.

    Each class gives its share, rounded up or down by chance, but a class of one group nothing. Rounding up alone would
    fill what is cut with rare classes: scores on it would not be those of the data.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(label_of_group))
    order = order[np.argsort(label_of_group[order], kind="stable")]
    _, place, count = np.unique(label_of_group[order], return_inverse=True, return_counts=True)
    order = order[count[place] > 1]
    if not len(order):
        return order
    every = max(share, 1 / len(order))
    ticks = np.floor(np.arange(len(order) + 1) * every + random.random())  # systematic sampling
    taken: NDArray[np.int64] = order[np.diff(ticks) > 0]
    return taken
