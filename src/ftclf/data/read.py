"""Read csv, tsv, json, jsonl, parquet and folders of texts strictly: text stays text, and a bad row is named."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftclf.config import DatasetConfig
from ftclf.data.lines import check_text, lines_of, whole_text
from ftclf.data.rows import Row
from ftclf.errors import DataError, did_you_mean

FORMATS = ("csv", "tsv", "json", "jsonl", "parquet")
csv.field_size_limit(2**31 - 1)


@dataclass
class Table:
    """A file's columns and a way to walk its rows; line numbers count from 1 as an editor does."""

    columns: list[str]
    rows: Iterator[tuple[int, dict[str, Any]]]


def read_rows(path: Path, config: DatasetConfig, *, labels: bool = True) -> Iterator[Row]:
    """Open a file and return its rows as they are read; without `labels` nothing but their texts.

    Raises DataError with file, row and column for the first thing that is not what it should be: at once for the file
    as a whole, for a row when it is reached.
    """
    table = _open(path, config)
    wanted = [(config.text_column, "text_column")]
    if labels:
        several = [(column, "label_columns") for column in config.label_columns]
        wanted += several or [(config.label_column, "label_column")]
        wanted += [(column, "slice_columns") for column in config.slice_columns]
    for column, key in wanted:
        if column not in table.columns:
            raise DataError(
                f"dataset.{key}: no column '{column}' in {path.name}; it has {', '.join(table.columns)}."
                + did_you_mean(column, table.columns)
            )
    return _checked_rows(table, path, config, labels)


def _checked_rows(table: Table, path: Path, config: DatasetConfig, labels: bool) -> Iterator[Row]:
    line = None
    for line, row in table.rows:
        text = _text(row[config.text_column], path, line, config.text_column)
        if labels:
            cells = ["" if row[column] is None else str(row[column]) for column in config.slice_columns]
            yield Row(line, text, _row_labels(row, path, line, config), cells)
        else:
            yield Row(line, text, [], [])
    if line is None:
        raise DataError(f"{path}: no rows; it needs a header and at least one row")


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
            yield Row(number, " ".join(text.split()), [folder.name], [])
    if number is None:
        raise DataError(f"{root}: no <label>/<name>.txt files in it")


def read_names(path: Path, encoding: str) -> list[str]:
    """Read a file of label names, one a line."""
    names = [line.strip() for line in whole_text(path, encoding).splitlines() if line.strip()]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: label '{twice}' stands in it twice; every line needs a name of its own")
    return names


def file_format(path: Path) -> str:
    """Return the format that a file's ending stands for."""
    ending = path.suffix.lower().lstrip(".")
    if ending not in FORMATS:
        raise DataError(f"{path}: cannot tell its format from '{path.suffix}', allowed: .{', .'.join(FORMATS)}")
    return ending


def _open(path: Path, config: DatasetConfig) -> Table:
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        near = did_you_mean(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise DataError(f"{path}: {what}.{near}")
    match file_format(path):
        case "csv":
            return _read_separated(path, config, ",")
        case "tsv":
            return _read_separated(path, config, "\t")
        case "json":
            return _read_json(path, config)
        case "jsonl":
            return _read_json_lines(path, config)
        case _:
            return _read_parquet(path)


def _read_separated(path: Path, config: DatasetConfig, separator: str) -> Table:
    check_text(path, config.encoding)
    read = _quoted if config.quoting else _unquoted
    records = read(path, config.encoding, separator)
    columns = config.columns
    if not columns:
        _, columns = next(records, (0, []))
        columns = [column.strip() for column in columns]
    if len(set(columns)) < len(columns):
        twice = next(column for column in columns if columns.count(column) > 1)
        raise DataError(f"{path}: line 1 names the column '{twice}' twice; every column needs a name of its own")

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        for line, cells in records:
            if len(cells) != len(columns):
                raise DataError(
                    f"{path}: line {line} has {len(cells)} fields, the header has {len(columns)} "
                    f"({', '.join(columns)}); put quotes around a field that holds the separator"
                )
            yield line, dict(zip(columns, cells, strict=True))

    return Table(columns, rows())


def _quoted(path: Path, encoding: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines_of(path, encoding, newline=""), delimiter=separator, strict=True)
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{path}: line {line}: {error}; double a quote inside a quoted field, or add dataset.quoting=false"
            ) from error
        if cells is None:
            return
        if cells:
            yield line, cells
        line = reader.line_num + 1


