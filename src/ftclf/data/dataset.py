"""What a data set is to the rest of ftclf."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ftclf.data.places import Places
from ftclf.data.text_store import Texts, TextWriter
from ftclf.system.progress_bar import advance


class Row(NamedTuple):
    """One row as it was read and checked."""

    line: int  # where in the source it stands, for errors
    text: str
    labels: list[str]  # names or ids, in the order of the file
    cells: list[str]  # of the columns that the report slices by
    file: str = ""  # of a folder of texts: the file of this row, below the folder


@dataclass
class RawRows:
    """Rows of one file or hub split before their labels are named.

    Rows share their combination of labels: `combinations[labels[i]]` are those of row i. There are few, also where
    there are millions of rows, and whatever is done to labels is done to them.
    """

    where: str  # what an error names: a file or a hub id
    texts: Texts
    combinations: list[tuple[str, ...]]
    labels: NDArray[np.int64]
    lines: NDArray[np.int64]
    columns: dict[str, Texts]
    notes: list[str] = field(default_factory=list)  # what a user should know of the way that they were read
    files: Texts | None = None  # of a folder of texts: the file of each row

    @classmethod
    def collect(
        cls, where: str, rows: Iterable[Row], columns: Iterable[str] = (), notes: list[str] | None = None
    ) -> RawRows:
        """Put rows on disk as they come; `notes` are filled while they do."""
        numbers: dict[tuple[str, ...], int] = {}
        labels, lines = array("q"), array("q")
        with ExitStack() as files:
            texts, paths = files.enter_context(TextWriter()), files.enter_context(TextWriter())
            writers = {column: files.enter_context(TextWriter()) for column in columns}
            for row in rows:
                texts.add(row.text)
                advance()
                labels.append(numbers.setdefault(tuple(row.labels), len(numbers)))
                lines.append(row.line)
                if row.file:
                    paths.add(row.file)
                for writer, cell in zip(writers.values(), row.cells, strict=True):
                    writer.add(cell)
            found = {column: writer.texts() for column, writer in writers.items()}
            numbered, places = np.frombuffer(labels, np.int64), np.frombuffer(lines, np.int64)
            below = paths.texts() if len(paths.offsets) > 1 else None
            return cls(where, texts.texts(), list(numbers), numbered, places, found, notes or [], below)

    def take(self, rows: NDArray[np.int64]) -> RawRows:
        columns = {name: cells.take(rows) for name, cells in self.columns.items()}
        return replace(
            self,
            texts=self.texts.take(rows),
            labels=self.labels[rows],
            lines=self.lines[rows],
            columns=columns,
            files=self.files.take(rows) if self.files is not None else None,
        )

    def places(self) -> Places:
        """Return where the rows stand."""
        return Places.of(self.where, self.lines, self.files)

    def found_labels(self) -> set[str]:
        """Return every label that a row has."""
        return {label for number in np.unique(self.labels) for label in self.combinations[number]}


@dataclass
class Split:
    """Rows in their order in the source.

    `labels` has the shape (rows,) and holds label ids, int64; with several labels a row (rows, labels), bool.
    """

    texts: Texts
    labels: NDArray[Any]
    columns: dict[str, Texts] = field(default_factory=dict)  # what the report slices by
    known_digest: str = ""
    places: Places | None = None  # in their source, where it is known
    groups: Texts | None = None  # cells of dataset.group_column
    times: Texts | None = None  # cells of dataset.time_column; not kept, since splits are cut once

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: NDArray[np.int64]) -> Split:
        columns = {name: cells.take(rows) for name, cells in self.columns.items()}
        places = self.places.take(rows) if self.places else None
        groups, times = (cells if cells is None else cells.take(rows) for cells in (self.groups, self.times))
        return Split(self.texts.take(rows), self.labels[rows], columns, places=places, groups=groups, times=times)

    def rows_per_label(self, labels: int) -> NDArray[np.int64]:
        """Return how many rows have each label."""
        if self.labels.ndim == 2:
            return self.labels.sum(axis=0)  # type: ignore[no-any-return]
        return np.bincount(self.labels, minlength=labels)

    def text_digest(self) -> str:
        """Return the SHA-256 of the texts in their order."""
        self.known_digest = self.known_digest or self.texts.digest()
        return self.known_digest


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
        for start in range(0, len(rows.labels), 500):  # all at once, thousands of labels take gigabytes
            digest.update(rows.labels[start : start + 500].astype("<i8").tobytes())
        return digest.hexdigest()
