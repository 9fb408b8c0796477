"""Files of rows with named columns: csv, tsv, json, jsonl and parquet, walked strictly and without holding them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ftclf.config import DatasetConfig
from ftclf.data.cells import kind, repeated, some
from ftclf.data.foreign_formats import by_ending, by_magic, of_a_tool
from ftclf.data.text_file import check_file, check_text, lines_of, whole_text
from ftclf.system.errors import DataError

FORMATS = ("csv", "tsv", "json", "jsonl", "parquet")
OTHER_ENDINGS = {"ndjson": "jsonl", "jsonlines": "jsonl", "tab": "tsv", "pq": "parquet"}
csv.field_size_limit(2**31 - 1)

Cells = dict[str, Any]  # of one row, by column


@dataclass
class Table:
    """A file's columns and a way to walk some of them, from the start at each call.

    Rows are numbered by lines where the file has lines. `separator` is that of a text file's fields.
    """

    columns: Sequence[str]
    rows: Callable[[list[str]], Iterator[tuple[int, Cells]]]
    separator: str = ""


def open_table(path: Path, config: DatasetConfig) -> Table:
    """Open a file; raises DataError for what is wrong with it as a whole, and while its rows are walked."""
    check_file(path)
    ending = file_format(path)
    if ending not in ("csv", "tsv") and (config.columns or config.separator):
        name = "columns" if config.columns else "separator"
        raise DataError(f"dataset.{name}: it is for csv and tsv, and {path.name} is {ending}; leave it out")
    match ending:
        case "csv":
            return _separated(path, config, config.separator or ",")
        case "tsv":
            return _separated(path, config, config.separator or "\t")
        case "json":
            return _json(path, config)
        case "jsonl":
            return _json_lines(path, config)
        case _:
            return _parquet(path)


def file_format(path: Path) -> str:
    """Return the format that a file's ending stands for. Raises DataError with the way out for any other."""
    ending = path.suffix.lower().lstrip(".")
    ending = OTHER_ENDINGS.get(ending, ending)
    if ending not in FORMATS:
        way_out = by_ending(path) if path.is_file() else ""
        raise DataError(
            f"{path}: cannot tell its format from '{path.suffix}', allowed: .{', .'.join(FORMATS)}"
            + (f"; {way_out}" if way_out else "")
        )
    return ending


# ---- csv and tsv


def _separated(path: Path, config: DatasetConfig, separator: str) -> Table:
    check_text(path, config.encoding)
    if what := by_magic(path):  # some of them are text: HTML and XML
        raise DataError(f"{path}: it is {what}")
    separator = "\t" if separator == r"\t" else separator
    read = _quoted if config.quoting else _unquoted
    if not config.columns and (advice := of_a_tool(*islice(chain(lines_of(path, config.encoding), [""]), 2))):
        raise DataError(f"{path}: {advice}")
    columns = config.columns or [column.strip() for column in next(read(path, config.encoding, separator))[1]]
    if (twice := repeated(columns)) is not None:
        where = "dataset.columns:" if config.columns else f"{path}: line 1"
        if not twice:
            raise DataError(f"{where} has empty names; delete the empty columns, or give each a name")
        raise DataError(f"{where} names the column '{twice}' twice; every column needs a name of its own")

    def rows(wanted: list[str]) -> Iterator[tuple[int, Cells]]:
        records = read(path, config.encoding, separator)
        if not config.columns:
            next(records)
        for line, cells in records:
            if len(cells) != len(columns):
                raise DataError(
                    f"{path}: line {line} has {len(cells)} fields, the header has {len(columns)} ({some(columns)}); "
                    "put quotes around a field that holds the separator"
                )
            if cells == config.columns:
                raise DataError(
                    f"{path}: line {line} is a header; leave dataset.columns out, they are for files without"
                )
            yield line, dict(zip(columns, cells, strict=True))

    return Table(columns, rows, separator)


