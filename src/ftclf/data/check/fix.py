"""A clean copy of a data set: its rows with all columns, without those that a check found, and a csv of the changes.

Test rows and their labels are copied as they are.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ftclf.config import DatasetConfig
from ftclf.config.did_you_mean import pasteable
from ftclf.data import Data
from ftclf.data.cells import excerpt, label_name, some
from ftclf.data.check.finding import Finding, labels_of
from ftclf.data.check.raw_rows import Raw, SourceRows
from ftclf.data.label_lists import PLAIN, Layout, as_bit, find_layout, parse_list
from ftclf.data.row_files import Cells
from ftclf.data.sources import label_file_names
from ftclf.storage.csv_safety import write_lines
from ftclf.storage.durable import whole_folder
from ftclf.storage.new_folder import refuse_used
from ftclf.system.errors import DataError

CHANGES, LABELS = "changes.csv", "labels.txt"
UNNAMED = "files"  # the name of `dataset=files`
HEADER = ("change", "split", "file", "row", "text", "label", "new_label", "why")
# Settings that the copy needs too, where they are not the usual ones.
KEPT: tuple[str, ...] = (
    "text_column",
    "label_column",
    "label_delimiter",
    "label_columns",
    "slice_columns",
    "group_column",
)
KEPT += ("label_groups", "task", "protocol", "first_label_id", "max_length", "default_epochs")
OF_FILES = ("label_delimiter", "label_columns", "label_groups", "first_label_id")  # of no use where labels are names

Dropped = dict[str, dict[int, str]]  # by split and row: why
Relabelled = dict[str, dict[int, tuple[list[str], str]]]  # by split and row: the new labels, and why


def dropped_rows(data: Data, findings: Iterable[Finding]) -> Dropped:
    """Return the rows that findings drop, each with the first reason. Raises DataError where too few are left."""
    dropped: Dropped = {split: {} for split in data.splits}
    for finding in findings:
        for split, rows in finding.rows.items() if finding.drop else ():
            if split == "test":  # no finding may ask for it
                continue
            for row in rows.tolist():
                if row not in dropped[split]:
                    dropped[split][row] = finding.why(split, row) if finding.why else finding.title
    for split, rows_of_split in dropped.items():
        _refuse_nothing_left(data, split, rows_of_split)
    return dropped


def _refuse_nothing_left(data: Data, split: str, dropped: dict[int, str]) -> None:
    rows = data.splits[split]
    kept = np.setdiff1d(np.arange(len(rows)), np.fromiter(dropped, np.int64, len(dropped)))
    if not len(kept):
        raise DataError(f"fix: no row of {split} would be left; give another {split} file")
    if split == "train":
        counts = rows.take(kept).rows_per_label(len(data.label_names))
        if absent := [data.label_names[label] for label in np.flatnonzero(counts == 0)]:
            raise DataError(
                f"fix: no train row of {some(absent)} would be left: all of them stand in validation or test too; "
                "add rows of it, or take it out"
            )


def write_fixed(data: Data, raw: Raw, dropped: Dropped, relabelled: Relabelled, folder: Path) -> str:
    """Write a file per split, the changes, and the label names where there is a list; return the command that trains.

    Raises DataError for a new label of test, and ResourceError where the disk does not take it.
    """
    if dropped.get("test") or relabelled.get("test"):
        raise DataError("fix: test rows and their labels are never changed; leave them out of the file of labels")
    folder = folder.absolute()
    refuse_used("fix", folder)
    command = command_of(data, raw, folder)
    with whole_folder(folder) as beside:
        for split, rows in raw.splits.items():
            changed = _changed(data, raw, rows, dropped.get(split, {}), relabelled.get(split, {}))
            _write(beside / f"{split}.{rows.ending}", rows, changed, raw.config, relabels=bool(relabelled.get(split)))
        with (beside / CHANGES).open("w", encoding="utf-8", newline="") as file:
            write_lines(file, [HEADER, *_changes(data, dropped, relabelled)])
        if raw.of_files and raw.config.label_file:
            (beside / LABELS).write_text("\n".join(label_file_names(raw.config) or []) + "\n", encoding="utf-8")
    return command


def _changed(
    data: Data, raw: Raw, rows: SourceRows, dropped: dict[int, str], relabelled: dict[int, tuple[list[str], str]]
) -> Iterator[Cells]:
    """Yield the cells of the rows that stay, with their new labels."""
    layout = _layout(rows, raw.config) if relabelled and not raw.config.label_columns else PLAIN
    for row, cells in enumerate(rows.rows()):
        if row in dropped:
            continue
        if row in relabelled:
            cells = {**cells, **_label_cells(cells, relabelled[row][0], data, raw, layout)}
        yield cells


def _layout(rows: SourceRows, config: DatasetConfig) -> Layout:
    return find_layout((cells[config.label_column] for cells in rows.rows()), config.label_delimiter)


def _label_cells(cells: Cells, names: list[str], data: Data, raw: Raw, layout: Layout) -> Cells:
    """Return the cells that say that a row has these labels, written as the row writes its old ones."""
    config, column = raw.config, raw.config.label_column
    if config.label_columns:
        group_of = {member: group for group, members in (config.label_groups or {}).items() for member in members}
        had = {name: bool(as_bit(cells[name])) for name in config.label_columns}
        kept = {name for name in config.label_columns if had[name] and group_of.get(name) in names}
        if new_groups := [one for one in names if one in group_of.values() and one not in map(group_of.get, kept)]:
            raise DataError(
                f"fix: '{new_groups[0]}' is a group of dataset.label_groups, and no column; correct the file by hand"
            )
        return {name: type(cells[name])(int(name in names or name in kept)) for name in config.label_columns}
    old = cells[column]
    values = old if isinstance(old, list) else parse_list(old) if isinstance(old, str) else None
    if values is not None and not config.label_delimiter:
        bit = bool if any(isinstance(value, bool) for value in values) else int
        new: list[Any] = [bit(name in names) for name in data.label_names] if layout.places else list(names)
        return {column: new if isinstance(old, list) else json.dumps(new, ensure_ascii=False)}
    if len(names) > 1 and not config.label_delimiter:
        raise DataError(f"fix: {some(names)} are several labels in a cell of '{column}'; set dataset.label_delimiter")
    return {column: (config.label_delimiter or "").join(names)}


def _changes(data: Data, dropped: Dropped, relabelled: Relabelled) -> Iterator[list[Any]]:
    """Yield a line for each row that went or has new labels."""
    for split, rows in data.splits.items():
        gone, renamed = dropped.get(split, {}), relabelled.get(split, {})
        for row in sorted({*gone, *renamed}):
            new, why = renamed.get(row, ([], ""))
            change = "dropped" if row in gone else "relabelled"
            shown_new = "" if row in gone else "|".join(new)
            labels = "|".join(labels_of(data, split, row))
            yield [change, split, *_place(data, split, row), rows.texts[row], labels, shown_new, gone.get(row, why)]


def _place(data: Data, split: str, row: int) -> tuple[str, int]:
    """Return the file of a row, and its number in that."""
    places = data.splits[split].places
    if places is None:
        return split, row + 1
    return (places.files[row] if places.files is not None else places.source), int(places.numbers[row])


# ---- files


def _write(path: Path, rows: SourceRows, cells: Iterator[Cells], config: DatasetConfig, *, relabels: bool) -> None:
    match rows.ending:
        case "csv":
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
                writer.writerow(rows.columns)
                writer.writerows([row[column] for column in rows.columns] for row in cells)
        case "jsonl":
            with path.open("w", encoding="utf-8") as file:
                for row in cells:
                    filled = {column: cell for column, cell in row.items() if cell is not None}
                    line = json.dumps(filled, ensure_ascii=False)
                    # Half of a character has no form in UTF-8, but json has one for it.
                    file.write((json.dumps(filled) if re.search("[\ud800-\udfff]", line) else line) + "\n")
        case _:
            _write_parquet(path, rows, cells, config, relabels=relabels and not config.label_columns)


def _write_parquet(
    path: Path, rows: SourceRows, cells: Iterator[Cells], config: DatasetConfig, *, relabels: bool
) -> None:
    """Write rows by the schema of their file; with new labels, ids and truth values become their names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = rows.schema.remove_metadata()
    column, place = config.label_column, schema.get_field_index(config.label_column)
    if as_text := relabels and not _layout(rows, config).places and not _holds_text(schema.field(place).type):
        is_list = hasattr(schema.field(place).type, "value_field")
        schema = schema.set(place, pa.field(column, pa.list_(pa.string()) if is_list else pa.string()))
    with pq.ParquetWriter(path, schema) as writer:
        while some_rows := tuple(islice(cells, 10_000)):
            if as_text:
                some_rows = tuple({**row, column: _as_text(row[column])} for row in some_rows)
            writer.write_table(pa.Table.from_pylist(list(some_rows), schema=schema))


