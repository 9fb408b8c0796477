"""Read files of rows, folders of texts and label names strictly: text stays text, and a bad row is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ftclf.config import DatasetConfig
from ftclf.data.cells import checked_labels, checked_slice, checked_text, is_chosen, repeated, some
from ftclf.data.lines import check_text, lines_of
from ftclf.data.rows import Row
from ftclf.data.tables import Cells, Table, open_table
from ftclf.errors import DataError, did_you_mean


def read_rows(path: Path, config: DatasetConfig, *, labels: bool = True) -> Iterator[Row]:
    """Open a file and return its rows as they are read; without `labels` their texts and `slice_columns` alone.

    Raises DataError with file, row and column for the first thing that is not what it should be: at once for the file
    as a whole, for a row when it is reached.
    """
    table = open_table(path, config)
    wanted = [(config.text_column, "text_column")]
    if labels:
        several = [(column, "label_columns") for column in config.label_columns]
        wanted += several or [(config.label_column, "label_column")]
    wanted += [(column, "slice_columns") for column in config.slice_columns]
    for column, key in wanted:
        if column not in table.columns:
            raise DataError(
                f"dataset.{key}: no column '{column}' in {path.name}; it has {some(table.columns)}."
                + (_separated(table.columns) or did_you_mean(column, table.columns))
            )
    return _checked_rows(table, path, config, list(dict.fromkeys(column for column, _ in wanted)), labels=labels)


def _separated(columns: Sequence[str]) -> str:
    """Return a hint where the only column is a line of names with another mark between them than a comma."""
    mark = next((mark for mark in ";|" if len(columns) == 1 and mark in columns[0]), None)
    return f" Its columns are separated by '{mark}': save it with commas, or as tsv." if mark else ""


def _checked_rows(table: Table, path: Path, config: DatasetConfig, wanted: list[str], *, labels: bool) -> Iterator[Row]:
    line = None
    for line, row in table.rows(wanted):
        where = f"{path}: row {line}, column"
        text = checked_text(row[config.text_column], f"{where} '{config.text_column}'")
        cells = [checked_slice(row[column], f"{where} '{column}'") for column in config.slice_columns]
        yield Row(line, text, _row_labels(row, where, config) if labels else [], cells)
    if line is None:
        raise DataError(f"{path}: no rows; it needs a header and at least one row")


def _row_labels(row: Cells, where: str, config: DatasetConfig) -> list[str]:
    if config.label_columns:
        return [column for column in config.label_columns if is_chosen(row[column], f"{where} '{column}'")]
    return checked_labels(row[config.label_column], f"{where} '{config.label_column}'", config)


def read_folders(root: Path) -> Iterator[Row]:
    """Read `root/<label>/<file>.txt`, one text a file. Bytes that are not UTF-8 are read as Windows-1252.

    An extra space at either end and line breaks are folded: a text is one paragraph.
    """
    number = None
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(("_", ".")))
    for folder in folders:
        for number, path in enumerate(sorted(folder.glob("*.txt")), start=1):
            content = path.read_bytes()
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError:
                text = content.decode("cp1252", "replace")
            yield Row(number, checked_text(" ".join(text.split()), str(path)), [folder.name], [])
    if number is None:
        raise DataError(f"{root}: no <label>/<name>.txt files in it")


def read_names(path: Path, encoding: str) -> list[str]:
    """Read a file of label names, one a line."""
    check_text(path, encoding)
    names = [line.strip() for line in lines_of(path, encoding) if line.strip()]
    if (twice := repeated(names)) is not None:
        raise DataError(f"{path}: label '{twice}' stands in it twice; every line needs a name of its own")
    return names
