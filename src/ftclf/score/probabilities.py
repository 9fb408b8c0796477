"""Probabilities of a split, made from its logits when they are asked for.

All at once, in float64, they would take twice the memory of the logits: 1.6 GB for 40,000 rows and 5,000 labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data.label_sets import CELLS, chunks

LABELS_AT_A_TIME = 16  # at least: their float32 logits of one row fill a cache line

Dense = NDArray[np.float64]  # (rows, labels)
Scaling = Callable[[NDArray[Any], slice], Dense]  # logits of some rows and of the labels of a slice


def chunks_of(values: NDArray[Any]) -> Iterator[tuple[slice, Dense]]:
    """Yield some rows at a time in float64."""
    return ((rows, values[rows].astype(np.float64)) for rows in chunks(*values.shape))


def _as_they_are(values: NDArray[Any], _: slice) -> Dense:
    return values.astype(np.float64)


@dataclass(frozen=True, eq=False)
class Probabilities:
    """Probabilities of the shape (rows, labels); `look` is called between steps, and may raise to end the work."""

    values: NDArray[Any]  # logits, or the probabilities themselves
    scaled: Scaling = _as_they_are
    look: Callable[[], None] = lambda: None

    @classmethod
    def of(cls, given: Probabilities | NDArray[Any]) -> Probabilities:
        """Return an array of probabilities as Probabilities."""
        return given if isinstance(given, Probabilities) else cls(given)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, int]:
        rows, labels = self.values.shape
        return rows, labels

    def every(self, step: int) -> Probabilities:
        """Return each row whose number is a multiple of `step`."""
        return Probabilities(self.values[::step], self.scaled, self.look)

    def rows(self, rows: slice) -> Dense:
        """Return the probabilities of some rows, (rows, labels)."""
        return self.scaled(self.values[rows], slice(0, self.shape[1]))

    def chunks(self) -> Iterator[tuple[slice, Dense]]:
        """Yield all rows, some at a time."""
        for rows in chunks(*self.shape):
            self.look()
            yield rows, self.rows(rows)

    def blocks(self) -> Iterator[tuple[slice, Dense]]:
        """Yield all labels, some at a time, each with its rows: shape (labels, rows).

        Only for a scaling that computes a label's probabilities from that label's logits alone.
        """
        rows, labels = self.shape
        step = max(LABELS_AT_A_TIME, CELLS // max(1, rows))
        for start in range(0, labels, step):
            self.look()
            block = slice(start, min(start + step, labels))
            yield block, np.ascontiguousarray(self.scaled(self.values[:, block], block).T)

    def columns(self) -> Iterator[NDArray[np.float64]]:
        """Yield the probabilities of each label, (rows,)."""
        for _, block in self.blocks():
            yield from block

    def column(self, label: int) -> NDArray[np.float64]:
        """Return the probabilities of a label, (rows,)."""
        block = slice(label, label + 1)
        return self.scaled(self.values[:, block], block)[:, 0]

    def whole(self) -> Dense:
        """Return all probabilities."""
        return np.concatenate([part for _, part in self.chunks()]) if len(self) else np.empty(self.shape)
