"""The rows of a data set as their source has them, with all columns: what a clean copy is written from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftclf.config import DatasetConfig
from ftclf.data import Data
from ftclf.data.check.finding import labels_of
from ftclf.data.row_files import Cells, file_format, open_table
from ftclf.data.sources import choose_source, local_folder


@dataclass
class SourceRows:
    """One split: `rows` yields the cells of each of its rows, in the order of the split."""

    columns: list[str]
    ending: str  # csv, jsonl or parquet
    rows: Callable[[], Iterator[Cells]]
    schema: Any = None  # of a parquet file


@dataclass
class Raw:
    """All splits, and the settings that a copy of them is read by, apart from its files."""

    config: DatasetConfig
    splits: dict[str, SourceRows]
    of_files: bool  # else text and labels are those of the data, by name


def raw_rows(data: Data, config: DatasetConfig) -> Raw:
    """Open the source of a data set again; rows of a hub, a package or a folder of texts are text and label alone."""
    source = choose_source(config)
    if source in ("files", "local"):
        folder = local_folder(config) if source == "local" else Path()
        paths = {split: folder / (getattr(config, split) or str(config.train)) for split in data.splits}
        if not any(path.is_dir() for path in paths.values()):
            return Raw(config, {split: _of_file(data, split, path, config) for split, path in paths.items()}, True)
    return Raw(config, {split: _of_data(data, split, config) for split in data.splits}, False)


def _of_file(data: Data, split: str, path: Path, config: DatasetConfig) -> SourceRows:
    table = open_table(path, config)
    columns, places = list(table.columns), data.splits[split].places
    assert places is not None
    numbers = places.numbers

    def rows() -> Iterator[Cells]:
        wanted = iter(numbers.tolist())
        number = next(wanted, None)
        for line, cells in table.rows(columns):
            if line == number:
                yield cells
                number = next(wanted, None)

    ending = {"tsv": "csv", "json": "jsonl"}.get(file_format(path), file_format(path))
    return SourceRows(columns, ending, rows, _schema(path) if ending == "parquet" else None)


def _schema(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.read_schema(path)


def _of_data(data: Data, split: str, config: DatasetConfig) -> SourceRows:
    several, rows_of_split = data.task == "multi_label", data.splits[split]
    extra = dict(rows_of_split.columns)
    if config.group_column and rows_of_split.groups is not None:
        extra[config.group_column] = rows_of_split.groups

    def rows() -> Iterator[Cells]:
        for row, (text, *cells) in enumerate(zip(rows_of_split.texts, *extra.values(), strict=True)):
            names = labels_of(data, split, row)
            label = names if several else names[0]
            yield {config.text_column: text, config.label_column: label, **dict(zip(extra, cells, strict=True))}

    columns = list(dict.fromkeys([config.text_column, config.label_column, *extra]))
    return SourceRows(columns, "jsonl" if several else "csv", rows)
