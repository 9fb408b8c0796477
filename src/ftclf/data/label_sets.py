"""Label sets: the labels of each row as ids. Truth values for 40,000 rows and 5,000 labels would take 200 MB."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CELLS = 2**17  # rows x labels per step: 1 MB in float64, which fits into a core's cache
MOST_IDS = 2**22  # ids per step: bounds the time of one call, in which no signal is obeyed
WIDE = 200  # labels: above, files have lists in place of a column per label
DENSE = 0.05  # share of cells from which a dense product is faster than a sparse one

Ids = NDArray[Any]  # whole numbers, as small as the number of labels allows


def chunks(rows: int, labels: int, *, most: int | None = None) -> Iterator[slice]:
    """Yield slices of the rows with at most `most` truth values or probabilities each; CELLS by default."""
    step = max(1, (most or CELLS) // max(1, labels))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def pieces(sizes: NDArray[np.int64], most: int) -> list[int]:
    """Return the bounds of pieces whose sizes add up to about `most`."""
    block = np.cumsum(sizes) // most
    return [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(sizes)]


def ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide, with 0 for 0 / 0, as scikit-learn's zero_division=0 does."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


@dataclass(frozen=True, eq=False)
class LabelSets:
    """The labels of each row, shape (rows, labels): row i has `ids[starts[i] : starts[i + 1]]`, rising."""

    starts: NDArray[np.int64]
    ids: Ids
    labels: int

    @classmethod
    def of(cls, given: LabelSets | NDArray[Any], labels: int = 0) -> LabelSets:
        """Return label ids (rows,), which need the number of labels, or truth values (rows, labels), as sets."""
        if isinstance(given, LabelSets):
            return given
        if given.ndim == 1:
            return cls(np.arange(len(given) + 1), given.astype(np.min_scalar_type(labels)), labels)
        return cls.stacked(_of_part(given[rows]) for rows in chunks(*given.shape)) if len(given) else _of_part(given)

    @classmethod
    def stacked(cls, parts: Iterable[LabelSets]) -> LabelSets:
        """Return the rows of all parts in their order."""
        parts = [*parts]
        counts = np.concatenate([[0], *(part.per_row for part in parts)])
        return cls(np.cumsum(counts), np.concatenate([part.ids for part in parts]), parts[0].labels)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.labels

    @property
    def per_row(self) -> NDArray[np.int64]:
        """How many labels each row has, (rows,)."""
        return np.diff(self.starts)

    @property
    def per_label(self) -> NDArray[np.int64]:
        """How many rows each label has, (labels,)."""
        counts = np.zeros(self.labels, dtype=np.int64)
        for start in range(0, len(self.ids), MOST_IDS):
            counts += np.bincount(self.ids[start : start + MOST_IDS], minlength=self.labels)
        return counts

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row of each of the ids."""
        return np.repeat(np.arange(len(self)), self.per_row)

    def part(self, rows: slice) -> LabelSets:
        """Return some rows; nothing is copied."""
        starts = self.starts[rows.start : rows.stop + 1]
        return LabelSets(starts - starts[0], self.ids[starts[0] : starts[-1]], self.labels)

    def take(self, rows: NDArray[np.bool_]) -> LabelSets:
        """Return the rows that a mask (rows,) leaves."""
        counts = self.per_row
        starts = np.concatenate([[0], np.cumsum(counts[rows])])
        return LabelSets(starts, self.ids[np.repeat(rows, counts)], self.labels)

    def only(self, wanted: NDArray[np.int64]) -> LabelSets:
        """Return all rows with these labels alone, numbered by their place in `wanted`, which rises."""
        parts = (self.part(rows) for rows in self._pieces())
        kept = LabelSets.stacked(part._kept(np.isin(part.ids, wanted)) for part in parts)
        return LabelSets(kept.starts, np.searchsorted(wanted, kept.ids).astype(self.ids.dtype), len(wanted))

    def dense(self) -> NDArray[np.bool_]:
        """Return truth values, (rows, labels)."""
        truth = np.zeros(self.shape, dtype=bool)
        truth[self.rows, self.ids] = True
        return truth

    def __and__(self, other: LabelSets) -> LabelSets:
        """Return the labels that a row has in both."""
        return self._where(other, both=True)

    def __sub__(self, other: LabelSets) -> LabelSets:
        """Return the labels that a row has here and not in the other."""
        return self._where(other, both=False)

    def _where(self, other: LabelSets, *, both: bool) -> LabelSets:
        pairs = ((self.part(rows), other.part(rows)) for rows in self._pieces(other))
        kept = ((a, np.isin(a.keys, b.keys, assume_unique=True, kind="sort") == both) for a, b in pairs)
        return LabelSets.stacked(part._kept(places) for part, places in kept) if len(self) else self

    def _kept(self, places: NDArray[np.bool_]) -> LabelSets:
        """Return the sets with some of the ids alone, by a mask of them."""
        counts = np.bincount(self.rows[places], minlength=len(self))
        return LabelSets(np.concatenate([[0], np.cumsum(counts)]), self.ids[places], self.labels)

    def equals(self, other: LabelSets) -> bool:
        """Return whether all rows have the same labels in both."""
        return np.array_equal(self.starts, other.starts) and np.array_equal(self.ids, other.ids)

    def same(self, other: LabelSets) -> NDArray[np.bool_]:
        """Return which rows have the same labels in both, (rows,)."""
        shared = (self & other).per_row
        return np.asarray((shared == self.per_row) & (shared == other.per_row))

    def column(self, label: int) -> NDArray[np.bool_]:
        """Return which rows have a label, (rows,)."""
        has_label = np.zeros(len(self), dtype=bool)
        places = np.flatnonzero(self.ids == label)
        has_label[np.searchsorted(self.starts, places, side="right") - 1] = True
        return has_label

    def by_label(self) -> list[NDArray[np.int64]]:
        """Return the rows of each label, rising."""
        order = np.argsort(self.ids, kind="stable")
        return np.split(self.rows[order], np.cumsum(self.per_label)[:-1])

    def rarest(self) -> NDArray[np.int64]:
        """Return the label of each row that the fewest rows have, (rows,); -1 for a row without labels."""
        order = np.lexsort((np.arange(self.labels), self.per_label))  # with as many rows the first counts as rarer
        rank = np.empty(self.labels, dtype=np.int64)
        rank[order] = np.arange(self.labels)
        rarest, has_labels = np.full(len(self), -1, dtype=np.int64), self.per_row > 0
        if has_labels.any():
            rarest[has_labels] = order[np.minimum.reduceat(rank[self.ids], self.starts[:-1][has_labels])]
        return rarest

    def sums(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how much the rows of each label weigh, (draws, labels), for weights of the rows (draws, rows)."""
        total = np.zeros((len(weights), self.labels))
        for rows in self._pieces():
            part, weighed = self.part(rows), weights[:, rows]
            if len(part.ids) > DENSE * len(part) * self.labels:
                total += weighed @ part.dense().astype(np.float64)
            else:
                total += weighed @ part.sparse()
        return total

    def sparse(self) -> Any:
        """Return a sparse array of ones, (rows, labels)."""
        from scipy.sparse import csr_array

        ones = np.ones(len(self.ids))
        return csr_array((ones, self.ids.astype(np.int32), self.starts.astype(np.int32)), shape=self.shape)

    def _pieces(self, other: LabelSets | None = None) -> Iterator[slice]:
        """Yield slices of the rows with at most about MOST_IDS ids, those of `other` included."""
        sizes = self.per_row + (other.per_row if other else 0)
        return itertools.starmap(slice, itertools.pairwise(pieces(sizes, MOST_IDS)))

    @property
    def keys(self) -> NDArray[np.int64]:
        """A number for each row and label, rising."""
        return self.rows * self.labels + self.ids


def _of_part(given: NDArray[np.bool_]) -> LabelSets:
    """Return truth values, (rows, labels), as sets."""
    labels = given.shape[1]
    starts = np.concatenate([[0], np.cumsum(np.count_nonzero(given, axis=1))])
    return LabelSets(starts, (np.flatnonzero(given) % labels).astype(np.min_scalar_type(labels)), labels)
