"""Read files of rows, folders of texts and label names strictly: text stays text, and a bad row is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftclf.config import DatasetConfig
from ftclf.config.did_you_mean import did_you_mean
from ftclf.data.cells import checked_labels, checked_slice, checked_text, is_chosen, repeated, some
from ftclf.data.dataset import Row
from ftclf.data.foreign_formats import guessed_columns, header_like_a_row, separated_otherwise
from ftclf.data.label_lists import PLAIN, Layout, find_layout
from ftclf.data.places import readable
from ftclf.data.row_files import Cells, Table, open_table
from ftclf.data.text_file import check_file, check_text, lines_of, whole_text
from ftclf.system.errors import DataError


def read_rows(
    path: Path,
    config: DatasetConfig,
    *,
    labels: bool = True,
    names: list[str] | None = None,
    notes: list[str] | None = None,
) -> Iterator[Row]:
    """Open a file and return its rows as they are read; without `labels` their texts and `slice_columns` alone.

    `names` are the labels of vectors of 0 and 1, place by place; `notes` gets what a user should know of the file.
    Raises DataError with file, row and column for the first thing that is not what it should be: at once for the file
    as a whole, for a row when it is reached; for empty texts and labels when all of them are counted.
    """
    table = open_table(path, config)
    wanted = [(config.text_column, "text_column")]
    if labels:
        several = [(column, "label_columns") for column in config.label_columns]
        wanted += several or [(config.label_column, "label_column")]
    wanted += [(column, "slice_columns") for column in config.slice_columns]
    keys = ("group_column", "time_column") if labels else ()
    wanted += [(column, key) for key in keys if (column := getattr(config, key)) is not None]
    for column, key in wanted:
        if column not in table.columns:
            raise _no_column(column, key, path, table)
    layout = PLAIN
    if labels and not config.label_columns:
        cells = (row[config.label_column] for _, row in table.rows([config.label_column]))
        layout = find_layout(cells, config.label_delimiter)
    read = _Reading(path, config, layout, names, [] if notes is None else notes)
    return read.rows(table, list(dict.fromkeys(column for column, _ in wanted)), labels=labels)


def _no_column(column: str, key: str, path: Path, table: Table) -> DataError:
    """Return the error of a missing column, with the way out where the file has other separators or no header."""
    start = f"dataset.{key}: no column '{column}' in {path.name}"
    if table.separator and (advice := separated_otherwise(table.columns, table.separator)):
        return DataError(f"{start}; {advice}")
    if table.separator and key in ("text_column", "label_column") and header_like_a_row(table.columns):
        return DataError(
            f"{start}: its first line is a row ({some(table.columns)}), so it has no header; name its "
            f"{len(table.columns)} columns, as in 'dataset.columns={guessed_columns(table.columns)}'"
        )
    return DataError(f"{start}; it has {some(table.columns)}.{did_you_mean(column, table.columns)}")


@dataclass
class _Reading:
    """The reading of one file, and what was left out of it."""

    path: Path
    config: DatasetConfig
    layout: Layout
    names: list[str] | None
    notes: list[str]
    empty: list[tuple[int, str]] = field(default_factory=list)  # row and column

    def rows(self, table: Table, wanted: list[str], *, labels: bool) -> Iterator[Row]:
        config, line, count = self.config, None, 0
        for line, row in table.rows(wanted):
            if column := self._empty_column(row, labels=labels):
                self.empty.append((line, column))
                continue
            where, count = f"{self.path}: row {line}, column", count + 1
            text = checked_text(row[config.text_column], f"{where} '{config.text_column}'")
            extra = config.extra_columns if labels else config.slice_columns
            cells = [checked_slice(row[column], f"{where} '{column}'") for column in extra]
            yield Row(line, text, self._labels(row, where) if labels else [], cells)
        if line is None:
            raise DataError(f"{self.path}: no rows; it needs a header and at least one row")
        self._settle_empty(count)
        if self.layout.places or self.layout.as_text:
            how = f"vectors of {self.layout.places} places" if self.layout.places else "lists written as text"
            self.notes.append(f"column '{config.label_column}' of {self.path.name} is read as {how}")

    def _labels(self, row: Cells, where: str) -> list[str]:
        config = self.config
        if config.label_columns:
            return [column for column in config.label_columns if is_chosen(row[column], f"{where} '{column}'")]
        cell, where = row[config.label_column], f"{where} '{config.label_column}'"
        return checked_labels(cell, where, config, layout=self.layout, places=self.names)

    def _empty_column(self, row: Cells, *, labels: bool) -> str:
        """Return the column of a text or label that is not there; a row with no labels is one, where it may be."""
        if _is_empty(row[self.config.text_column]):
            return self.config.text_column
        column = self.config.label_column
        if not labels or self.config.label_columns or not _is_empty(row[column]):
            return ""
        return column if row[column] is None or self.config.task == "single_label" else ""

    def _settle_empty(self, rows: int) -> None:
        """Raise DataError with the count of all rows that are empty, or note how many were left out."""
        if not self.empty:
            return
        (line, column), others = self.empty[0], [str(line) for line, _ in self.empty[1:]]
        what = "text" if column == self.config.text_column else "label"
        if not self.config.drop_empty or not rows:
            more = f", as in {len(others)} more row{'s' * (len(others) > 1)} ({some(others)})" if others else ""
            raise DataError(
                f"{self.path}: row {line}, column '{column}': the {what} is empty{more}; "
                "fill or remove what is empty, or add dataset.drop_empty=true"
            )
        self.notes.append(f"{len(self.empty)} rows of {self.path.name} without a text or label are left out")


def _is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def read_folders(root: Path) -> Iterator[Row]:
    """Read a package's `root/<label>/<file>.txt`, one text per file; bytes that are not UTF-8 are Windows-1252.

    Spaces at either end and line breaks are folded: a text is one paragraph.
    """
    for number, path in enumerate(_texts_below(root, "*.txt"), start=1):
        content = path.read_bytes()
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = content.decode("cp1252", "replace")
        text = checked_text(" ".join(text.split()), str(path))
        yield Row(number, text, [path.parent.name], [], _below(path))


def read_label_folders(root: Path, config: DatasetConfig, notes: list[str]) -> Iterator[Row]:
    """Read a user's folder with a folder per label and a file per text, in the encoding of the settings.

    Raises DataError for a file that is no text, and for empty ones when all of them are counted.
    """
    empty: list[str] = []
    for number, path in enumerate(_texts_below(root, "*"), start=1):
        check_file(path)
        if path.stat().st_size and (text := whole_text(path, config.encoding, allow_empty=True)).strip():
            yield Row(number, checked_text(text, str(path)), [path.parent.name], [], _below(path))
        else:
            empty.append(f"{path.parent.name}/{path.name}")
    if empty and not config.drop_empty:
        raise DataError(
            f"{root}: {len(empty)} files are empty ({some(empty)}); remove them, or add dataset.drop_empty=true"
        )
    if empty:
        notes.append(f"{len(empty)} files of {root.name} without a text are left out")


def _below(path: Path) -> str:
    """Return a text's file below the folder of its data set."""
    return readable(f"{path.parent.name}/{path.name}")


