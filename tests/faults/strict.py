"""A reader of its own, to compare ftclf's with: whole files in memory, the standard library and pyarrow, no frills.

It follows docs/data.md and shares no code with what it checks. Returns [(text, label), ...], or raises RefusedError.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


class RefusedError(Exception):
    """The file, or a row of it, is not what the documentation asks for."""


def read(path: Path) -> list[tuple[str, str]]:
    """Read the columns `text` and `label` of a file."""
    kind = path.suffix[1:]
    try:
        rows = _parquet(path) if kind == "parquet" else PARSERS[kind](_decoded(path.read_bytes()))
    except (ValueError, RecursionError, csv.Error, pa.ArrowException, OSError) as error:
        raise RefusedError(str(error)) from error
    found = [(_text(row.get("text")), _label(row.get("label"))) for row in rows]
    return found or _refuse("no rows")


def _refuse(why: str) -> Any:
    raise RefusedError(why)


def _decoded(content: bytes) -> str:
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"))
    text = _refuse("another encoding") if marked else content.decode("utf-8-sig")
    if "\0" in text or text.startswith("\ufeff") or not text.strip():
        _refuse("NUL, two marks, or nothing")
    return text


def _separated(text: str, separator: str) -> list[dict[str, Any]]:
    csv.field_size_limit(2**31 - 1)
    records = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True) if row]
    header = [name.strip() for name in records[0]]
    if len(set(header)) < len(header) or not {"text", "label"} <= set(header):
        _refuse("header")
    if any(len(row) != len(header) for row in records):
        _refuse("ragged")
    return [dict(zip(header, row, strict=True)) for row in records[1:]]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {**dict(pairs), **({} if len({name for name, _ in pairs}) == len(pairs) else {"\0twice": True})}


def _checked(rows: Any) -> list[dict[str, Any]]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "\0twice" not in row for row in rows):
        _refuse("not objects with fields of different names")
    return list(rows)


def _json(text: str) -> list[dict[str, Any]]:
    return _checked(json.loads(text, object_pairs_hook=_object))


def _json_lines(text: str) -> list[dict[str, Any]]:
    return _checked([json.loads(line, object_pairs_hook=_object) for line in text.split("\n") if line.strip()])


def _parquet(path: Path) -> list[dict[str, Any]]:
    table = pq.ParquetFile(path).read(columns=["text", "label"])
    table.validate(full=True)
    return table.to_pylist() if table.column_names.count("text") == 1 else _refuse("columns")


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value.strip() and _whole(value) else _refuse("text")


def _label(value: Any) -> str:
    if isinstance(value, list):  # one label a row is what these files are for, or the first
        names = [_label(one) for one in value]
        return names[0] if names else _refuse("label")
    name = str(value).lower() if isinstance(value, bool) else str(value).strip()
    return name if isinstance(value, str | int) and name and _whole(name) else _refuse("label")


def _whole(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


PARSERS = {
    "csv": lambda text: _separated(text, ","),
    "tsv": lambda text: _separated(text, "\t"),
    "json": _json,
    "jsonl": _json_lines,
}
