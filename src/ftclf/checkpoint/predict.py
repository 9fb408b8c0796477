"""`ftclf predict`: labels and probabilities for texts of a file or of stdin."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftclf.checkpoint.predictor import Predictions, chunk_size, labelled, open_model
from ftclf.config import PredictConfig, check
from ftclf.data.inputs import Input, read_input
from ftclf.data.streams import TextRow
from ftclf.score.task import task_named
from ftclf.storage.csv_safety import write_lines
from ftclf.storage.run_folder import checkpoint_of
from ftclf.system.console import printable
from ftclf.system.errors import DataError, RunError
from ftclf.system.text import counted

if TYPE_CHECKING:
    from ftclf.checkpoint.format import CheckpointInfo

# What json leaves as it is though it steers a terminal, or ends a line for some readers.
HIDDEN = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
OUTPUTS = (".csv", ".jsonl", ".parquet")


Columns = dict[str, list[Any]]  # a table of some rows, by the names of the output


def predict(config: PredictConfig) -> None:
    """Write a label and its probabilities for every text, in the order of the input."""
    check(config)
    folder = checkpoint_of(Path(config.checkpoint).expanduser())
    output = Path(config.output).expanduser() if config.output else None
    if output is None and getattr(sys.stdout, "name", "") == os.devnull:  # what __main__ opens for none
        raise RunError("output: stdout is closed; name a file by output=FILE")
    if output is not None:
        _check_output(output, overwrite=config.overwrite)
    from ftclf.checkpoint.format import decide_by, read_info

    info = read_info(folder)
    decide_by(info, config.decide)
    _refuse_taken(config.keep, info)
    texts = read_input(config, info.dataset)
    tables = _predictions(folder, texts, info, config)
    if output is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # json is, whatever the terminal speaks
        for table in tables:
            sys.stdout.writelines(_json_lines(table, info))
            sys.stdout.flush()
        return
    count = _write(output, tables, info)
    print(printable(f"{counted(count, 'prediction')} in {output}"))


def _predictions(folder: Path, texts_in: Input, info: CheckpointInfo, config: PredictConfig) -> Iterator[Columns]:
    """Label texts a chunk at a time: within it they are sorted by length, beyond it nothing is held."""
    most = chunk_size(len(info.label_names))
    chunk = _next_rows(texts_in, most)  # before the network: most mistakes in the input are already in here
    if not chunk:
        none = labelled([], np.empty((0, len(info.label_names))), info)
        yield _columns(none, info, {name: [] for name in config.keep})
        return
    model = open_model(folder, info, compiled=config.compile, engine=config.engine)
    while chunk:
        texts = [text for text, _ in chunk]
        kept = {name: [cells[place] for _, cells in chunk] for place, name in enumerate(config.keep)}
        yield _columns(model.label(texts, model.probabilities(texts, config.batch_size)), info, kept)
        chunk = _next_rows(texts_in, most)


def _next_rows(texts_in: Input, most: int) -> list[TextRow]:
    """Return the next rows: as many as are there, so that a sender who waits for an answer gets it; none at the end."""
    chunk = []
    for row in texts_in.rows:
        chunk.append(row)
        if len(chunk) == most or not texts_in.ready():
            break
    return chunk


def _refuse_taken(keep: list[str], info: CheckpointInfo) -> None:
    """Raise DataError for a kept column that has the name of one of the output's."""
    own = ["text", "label", "labels", "confidence", "abstain", "probabilities", *_probability_columns(info)]
    if taken := [name for name in keep if name in own or keep.count(name) > 1]:
        raise DataError(f"keep: the output has a column '{taken[0]}' already; give the input's another name")


def _columns(predictions: Predictions, info: CheckpointInfo, kept: Columns) -> Columns:
    """Return the table of some predictions, after the columns of the input that are kept."""
    names = predictions.labels
    labels = {"labels": names} if task_named(info.task).several else {"label": [name for (name,) in names]}
    abstain = {"abstain": predictions.abstain} if predictions.settled else {}
    sure = predictions.confidence.tolist()
    rounded = dict(zip(_probability_columns(info), predictions.probabilities.T.tolist(), strict=True))
    return {**kept, "text": predictions.texts, **labels, "confidence": sure, **abstain, **rounded}


def _check_output(output: Path, *, overwrite: bool) -> None:
    if output.suffix.lower() not in OUTPUTS:
        raise DataError(f"output: cannot tell the format from '{output.suffix}', allowed: {', '.join(OUTPUTS)}")
    if output.exists() and not overwrite:
        raise RunError(f"output: {output} exists; choose another name or add overwrite=true")
    if not output.parent.is_dir():
        raise RunError(f"output: no folder {output.parent}; make it first")


def _write(output: Path, tables: Iterator[Columns], info: CheckpointInfo) -> int:
    """Write beside the output and rename: a run that breaks off leaves no half file."""
    beside = output.with_name(f".{output.name}.part")
    writer = {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}[output.suffix.lower()]
    try:
        count = writer(beside, tables, info)
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)
    return count


def _probability_columns(info: CheckpointInfo) -> list[str]:
    return [f"p_{name}" for name in info.label_names]


def _json_lines(table: Columns, info: CheckpointInfo) -> Iterator[str]:
    """Return a row a line; its probabilities are an object of their own."""
    probabilities = zip(*(table[column] for column in _probability_columns(info)), strict=True)
    others = [column for column in table if column not in _probability_columns(info)]
    for cells, row in zip(zip(*(table[column] for column in others), strict=True), probabilities, strict=True):
        fields = dict(zip(others, cells, strict=True))
        fields["probabilities"] = dict(zip(info.label_names, row, strict=True))
        yield (
            HIDDEN.sub(lambda char: f"\\u{ord(char[0]):04x}", json.dumps(fields, ensure_ascii=False, allow_nan=False))
            + "\n"
        )


def _write_csv(path: Path, tables: Iterator[Columns], info: CheckpointInfo) -> int:
    """Several labels stand in one cell as a json list: a name may hold any separator."""
    first, count = next(tables), 0
    with path.open("w", newline="", encoding="utf-8") as file:
        write_lines(file, [first])
        for table in chain([first], tables):
            if task_named(info.task).several:
                table["labels"] = [json.dumps(names, ensure_ascii=False) for names in table["labels"]]
            write_lines(file, zip(*table.values(), strict=True))
            count += len(table["text"])
    return count


def _write_jsonl(path: Path, tables: Iterator[Columns], info: CheckpointInfo) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for table in tables:
            file.writelines(_json_lines(table, info))
            count += len(table["text"])
    return count


def _write_parquet(path: Path, tables: Iterator[Columns], info: CheckpointInfo) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"labels": pa.list_(pa.string()), "confidence": pa.float64()}
    kinds |= dict.fromkeys(_probability_columns(info), pa.float64())
    first, count = next(tables), 0
    schema = pa.schema([(column, kinds.get(column, pa.string())) for column in first])
    with pq.ParquetWriter(path, schema) as writer:
        for table in chain([first], tables):
            writer.write_table(pa.Table.from_pydict(table, schema=schema))
            count += len(table["text"])
    return count
