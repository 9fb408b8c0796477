"""Texts that come through a pipe or a terminal: as lines, as json lines or as csv, each as soon as it is there."""

from __future__ import annotations

import csv
import os
import select
import time
from collections.abc import Iterator
from itertools import chain
from typing import Any

from ftclf.config import DatasetConfig
from ftclf.data.cells import checked_slice, checked_text, repeated, some
from ftclf.data.row_files import parsed_line
from ftclf.system.errors import DataError

TextRow = tuple[str, list[str]]  # a text, and the cells of the columns that are kept
BLOCK = 2**16  # bytes that are read at a time
GATHER = 0.05  # seconds to wait for more lines before those that are there are answered


class LineSource:
    """Lines of bytes from a descriptor, without their line feed, and whether the next one is there already."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.lines: list[bytes] = []  # whole ones, the next one last
        self.begun = b""
        self.ended = False

    def __iter__(self) -> Iterator[bytes]:
        while self._fill(None):
            yield self.lines.pop()

    def ready(self) -> bool:
        """Return whether a line can be had within `GATHER` seconds."""
        return self._fill(time.monotonic() + GATHER)

    def _fill(self, until: float | None) -> bool:
        """Read until there is a whole line; give up at a time of the monotonic clock, or only at the end."""
        while not self.lines and not self.ended:
            left = None if until is None else max(0.0, until - time.monotonic())
            if left is not None and not select.select([self.descriptor], [], [], left)[0]:
                return False
            block = os.read(self.descriptor, BLOCK)
            *whole, self.begun = (self.begun + block).split(b"\n")
            self.lines = whole[::-1]
            if not block:
                self.ended = True
                self.lines, self.begun = ([self.begun] if self.begun else []), b""
        return bool(self.lines)


def read_stream(lines: Iterator[bytes], where: str, config: DatasetConfig) -> tuple[str, Iterator[TextRow]]:
    """Return what the first line tells the stream to be, lines, jsonl, csv or tsv, and its rows as they come.

    Json lines begin with an object that has the column of the text; csv and tsv begin with a header that names it.
    Raises DataError with the number of the line for what is not what it should be.
    """
    texts = _texts_of(lines, where, config.encoding)
    first = next(texts, None)
    if first is None:
        return "lines", iter(())
    kind = _kind_of(first[1], config)
    rows = chain([first], texts)
    if kind == "jsonl":
        return kind, _json_rows(rows, where, config)
    if kind in ("csv", "tsv"):
        separator = {"csv": ",", "tsv": "\t"}[kind] if config.separator in (None, r"\t") else config.separator
        return kind, _table_rows(rows, where, config, str(separator))
    if config.slice_columns:
        raise DataError(
            f"keep: {where} has lines and no columns; begin it with a header that names '{config.text_column}', or "
            "send json lines"
        )
    return kind, _plain_rows(rows, where)


def _kind_of(line: str, config: DatasetConfig) -> str:
    if line.lstrip().startswith("{"):
        fields = parsed_line(line)
        return "jsonl" if isinstance(fields, dict) and config.text_column in fields else "lines"
    for separator, kind in ((config.separator, "csv"), (",", "csv"), ("\t", "tsv")):
        fields = line.split(separator) if separator else []
        if len(fields) > 1 and config.text_column in [field.strip().strip('"') for field in fields]:
            return kind
    return "csv" if line.strip().strip('"') == config.text_column else "lines"


def _texts_of(lines: Iterator[bytes], where: str, encoding: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 and encoding == "utf-8" else encoding).removesuffix("\r")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{where}: line {number} is not {encoding}; save it as UTF-8, or name its encoding, as in "
                "encoding=cp1252"
            ) from error
        for char, name in (("\0", "NUL character"), ("\r", "carriage return")):
            if char in text:
                raise DataError(f"{where}: line {number} holds a {name}; end each line with a line feed alone")
        yield number, text


def _plain_rows(lines: Iterator[tuple[int, str]], where: str) -> Iterator[TextRow]:
    for number, text in lines:
        if not text.strip():
            raise DataError(f"{where}: line {number} is empty; every line is a text to label, so remove it")
        yield text, []


def _json_rows(lines: Iterator[tuple[int, str]], where: str, config: DatasetConfig) -> Iterator[TextRow]:
    for number, line in lines:
        if not line.strip():
            continue
        fields = parsed_line(line)
        if number == 1 and (missing := [name for name in config.slice_columns if name not in fields]):
            raise DataError(f"keep: no field '{missing[0]}' in {where}; it has {some(list(fields))}")
        if not isinstance(fields, dict) or config.text_column not in fields:
            raise DataError(
                f"{where}: line {number} is no object with the field '{config.text_column}', as line 1 is; send one "
                "object per line"
            )
        yield _row(fields, f"{where}: line {number}", config)


def _table_rows(
    lines: Iterator[tuple[int, str]], where: str, config: DatasetConfig, separator: str
) -> Iterator[TextRow]:
    reader = csv.reader((f"{line}\n" for _, line in lines), delimiter=separator, strict=True)
    columns: list[str] = []
    number = 0
    try:
        for cells in reader:
            number, before = reader.line_num, number + 1
            if not cells:
                continue
            if not columns:
                columns = _header(cells, where, config)
                continue
            if len(cells) != len(columns):
                raise DataError(
                    f"{where}: line {before} has {len(cells)} fields, the header has {len(columns)} ({some(columns)})"
                )
            yield _row(dict(zip(columns, cells, strict=True)), f"{where}: line {before}", config)
    except csv.Error as error:
        raise DataError(f"{where}: line {number + 1}: {error}; double a quote inside a quoted field") from error


def _header(cells: list[str], where: str, config: DatasetConfig) -> list[str]:
    columns = [cell.strip() for cell in cells]
    if (twice := repeated(columns)) is not None:
        raise DataError(f"{where}: line 1 names the column '{twice}' twice; every column needs a name of its own")
    if missing := [name for name in config.slice_columns if name not in columns]:
        raise DataError(f"keep: no column '{missing[0]}' in {where}; it has {some(columns)}")
    return columns


def _row(fields: dict[str, Any], where: str, config: DatasetConfig) -> TextRow:
    text = checked_text(fields[config.text_column], f"{where}, column '{config.text_column}'")
    return text, [checked_slice(fields.get(name), f"{where}, column '{name}'") for name in config.slice_columns]
