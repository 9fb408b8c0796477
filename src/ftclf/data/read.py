"""Read csv, tsv, json, jsonl, parquet and folders of texts strictly: text stays text, and a bad row is named."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftclf.config import DatasetConfig
from ftclf.data.rows import RawRows
from ftclf.errors import DataError, did_you_mean

FORMATS = ("csv", "tsv", "json", "jsonl", "parquet")
csv.field_size_limit(2**31 - 1)


@dataclass
class Table:
    """A file's columns and a way to walk its rows; line numbers count from 1 as an editor does."""

    columns: list[str]
    rows: Iterator[tuple[int, dict[str, Any]]]


def read_rows(path: Path, config: DatasetConfig, *, labels: bool = True) -> RawRows:
    """Read one file into texts and label cells.

    Raises DataError with file, row and column for the first thing that is not what it should be.
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
    found = RawRows(str(path), [], [], [], {column: [] for column in config.slice_columns if labels})
    for line, row in table.rows:
        found.texts.append(_text(row[config.text_column], path, line, config.text_column))
        if labels:
            found.labels.append(_row_labels(row, path, line, config))
            for column, cells in found.columns.items():
                cells.append("" if row[column] is None else str(row[column]))
        found.lines.append(line)
    if not found.texts:
        raise DataError(f"{path}: no rows; it needs a header and at least one row")
    return found


def read_folders(root: Path) -> RawRows:
    """Read `root/<label>/<file>.txt`, one text a file. Bytes that are not UTF-8 are read as Windows-1252.

    An extra space at either end and line breaks are folded: a text is one paragraph.
    """
    found = RawRows(str(root), [], [], [])
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(("_", ".")))
    for folder in folders:
        for number, path in enumerate(sorted(folder.glob("*.txt")), start=1):
            content = path.read_bytes()
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError:
                text = content.decode("cp1252", "replace")
            found.texts.append(" ".join(text.split()))
            found.labels.append([folder.name])
            found.lines.append(number)
    if not found.texts:
        raise DataError(f"{root}: no <label>/<name>.txt files in it")
    return found


def read_names(path: Path, encoding: str) -> list[str]:
    """Read a file of label names, one a line."""
    names = [line.strip() for line in _decode(path, encoding).splitlines() if line.strip()]
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


def _decode(path: Path, encoding: str) -> str:
    content = path.read_bytes()
    if not content.strip():
        raise DataError(f"{path}: the file is empty")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and encoding == "utf-8":
        raise DataError(f"{path}: it is UTF-16, not UTF-8; add dataset.encoding=utf-16, or save it as UTF-8")
    try:
        text = content.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except LookupError as error:
        raise DataError(
            f"dataset.encoding: got '{encoding}', allowed: a codec of Python, as utf-8 or cp1252"
        ) from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: line {line} is not {encoding} (byte 0x{content[error.start]:02x}); "
            "save the file as UTF-8, or name its encoding, as in dataset.encoding=cp1252"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}: line {line} holds a NUL character; the file is binary or damaged")
    return text


def _read_separated(path: Path, config: DatasetConfig, separator: str) -> Table:
    text = _decode(path, config.encoding)
    records = _quoted(path, text, separator) if config.quoting else _unquoted(text, separator)
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


def _quoted(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    import io

    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
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


def _unquoted(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.removesuffix("\r")
        if stripped:
            yield number, stripped.split(separator)


def _read_json(path: Path, config: DatasetConfig) -> Table:
    try:
        content = json.loads(_decode(path, config.encoding))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: line {error.lineno}: not valid json ({error.msg}); for one object a line name it .jsonl"
        ) from error
    if not isinstance(content, list) or not content:
        raise DataError(f"{path}: got {_kind(content)}, allowed: a list of objects, one a row")
    return _objects(path, list(enumerate(content, start=1)), "item")


def _read_json_lines(path: Path, config: DatasetConfig) -> Table:
    rows: list[tuple[int, Any]] = []
    for number, line in enumerate(_decode(path, config.encoding).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append((number, json.loads(line)))
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: line {number}: not valid json ({error.msg}); one object a line") from error
    return _objects(path, rows, "line")


def _objects(path: Path, rows: list[tuple[int, Any]], unit: str) -> Table:
    columns: dict[str, None] = {}
    for number, row in rows:
        if not isinstance(row, dict):
            raise DataError(f"{path}: {unit} {number} is {_kind(row)}, allowed: an object with named fields")
        columns.update(dict.fromkeys(row))

    def filled() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, row in rows:
            yield number, {column: row.get(column) for column in columns}

    return Table(list(columns), filled())


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]})") from error

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        number = 0
        for batch in table.to_batches(max_chunksize=10_000):
            for row in batch.to_pylist():
                number += 1
                yield number, row

    return Table(list(table.column_names), rows())


def _text(value: Any, path: Path, line: int, column: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{path}: row {line}, column '{column}': got {_kind(value)}, allowed: text")
    if not value.strip():
        raise DataError(f"{path}: row {line}, column '{column}': the text is empty; remove the row or fill it")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise DataError(f"{path}: row {line}, column '{column}': half a character (a lone surrogate); mend the text")
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
