"""The rows of all splits end to end, numbered through: train, validation, test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ftclf.data import Data

SPLITS = ("train", "validation", "test")  # of two that share a text, the row of the earlier split is the one to drop


@dataclass
class AllRows:
    """Row i of a split is row `starts[split] + i` here."""

    parts: dict[str, slice]

    @classmethod
    def of(cls, data: Data) -> AllRows:
        parts, start = {}, 0
        for name in SPLITS:
            if name in data.splits:
                parts[name] = slice(start, start + len(data.splits[name]))
                start = parts[name].stop
        return cls(parts)

    def __len__(self) -> int:
        return max((part.stop for part in self.parts.values()), default=0)

    def texts(self, data: Data) -> Iterator[str]:
        """Yield the texts of all rows in their order."""
        for name in self.parts:
            yield from data.splits[name].texts

    def split_of(self, row: int) -> tuple[str, int]:
        """Return the split of a row, and its number in the split."""
        name = next(name for name, part in self.parts.items() if part.start <= row < part.stop)
        return name, row - self.parts[name].start

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield each two splits, the earlier one first."""
        return combinations(self.parts, 2)


def repeats_inside(group: NDArray[np.int64], part: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of a split whose group has an earlier row in it, and for each the first of these."""
    inside = group[part]
    _, first, place = np.unique(inside, return_index=True, return_inverse=True)
    rows = np.flatnonzero(first[place] != np.arange(len(inside)))
    return rows + part.start, first[place[rows]] + part.start


def shared_rows(
    group: NDArray[np.int64], earlier: slice, later: slice
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return the rows of the earlier split whose group the later one has too, a row of that for each, and their count.

    The count is of the rows of the later split: those that a score would be wrong for.
    """
    values, first = np.unique(group[later], return_index=True)
    place = np.searchsorted(values, group[earlier]).clip(max=max(len(values) - 1, 0))
    rows = np.flatnonzero(values[place] == group[earlier]) if len(values) else np.empty(0, np.int64)
    count = int(np.isin(group[later], group[earlier]).sum())
    return rows + earlier.start, first[place[rows]] + later.start, count
