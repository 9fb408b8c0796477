"""Cut splits: stratified, seeded, and never the same text on two sides."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ftclf.config import DatasetConfig
from ftclf.data.cells import excerpt
from ftclf.data.dataset import Split
from ftclf.data.label_sets import LabelSets
from ftclf.system.errors import DataError

SKETCHED, LOOKED_UP = 4096, 30  # texts of a sketch; rows that have to fall into its range
MOST_COPIES = 0.05  # of a cut split's rows: a text with more of them would be scored over and over


def cut_missing(splits: dict[str, Split], config: DatasetConfig, notes: list[str]) -> dict[str, Split]:
    """Return train, validation and test, in this order; what is missing is cut from train.

    `notes` gets a line where a text has so many copies that they stay in train.
    """
    found = dict(splits)
    if not {"validation", "test"} <= found.keys():
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


def shared_texts(train: Split, other: Split) -> int:
    """Count the rows of `other` whose text also stands in train, but for white space and case."""
    return int(np.isin(_hashes(other.texts), _hashes(train.texts)).sum())


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