def _texts_below(root: Path, pattern: str) -> Iterator[Path]:
    """Yield `root/<label>/<file>`, sorted. Raises DataError where there is none."""
    hidden = ("_", ".")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(hidden))
    files = [
        path
        for folder in folders
        for path in sorted(folder.glob(pattern))
        if not path.is_dir() and not path.name.startswith(".")
    ]
    if not files:
        below = [f"{folder.name}/{child.name}" for folder in folders for child in sorted(folder.iterdir())[:1]]
        hint = f" Name the folder of one split, as in dataset.train={root / folders[0].name}" if below else ""
        raise DataError(f"{root}: no text files in it, allowed: a folder per label with a file per text.{hint}")
    return iter(files)


NUMBERED = re.compile(r"[0-9]+\s*[\t,;:=]\s*\S.*")  # no space alone: `1 star` is a name


def read_names(path: Path, encoding: str) -> list[str]:
    """Read a file of label names, one per line. Raises DataError for a file of another layout."""
    check_text(path, encoding)
    lines = [line.strip() for line in lines_of(path, encoding)]
    names = [line for line in lines if line]
    numbered = all(map(NUMBERED.fullmatch, names[1:] or names))  # line 1 may be a header
    is_json = names[0][0] in "[{" and names[-1][-1] in "]}"
    if other := names[1:2] or names if numbered or is_json else [name for name in names if "\t" in name]:
        raise DataError(
            f"{path}: got '{other[0][:40]}', allowed: one label name per line and nothing else; its id is the number "
            "of its line, counted from dataset.first_label_id"
        )
    if (twice := repeated(names)) is not None:
        raise DataError(f"{path}: label '{twice}' stands in it twice; every line needs a name of its own")
    return names
