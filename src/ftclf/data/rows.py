"""What a data set is to the rest of ftclf."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class RawRows:
    """Rows of one file or hub split before labels are checked: every cell as it was read."""

    where: str  # what an error names: a file or a hub id
    texts: list[str]
    labels: list[list[str]]  # a row's label names or ids, in the order of the file
    lines: list[int]  # where in the source a row stands, for errors
    columns: dict[str, list[str]] = field(default_factory=dict)  # what the report slices by

    def take(self, rows: list[int]) -> RawRows:
        return RawRows(
            self.where,
            [self.texts[row] for row in rows],
            [self.labels[row] for row in rows],
            [self.lines[row] for row in rows],
            {name: [cells[row] for row in rows] for name, cells in self.columns.items()},
        )


@dataclass
class Split:
    """Rows in their order in the source.

    `labels` has the shape (rows,) and holds label ids, int64; with several labels a row (rows, labels), bool.
    """

    texts: list[str]
    labels: NDArray[Any]
    columns: dict[str, list[str]] = field(default_factory=dict)  # what the report slices by

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: NDArray[np.int64]) -> Split:
        columns = {name: [cells[row] for row in rows] for name, cells in self.columns.items()}
        return Split([self.texts[row] for row in rows], self.labels[rows], columns)

    def text_digest(self) -> str:
        """Return the SHA-256 of the texts in their order."""
        digest = hashlib.sha256()
        for text in self.texts:
            encoded = text.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little"))
            digest.update(encoded)
        return digest.hexdigest()


@dataclass
class Data:
    """A data set: label names by id, the splits, and what a reader of the scores should know about them."""

    name: str
    label_names: list[str]
    splits: dict[str, Split]
    notes: list[str] = field(default_factory=list)
    task: str = "single_label"

    def digest(self, split: str) -> str:
        """Return the SHA-256 of a split's texts, labels and label names: equal digests, comparable scores."""
        rows = self.splits[split]
        digest = hashlib.sha256(rows.text_digest().encode())
        digest.update("\0".join(self.label_names).encode("utf-8", "surrogatepass"))
        digest.update(rows.labels.astype("<i8").tobytes())
        return digest.hexdigest()