def _unquoted(path: Path, encoding: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines_of(path, encoding), start=1):
        stripped = line.removesuffix("\n").removesuffix("\r")
        if stripped:
            yield number, stripped.split(separator)


def _read_json(path: Path, config: DatasetConfig) -> Table:
    try:
        content = json.loads(whole_text(path, config.encoding))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: line {error.lineno}: not valid json ({error.msg}); for one object a line name it .jsonl"
        ) from error
    if not isinstance(content, list) or not content:
        raise DataError(f"{path}: got {_kind(content)}, allowed: a list of objects, one a row")
    return _objects(path, lambda: enumerate(content, start=1), "item")


def _read_json_lines(path: Path, config: DatasetConfig) -> Table:
    check_text(path, config.encoding)

    def rows() -> Iterator[tuple[int, Any]]:
        for number, line in enumerate(lines_of(path, config.encoding), start=1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}: line {number}: not valid json ({error.msg}); one object a line") from error

    return _objects(path, rows, "line")


def _objects(path: Path, rows: Callable[[], Iterable[tuple[int, Any]]], unit: str) -> Table:
    """Walk all objects for the names of their fields, and again for the rows."""
    columns: dict[str, None] = {}
    for number, row in rows():
        if not isinstance(row, dict):
            raise DataError(f"{path}: {unit} {number} is {_kind(row)}, allowed: an object with named fields")
        columns.update(dict.fromkeys(row))
    return Table(list(columns), ((number, {column: row.get(column) for column in columns}) for number, row in rows()))


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def refused(error: Exception) -> DataError:
        return DataError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]})")

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise refused(error) from error

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        number = 0
        try:
            for batch in file.iter_batches(batch_size=10_000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except (pa.ArrowException, OSError) as error:
            raise refused(error) from error

    return Table(list(file.schema_arrow.names), rows())


def _text(value: Any, path: Path, line: int, column: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{path}: row {line}, column '{column}': got {_kind(value)}, allowed: text")
    if not value.strip():
        raise DataError(f"{path}: row {line}, column '{column}': the text is empty; remove the row or fill it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}: row {line}, column '{column}': half a character (a lone surrogate); mend the text"
        ) from error
    return value


def _row_labels(row: dict[str, Any], path: Path, line: int, config: DatasetConfig) -> list[str]:
    if not config.label_columns:
        return _labels(row[config.label_column], path, line, config)
    chosen = []
    for column in config.label_columns:
        cell = row[column].strip().lower() if isinstance(row[column], str) else row[column]
        if cell in ("1", "true", 1, True):
            chosen.append(column)
        elif cell not in ("0", "false", 0, False):
            raise DataError(f"{path}: row {line}, column '{column}': got '{row[column]}', allowed: 0 or 1")
    return chosen


def _labels(value: Any, path: Path, line: int, config: DatasetConfig) -> list[str]:
    where = f"{path}: row {line}, column '{config.label_column}'"
    values = value if isinstance(value, list) else [value]
    names: list[str] = []
    for one in values:
        if isinstance(one, bool) or not isinstance(one, str | int):
            if not isinstance(one, bool):
                raise DataError(f"{where}: got {_kind(one)}, allowed: text or a whole number as the label")
            one = "true" if one else "false"
        pieces = str(one).split(config.label_delimiter) if config.label_delimiter else [str(one)]
        names += [piece.strip() for piece in pieces]
    if config.task == "multi_label" and not any(names):
        return []
    if not names or not all(names):
        raise DataError(f"{where}: the label is empty; remove the row or fill it")
    return names


def _kind(value: Any) -> str:
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return f"a truth value ({value})"
        case int() | float():
            return f"a number ({value})"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"a {type(value).__name__}"
