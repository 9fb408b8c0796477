"""`ftclf predict`: labels and probabilities for texts of a file or of stdin."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftclf.config import DatasetConfig, PredictConfig, check
from ftclf.console import printable
from ftclf.data import load_texts
from ftclf.data.lines import check_file
from ftclf.errors import DataError, RunError
from ftclf.runs import checkpoint_of
from ftclf.spreadsheets import write_lines

if TYPE_CHECKING:
    from ftclf.checkpoint import CheckpointInfo
    from ftclf.decisions import Decision

CHUNK = 8192  # texts in memory at a time
# What json leaves as it is though it steers a terminal, or ends a line for some readers.
HIDDEN = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
OUTPUTS = (".csv", ".jsonl", ".parquet")


Columns = dict[str, list[Any]]  # a table of some rows, by the names of the output
Texts = Iterator[tuple[str, list[str]]]  # each with the cells of the columns that are kept


def predict(config: PredictConfig) -> None:
    """Write a label and its probabilities for every text, in the order of the input."""
    check(config)
    folder = checkpoint_of(Path(config.checkpoint).expanduser())
    output = Path(config.output).expanduser() if config.output else None
    if output is not None:
        _check_output(output, overwrite=config.overwrite)
    from ftclf.checkpoint import decide_by, read_info

    info = read_info(folder)
    decide_by(info, config.decide)
    texts = _read_texts(config, info)
    tables = _predictions(folder, texts, info, config)
    if output is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # json is, whatever the terminal speaks
        for table in tables:
            sys.stdout.writelines(_json_lines(table, info))
            sys.stdout.flush()
        return
    count = _write(output, tables, info)
    print(printable(f"{count} predictions in {output}"))


def _predictions(folder: Path, rows: Texts, info: CheckpointInfo, config: PredictConfig) -> Iterator[Columns]:
    """Label texts a chunk at a time: within it they are sorted by length, beyond it nothing is held."""
    from ftclf.checkpoint import load_checkpoint
    from ftclf.compute import check_compiler, scoring_compute
    from ftclf.libraries import quiet_libraries
    from ftclf.scoring import compute_logits, scoring_network
    from ftclf.tokens import tokenise

    chunk = list(islice(rows, CHUNK))  # before the network: most mistakes in the input are already in here
    if not chunk:
        yield _labelled([], np.empty((0, len(info.label_names))), info, {name: [] for name in config.keep})
        return
    quiet_libraries()
    checkpoint = load_checkpoint(folder)
    compute = scoring_compute(info.device, info.precision)
    if config.compile:
        check_compiler("compile", compute.device)
    network = scoring_network(checkpoint.network, compute, compiled=config.compile)
    while chunk:
        texts = [text for text, _ in chunk]
        tokens = tokenise(texts, checkpoint.tokenizer, info.dataset.max_length)
        logits = compute_logits(network, tokens, compute, config.batch_size, checkpoint=folder)
        kept = {name: [cells[place] for _, cells in chunk] for place, name in enumerate(config.keep)}
        yield _labelled(texts, info.calibration.probabilities(logits, info.task), info, kept)
        chunk = list(islice(rows, CHUNK))


def _labelled(texts: list[str], probabilities: NDArray[np.float64], info: CheckpointInfo, kept: Columns) -> Columns:
    from ftclf.evaluation import names_of
    from ftclf.selective import confidence

    chosen = info.decision.decide(probabilities)
    sure, names = confidence(probabilities, chosen, info.task), names_of(chosen, info.label_names)
    labels = {"labels": names} if info.task == "multi_label" else {"label": [name for (name,) in names]}
    below = info.decision.abstain_below
    abstain = {} if below is None else {"abstain": [_abstention(info.decision, one) for one in sure.tolist()]}
    rounded = dict(zip(_probability_columns(info), probabilities.round(6).T.tolist(), strict=True))
    return {**kept, "text": texts, **labels, "confidence": sure.round(6).tolist(), **abstain, **rounded}


def _abstention(decision: Decision, confident: float) -> str | None:
    """Return why a row is not to be answered, or None."""
    assert decision.abstain_below is not None
    if confident >= decision.abstain_below:
        return None
    wanted = "" if decision.wanted_precision is None else f", which {decision.wanted_precision:.0%} right answers need"
    return f"confidence {confident:.3f} is below {decision.abstain_below:.3f}{wanted}"


def _read_texts(config: PredictConfig, info: CheckpointInfo) -> Texts:
    path = None if config.input is None else Path(config.input).expanduser()
    if path is None or path.suffix.lower() == ".txt":
        if config.keep:
            raise DataError(f"keep: got {config.keep[0]}, allowed with an input that has columns, as csv or jsonl")
        return ((text, []) for text in _lines(path))
    own = ["text", "label", "labels", "confidence", "abstain", "probabilities", *_probability_columns(info)]
    if taken := [name for name in config.keep if name in own or config.keep.count(name) > 1]:
        raise DataError(f"keep: the output has a column '{taken[0]}' already; give the input's another name")
    # A user's file has a header and names its column; the data set's own layout is not asked for.
    column = config.text_column or info.dataset.text_column
    with _without_dataset_settings():
        rows = load_texts(path, DatasetConfig(name="input", text_column=column, slice_columns=list(config.keep)))
    return _rows_of_table(rows)


def _lines(path: Path | None) -> Iterator[str]:
    if path is None:
        return _texts_of_lines(sys.stdin.buffer, "stdin")
    check_file(path)
    return _text_file(path)


def _rows_of_table(rows: Texts) -> Texts:
    with _without_dataset_settings():
        yield from rows


@contextmanager
def _without_dataset_settings() -> Iterator[None]:
    """Take out of an error what only `train` has."""
    try:
        yield
    except DataError as error:
        said = str(error).replace("dataset.text_column:", "text_column:").replace("dataset.slice_columns:", "keep:")
        line = said.partition("; ")
        raise DataError(line[0] if "dataset." in line[2] else "".join(line)) from error


def _text_file(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        yield from _texts_of_lines(file, str(path))


def _texts_of_lines(stream: Any, where: str) -> Iterator[str]:
    for number, line in enumerate(stream, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: line {number} is not utf-8; save it as UTF-8") from error
        if not text.strip():
            raise DataError(f"{where}: line {number} is empty; every line is a text to label, so remove it")
        for char, name in (("\0", "NUL character"), ("\r", "carriage return")):
            if char in text:
                raise DataError(
                    f"{where}: line {number} holds a {name}; texts are UTF-8, and end with a line feed each"
                )
        yield text


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
            if info.task == "multi_label":
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
