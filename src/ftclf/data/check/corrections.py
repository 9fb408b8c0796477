"""The csv of labels that are probably wrong: written for a person, who corrects labels in it, and read again."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ftclf.config.did_you_mean import did_you_mean
from ftclf.data.cells import excerpt, some
from ftclf.data.check.finding import labels_of
from ftclf.data.dataset import Data, Split
from ftclf.data.text_file import check_file
from ftclf.storage.csv_safety import harmless, write_lines
from ftclf.system.errors import DataError

CORRECT = "correct"  # the column that a person fills
COLUMNS = ("split", "file", "row", "text", "given", "suggested", "confidence", "why")
NEEDED = ("file", "row", "text", "given", CORRECT)
NO_LABEL = "(none)"  # of several labels per row
BETWEEN = ("|", ";", "||", " // ")  # labels of a cell: the first that no label holds

Relabelled = dict[str, dict[int, list[str]]]  # split -> row -> new labels


@dataclass
class Candidate:
    """A row whose labels are probably wrong."""

    split: str
    row: int
    suggested: list[str]
    confidence: float
    why: str


@dataclass
class _Cells:
    """How the labels of this data set stand in a cell."""

    names: list[str]
    between: str = field(init=False)

    def __post_init__(self) -> None:
        self.between = next((mark for mark in BETWEEN if not any(mark in name for name in self.names)), BETWEEN[0])

    def joined(self, labels: list[str]) -> str:
        return self.between.join(labels) or NO_LABEL

    def parts(self, cell: str, *, several: bool) -> list[str]:
        """Return the labels of a cell, in the order of the data set; unknown names come last."""
        if several and cell == NO_LABEL and NO_LABEL not in self.names:
            return []
        parts = cell.split(self.between) if several else [cell]
        known = {name: name for name in self.names} | {harmless(name): name for name in self.names}
        labels = dict.fromkeys(known.get(part.strip(), part.strip()) for part in parts)
        return sorted(labels, key=lambda name: self.names.index(name) if name in self.names else len(self.names))


def write_candidates(path: Path, data: Data, candidates: Iterable[Candidate], *, editable: bool = True) -> None:
    """Write rows in their order; with an empty column for the right label where they may be corrected."""
    cells, last = _Cells(data.label_names), [""] if editable else []
    with path.open("w", newline="", encoding="utf-8") as file:
        write_lines(file, [[*COLUMNS, *([CORRECT] if editable else [])]])
        write_lines(
            file,
            (
                [
                    one.split,
                    *place_in_source(data.splits[one.split], one.split, one.row),
                    data.splits[one.split].texts[one.row],
                    cells.joined(labels_of(data, one.split, one.row)),
                    cells.joined(one.suggested),
                    round(one.confidence, 4),
                    one.why,
                    *last,
                ]
                for one in candidates
            ),
        )


def place_in_source(rows: Split, split: str, row: int) -> tuple[str, int]:
    """Return the file of a row and its number there, which name the row for good."""
    if rows.places is None:
        return split, row + 1
    return rows.places.files[row] if rows.places.files is not None else rows.places.source, int(
        rows.places.numbers[row]
    )


def read_corrections(path: Path, data: Data) -> Relabelled:
    """Return the new labels of rows whose column `correct` is filled with others than the given ones.

    Raises DataError with the line for a row that is not in the data as it is written there, is of the test split, or
    has an unknown label.
    """
    check_file(path)
    known, relabelled, lines = _by_place(data), Relabelled(), dict[tuple[str, int], int]()
    for line, cells in _lines(path):
        if not cells[CORRECT].strip():
            continue
        where = f"{path}:{line}"
        split, row = _row_of(cells, known, data, where)
        if split == "test":
            raise DataError(
                f"{where}: {cells['file']}, row {cells['row']} is a test row, and test labels stay as they are; empty "
                f"its column {CORRECT}"
            )
        if other := lines.get((split, row)):
            raise DataError(f"{where}: the row of line {other} again; keep one of the two lines")
        lines[split, row] = line
        labels = _new_labels(cells, data, split, row, where)
        if labels != labels_of(data, split, row):
            relabelled.setdefault(split, {})[row] = labels
    if not lines:
        raise DataError(f"{path}: the column {CORRECT} is empty; write the right label into it, row by row")
    return relabelled


def refuse_labels_gone(data: Data, relabelled: Relabelled) -> None:
    """Raise DataError where corrections leave no train row of a label that has some."""
    names = data.label_names
    before = data.splits["train"].rows_per_label(len(names))
    counts = dict(zip(names, before.tolist(), strict=True))
    for row, labels in relabelled.get("train", {}).items():
        for name in labels_of(data, "train", row):
            counts[name] -= 1
        for name in labels:
            counts[name] += 1
    if gone := [name for name, had in zip(names, before, strict=True) if had and not counts[name]]:
        raise DataError(
            f"apply: no train row of {some(gone)} would be left; leave one, or take the label out of the data"
        )


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of each line and its cells by column; spreadsheets may have changed the separator."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            header = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=header.count))
            columns = next(reader, [])
            if missing := [name for name in NEEDED if name not in columns]:
                raise DataError(f"{path}: no column {missing[0]}; it has {some(columns)}, and needs {some(NEEDED)}")
            end = reader.line_num
            for row in reader:
                start, end = end + 1, reader.line_num
                if not row:
                    continue
                if len(row) != len(columns):
                    raise DataError(f"{path}:{start}: {len(row)} fields, the header has {len(columns)}; mend the line")
                yield start, dict(zip(columns, row, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}: {error}; save it as csv in UTF-8") from error


def _by_place(data: Data) -> dict[tuple[str, str], dict[str, int]]:
    """Return the row of each place in the source, by split: files of one name may stand in several folders."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for name, split in data.splits.items():
        for row in range(len(split)):
            source, number = place_in_source(split, name, row)
            found.setdefault((source, str(number)), {})[name] = row
    return found