def _quoted(path: Path, encoding: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines_of(path, encoding, newline=""), delimiter=separator, strict=True)
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{path}: line {line}: {error}; double a quote inside a quoted field (a backslash before it is not "
                "enough), or add dataset.quoting=false"
            ) from error
        if cells is None:
            return
        if cells:
            yield line, cells
        line = reader.line_num + 1


def _unquoted(path: Path, encoding: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines_of(path, encoding), start=1):
        stripped = line.removesuffix("\n").removesuffix("\r")
        if "\r" in stripped:
            raise DataError(f"{path}: line {number} holds a carriage return; end every line with a line feed")
        if stripped:
            yield number, stripped.split(separator)


# ---- json and jsonl


class _Repeated(dict[str, Any]):
    """An object that names a field twice: which of the two counts, nobody can tell."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Repeated(pairs)


def _parsed(content: str, path: Path, line: int | None, hint: str) -> Any:
    """Parse a whole file, or one line of it."""
    where = f"{path}: line {line}" if line else f"{path}"
    try:
        return json.loads(content, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {line or error.lineno}: not valid json ({error.msg}); {hint}") from error
    except ValueError as error:
        raise DataError(f"{where}: a number with too many digits; put quotes around it") from error
    except RecursionError as error:
        raise DataError(f"{where}: lists or objects in one another, too deep to read; leave them out") from error


def parsed_line(line: str) -> Any:
    """Parse one line of json; None where it is none, or names a field twice."""
    try:
        value = json.loads(line, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None
    return None if isinstance(value, _Repeated) else value


def _json(path: Path, config: DatasetConfig) -> Table:
    content = _parsed(whole_text(path, config.encoding), path, None, "for one object a line name it .jsonl")
    if not isinstance(content, list) or not content:
        raise DataError(f"{path}: got {kind(content)}, allowed: a list of objects, one a row")
    return _objects(path, lambda: enumerate(content, start=1), "item")


def _json_lines(path: Path, config: DatasetConfig) -> Table:
    check_text(path, config.encoding)

    def rows() -> Iterator[tuple[int, Any]]:
        for number, line in enumerate(lines_of(path, config.encoding), start=1):
            if line.strip():
                yield number, _parsed(line, path, number, "one object a line")

    return _objects(path, rows, "line")


def _objects(path: Path, rows: Callable[[], Iterable[tuple[int, Any]]], unit: str) -> Table:
    """Walk all objects for the names of their fields, and again for the rows."""
    columns: dict[str, None] = {}
    for number, row in rows():
        if not isinstance(row, dict):
            raise DataError(f"{path}: {unit} {number} is {kind(row)}, allowed: an object with named fields")
        if isinstance(row, _Repeated):
            raise DataError(f"{path}: {unit} {number} names a field twice; every field needs a name of its own")
        columns.update(dict.fromkeys(row))

    def chosen(wanted: list[str]) -> Iterator[tuple[int, Cells]]:
        return ((number, {column: row.get(column) for column in wanted}) for number, row in rows())

    return Table(list(columns), chosen)


# ---- parquet


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def refused(error: Exception, where: str = "") -> DataError:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        return DataError(f"{path}: not a readable parquet file{where} ({reason})")

    # The last two are raised for values that Python has no place for.
    errors = (pa.ArrowException, OSError, ValueError, OverflowError)
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except errors as error:
        raise refused(error) from error
    columns = list(file.schema_arrow.names)
    if (twice := repeated(columns)) is not None:
        raise DataError(f"{path}: it names the column '{twice}' twice; every column needs a name of its own")

    def rows(wanted: list[str]) -> Iterator[tuple[int, Cells]]:
        number = 0
        try:
            for batch in file.iter_batches(batch_size=10_000, columns=wanted):
                batch.validate(full=True)  # that texts are UTF-8, and nothing points out of the file
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except errors as error:
            raise refused(error, f" behind row {number}") from error

    return Table(columns, rows)
