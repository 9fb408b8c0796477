"""Texts of validation and test, to be asked whether another text is, or is nearly, one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data.check.near import normalised
from ftclf.data.dataset import Split

GRAM = 5  # characters that are compared together
NEAR = 0.8  # share of them (Jaccard) from which two texts are nearly the same
BUCKETS = 2**20  # counts of pieces, which share a count where their hashes do: rare pieces come first, nearly
Hashes = NDArray[np.uint64]
MULTIPLIERS = np.array([pow(0x9E3779B97F4A7C15, power, 2**64) for power in range(1, GRAM + 1)], dtype=np.uint64)


def grams(text: str) -> Hashes:
    """Return a hash for each piece of 5 characters of a normalised text, each once and rising; a short text is one."""
    codes = np.frombuffer(text.ljust(GRAM).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64) + 1
    windows = np.lib.stride_tricks.sliding_window_view(codes, GRAM)
    mixed = (windows * MULTIPLIERS).sum(axis=1, dtype=np.uint64)
    return np.unique(mixed ^ (mixed >> np.uint64(29)))


@dataclass(frozen=True)
class Match:
    """A row of validation or test that a text is like, and by how much; 1 where they differ in form alone."""

    place: str
    likeness: float

    def __str__(self) -> str:
        return f"{self.place} ({'the same text' if self.likeness == 1 else f'{self.likeness:.0%} alike'})"


class HeldOut:
    """An index of the pieces of validation and test texts.

    Two texts that are 0.8 alike share some of the rarest pieces of each: a quarter of the pieces of a text stand in the
    index, and a quarter of those of another are looked up (Bayardo et al. 2007).
    """

    def __init__(self, splits: Mapping[str, Split]) -> None:
        self.splits = [(name, splits[name]) for name in ("validation", "test") if name in splits]
        self.starts = np.cumsum([0, *(len(split) for _, split in self.splits)])
        self.counts = np.zeros(BUCKETS, dtype=np.int64)
        self.same: dict[int, int] = {}  # row by the hash of its text
        for row, text in enumerate(self._texts()):
            np.add.at(self.counts, _bucket(grams(text)), 1)
            self.same.setdefault(hash(text), row)
        heads, rows, sizes = [], [], []
        for row, text in enumerate(self._texts()):
            pieces = grams(text)
            heads.append(self._rarest(pieces))
            rows.append(np.full(len(heads[-1]), row, dtype=np.int32))
            sizes.append(len(pieces))
        all_heads, all_rows = np.concatenate(heads), np.concatenate(rows)
        order = np.argsort(all_heads, kind="stable")
        self.heads, self.rows, self.sizes = all_heads[order], all_rows[order], np.array(sizes)

    def match(self, text: str) -> Match | None:
        """Return the row of validation or test that a text is most like, from 0.8 on."""
        plain = normalised(text)
        if (row := self.same.get(hash(plain))) is not None:
            return Match(self._place(row), 1.0)
        pieces = grams(plain)
        head = self._rarest(pieces)
        starts, ends = (np.searchsorted(self.heads, head, side=side) for side in ("left", "right"))
        hits = np.concatenate([self.rows[start:end] for start, end in zip(starts, ends, strict=True)])
        rows, shared = np.unique(hits, return_counts=True)
        fitting = shared >= np.minimum(_must_share(self.sizes[rows]), _must_share(len(pieces)))
        fitting &= (self.sizes[rows] >= NEAR * len(pieces)) & (len(pieces) >= NEAR * self.sizes[rows])
        alike = [(_jaccard(pieces, grams(normalised(self._text(int(row))))), -int(row)) for row in rows[fitting]]
        likeness, row = max(alike, default=(0.0, 0))
        return Match(self._place(-row), min(likeness, 0.999)) if likeness >= NEAR else None

    def _rarest(self, pieces: Hashes) -> Hashes:
        """Return the rarest pieces of a text, of which `_must_share` stand among those of a text nearly the same."""
        kept = len(pieces) - int(np.ceil(NEAR * len(pieces))) + int(_must_share(len(pieces)))
        order = np.lexsort((pieces, self.counts[_bucket(pieces)]))
        return np.asarray(pieces[order[:kept]])

    def _texts(self) -> Iterator[str]:
        return (normalised(text) for _, split in self.splits for text in split.texts)

    def _locate(self, row: int) -> tuple[str, Split, int]:
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        name, split = self.splits[number]
        return name, split, row - int(self.starts[number])

    def _text(self, row: int) -> str:
        _, split, place = self._locate(row)
        return split.texts[place]

    def _place(self, row: int) -> str:
        name, split, place = self._locate(row)
        return f"{name} row {place_of(split, place)}"


def place_of(split: Split, row: int) -> str:
    """Return where a row stands in its source, else its number in the split."""
    return split.places.named(slice(row, row + 1))[0] if split.places else str(row + 1)


def _must_share(pieces: Any) -> Any:
    """Return how many of their rarest pieces two texts of about so many share where they are nearly the same."""
    return 1 + pieces // 20


def _bucket(pieces: Hashes) -> NDArray[np.int64]:
    return (pieces % np.uint64(BUCKETS)).astype(np.int64)


def _jaccard(one: Hashes, other: Hashes) -> float:
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)