def _holds_text(kind: Any) -> bool:
    """Return whether a column of this type, or the lists in it, hold text: also large ones, and categories."""
    import pyarrow as pa

    while (inner := getattr(kind, "value_type", None)) is not None:
        kind = inner
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _as_text(cell: Any) -> Any:
    return cell if cell is None else list(map(label_name, cell)) if isinstance(cell, list) else label_name(cell)


# ---- the command


def command_of(data: Data, raw: Raw, folder: Path) -> str:
    """Return the command line that trains on a clean copy."""
    usual = DatasetConfig()
    # Files without a name of their own are named by their paths.
    settings: dict[str, Any] = {} if data.name == UNNAMED else {"name": f"{data.name}_fixed"}
    settings |= {split: str(folder / f"{split}.{rows.ending}") for split, rows in raw.splits.items()}
    if raw.of_files and raw.config.label_file:
        settings["label_file"] = str(folder / LABELS)
    for name in KEPT:
        value = getattr(raw.config, name)
        if value != getattr(usual, name) and (raw.of_files or name not in OF_FILES):
            settings[name] = value
    words = (_quoted(f"dataset.{name}={_hydra(value)}") for name, value in settings.items())
    return " ".join(["ftclf train dataset=files", *words])


def _quoted(word: str) -> str:
    """Return a word for the shell, in double quotes where it holds single ones and nothing that these leave alive."""
    return f'"{word}"' if "'" in word and not re.search(r'["$`\\!]', word) else pasteable(word)


def _hydra(value: Any) -> str:
    """Return a value as Hydra reads it."""
    match value:
        case list():
            return f"[{','.join(map(_hydra, value))}]"
        case dict():
            return "{" + ",".join(f"{_group_name(key)}:{_hydra(item)}" for key, item in value.items()) + "}"
        case str():
            plain = value.replace("/", "").replace("-", "").replace(".", "").replace("_", "")
            if plain.isalnum() and not plain[0].isdigit():
                return value
            return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        case _:
            return str(value)


def _group_name(name: str) -> str:
    """Return the name of a group of labels as Hydra reads it: quotes are not allowed there, and few signs are."""
    if not re.fullmatch(r"[A-Za-z_()\[\]{}][\w /.+%*@?|()\[\]{}:=,-]*(?<! )", name, re.ASCII):
        raise DataError(
            f"fix: dataset.label_groups: {excerpt(name)} cannot stand in a command line; name the group otherwise"
        )
    return re.sub(r"([ ()\[\]{}:=,])", r"\\\1", name)
