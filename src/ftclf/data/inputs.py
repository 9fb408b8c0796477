"""Texts to label, of a file, a stream or the command line: read by the rules that the checkpoint was trained by."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import UnsupportedOperation
from pathlib import Path
from typing import Any

from ftclf.config import DatasetConfig, PredictConfig
from ftclf.data import fitted_layout, load_texts
from ftclf.data.cells import checked_text
from ftclf.data.streams import LineSource, TextRow, read_stream
from ftclf.data.text_file import check_file
from ftclf.system.console import warn
from ftclf.system.errors import DataError

LAYOUT = ("text_column", "columns", "separator", "quoting", "encoding")


@dataclass
class Input:
    """Rows in their order, as they come, and whether the next one can be had without waiting for its sender."""

    rows: Iterator[TextRow]
    ready: Callable[[], bool] = lambda: True


def read_input(config: PredictConfig, trained: DatasetConfig) -> Input:
    """Open the texts of a command. Settings that it does not give are those that the checkpoint was trained with.

    Raises DataError for what is wrong with the input as a whole, and for a row when it is reached.
    """
    if config.texts and config.input is not None:
        raise DataError(f"input: got {config.input} and texts as well; name one of the two")
    given = {name: getattr(config, name) for name in LAYOUT if getattr(config, name) not in (None, [])}
    kept = {name: getattr(trained, name) for name in LAYOUT}
    layout = DatasetConfig(name="input", slice_columns=list(config.keep), **{**kept, **given})
    if config.texts:
        _refuse_columns(config.keep, "texts of the command line have")
        return Input((checked_text(text, f"texts: text {n}"), []) for n, text in enumerate(config.texts, start=1))
    with _as_of_predict():
        return _of_stdin(layout) if config.input is None else _of_file(Path(config.input).expanduser(), layout, given)


def _of_file(path: Path, layout: DatasetConfig, given: dict[str, Any]) -> Input:
    if path.suffix.lower() == ".txt":
        _refuse_columns(layout.slice_columns, f"{path} has lines and")
        check_file(path)
        encoding = fitted_layout(path, layout, given).encoding
        plain = DatasetConfig(name="input", text_column="", encoding=encoding)
        return Input(_renamed(read_stream(_lines_of(path), str(path), plain)[1]))
    return Input(_renamed(load_texts(path, fitted_layout(path, layout, given))))


def _of_stdin(layout: DatasetConfig) -> Input:
    if sys.stdin is None or sys.stdin.closed:
        raise DataError("input: stdin is closed; name a file by input=FILE, or send texts through a pipe")
    if sys.stdin.isatty():
        print("type texts, one per line; Ctrl-D at the start of a line ends them", file=sys.stderr, flush=True)
    try:
        source = LineSource(sys.stdin.fileno())
        lines, ready = iter(source), source.ready
    except (UnsupportedOperation, AttributeError):  # it was put in the place of a stream of the system's
        lines, ready = (line.removesuffix(b"\n") for line in sys.stdin.buffer), lambda: True
    kind, rows = read_stream(lines, "stdin", layout)
    if kind != "lines":
        warn(f"stdin begins as {kind} does: the texts are those of its column '{layout.text_column}'")
    return Input(_renamed(rows), ready)


def _lines_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            yield line.removesuffix(b"\n")


def _refuse_columns(keep: list[str], what: str) -> None:
    if keep:
        raise DataError(f"keep: got {keep[0]}, but {what} no columns; send csv, tsv, jsonl or parquet")


def _renamed(rows: Iterator[TextRow]) -> Iterator[TextRow]:
    with _as_of_predict():
        yield from rows


@contextmanager
def _as_of_predict() -> Iterator[None]:
    """Call settings in an error as `predict` does, and leave out advice that only `train` can follow."""
    try:
        yield
    except DataError as error:
        said = str(error).replace("dataset.slice_columns:", "keep:")
        said = re.sub(rf"\bdataset\.({'|'.join(LAYOUT)})\b", r"\1", said)
        line, advice = said.partition("; ")[::2]
        kept = [part for part in re.split(r",? or |, and ", advice) if "dataset." not in part]
        raise DataError(said if "dataset." not in advice else "; ".join([line, *kept[:1]])) from error