def _row_of(
    cells: dict[str, str], known: dict[tuple[str, str], dict[str, int]], data: Data, where: str
) -> tuple[str, int]:
    """Return the row that a line names; its text and its labels must be those of the data."""
    file, number = cells["file"], cells["row"].strip()
    place = known.get((file, number)) or known.get((file.removeprefix("'"), number))
    again = "; make the csv again with labels=true"
    if place is None:
        raise DataError(f"{where}: the data set has no row {excerpt(number)} of {excerpt(file)}{again}")
    split = cells["split"] if cells.get("split") in place else next(iter(place))
    row = place[split]
    text = data.splits[split].texts[row]
    if _plain(cells["text"]) not in (_plain(text), _plain(str(harmless(text)))):
        raise DataError(f"{where}: {file}, row {number} holds another text, {excerpt(_plain(text))}{again}")
    given = _Cells(data.label_names).parts(cells["given"], several=data.task == "multi_label")
    if given != (labels := labels_of(data, split, row)):
        raise DataError(f"{where}: {file}, row {number} is labelled {_Cells(data.label_names).joined(labels)}{again}")
    return split, row


def _plain(text: str) -> str:
    """Return a text without what spreadsheets change in it: line ends and spaces."""
    return " ".join(text.split())


def _new_labels(cells: dict[str, str], data: Data, split: str, row: int, where: str) -> list[str]:
    labels = _Cells(data.label_names).parts(cells[CORRECT].strip(), several=data.task == "multi_label")
    if unknown := [name for name in labels if name not in data.label_names]:
        raise DataError(
            f"{where}: {CORRECT}: no label {excerpt(unknown[0])}, allowed: {some(data.label_names)}."
            f"{did_you_mean(unknown[0], data.label_names)}"
        )
    return labels
