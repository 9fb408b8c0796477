"""Where rows stand in their source, so that a reader of a report finds them there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ftclf.data.text_store import Texts

OF_LINES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".jsonlines")  # files whose rows are numbered by lines


def readable(name: str) -> str:
    """Return a file's name as text; bytes that are not UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True)
class Places:
    """The source of a split and the number of each row in it; of a folder of texts also the file of each row."""

    source: str  # a file's name, a folder's name, or a hub id with its split
    numbers: NDArray[np.int64]
    files: Texts | None = None

    @classmethod
    def of(cls, where: str, numbers: NDArray[np.int64], files: Texts | None) -> Places:
        """Name a file or folder by the last part of its path, which names no user; a hub id as it is."""
        path = Path(where)
        return cls(readable(path.name if path.exists() else where), numbers, files)

    def take(self, rows: NDArray[np.int64]) -> Places:
        return replace(
            self, numbers=self.numbers[rows], files=self.files.take(rows) if self.files is not None else None
        )

    def named(self, rows: slice) -> list[str]:
        """Return the places of some rows: `test.csv:127`, `sport/003.txt`, or `test.parquet, row 127`."""
        if self.files is not None:
            return self.files[rows]
        mark = ":" if self.source.lower().endswith(OF_LINES) else ", row "
        return [f"{self.source}{mark}{number}" for number in self.numbers[rows].tolist()]
