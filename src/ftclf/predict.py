"""`ftclf predict`: labels and probabilities for texts of a file or of stdin."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ftclf.config import DatasetConfig, PredictConfig, check
from ftclf.data import load_texts
from ftclf.errors import DataError, RunError
from ftclf.runs import checkpoint_of

CHUNK = 8192  # texts in memory at a time
OUTPUTS = (".csv", ".jsonl", ".parquet")


def predict(config: PredictConfig) -> None:
    """Write a label and its probabilities for every text, in the order of the input."""
    check(config)
    folder = checkpoint_of(Path(config.checkpoint).expanduser())
    output = Path(config.output).expanduser() if config.output else None
    if output is not None:
        _check_output(output, overwrite=config.overwrite)
    from ftclf.checkpoint import read_info

    info = read_info(folder)
    texts = _read_texts(config, info.dataset)
    rows = _predictions(folder, texts, config.batch_size)
    if output is None:
        for row in rows:
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        return
    count = _write(output, rows, info.label_names, info.task)
    print(f"{count} predictions in {output}")


def _predictions(folder: Path, texts: Iterator[str], batch_size: int) -> Iterator[dict[str, Any]]:
    from ftclf.checkpoint import load_checkpoint
    from ftclf.compute import scoring_compute
    from ftclf.console import quiet_libraries
    from ftclf.evaluation import compute_logits, names_of, to_probabilities
    from ftclf.tokens import tokenise

    quiet_libraries()
    checkpoint = load_checkpoint(folder)
    info, network = checkpoint.info, checkpoint.network
    compute = scoring_compute(info.device, info.precision, info.threads)
    if info.is_adapter:
        network = network.merge_and_unload()  # type: ignore[operator]
    network.to(compute.device)
    while chunk := list(islice(texts, CHUNK)):
        tokens = tokenise(chunk, checkpoint.tokenizer, info.dataset.max_length)
        probabilities = to_probabilities(compute_logits(network, tokens, compute, batch_size), info.task)
        chosen = info.decision.decide(probabilities)
        for text, row, labels in zip(chunk, probabilities, names_of(chosen, info.label_names), strict=True):
            yield {
                "text": text,
                **({"labels": labels} if info.task == "multi_label" else {"label": labels[0]}),
                "confidence": round(float(row.max()), 6),
                "probabilities": {name: round(float(p), 6) for name, p in zip(info.label_names, row, strict=True)},
            }


def _read_texts(config: PredictConfig, dataset: DatasetConfig) -> Iterator[str]:
    if config.input is None:
        return _texts_of_lines(sys.stdin.buffer, "stdin")
    path = Path(config.input).expanduser()
    if path.suffix.lower() == ".txt":
        if not path.is_file():
            raise DataError(f"input: no file {path}")
        return _text_file(path)
    # A user's file has a header and names its column; the data set's own layout is not asked for.
    layout = DatasetConfig(name="input", text_column=config.text_column or dataset.text_column)
    try:
        return iter(load_texts(path, layout))
    except DataError as error:
        line = str(error).replace("dataset.text_column:", "text_column:").partition("; ")
        raise DataError(line[0] if "dataset." in line[2] else "".join(line)) from error


def _text_file(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        yield from _texts_of_lines(file, str(path))


def _texts_of_lines(stream: Any, where: str) -> Iterator[str]:
    for number, line in enumerate(stream, start=1):
        try:
            text = line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: line {number} is not utf-8; save it as UTF-8") from error
        if not text.strip():
            raise DataError(f"{where}: line {number} is empty; every line is a text to label")
        yield text


def _check_output(output: Path, *, overwrite: bool) -> None:
    if output.suffix.lower() not in OUTPUTS:
        raise DataError(f"output: cannot tell the format from '{output.suffix}', allowed: {', '.join(OUTPUTS)}")
    if output.exists() and not overwrite:
        raise RunError(f"output: {output} exists; choose another name or add overwrite=true")
    if not output.parent.is_dir():
        raise RunError(f"output: no folder {output.parent}; make it first")


def _write(output: Path, rows: Iterator[dict[str, Any]], label_names: list[str], task: str) -> int:
    """Write beside the output and rename: a run that breaks off leaves no half file."""
    beside = output.with_name(f".{output.name}.part")
    writer = {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}[output.suffix.lower()]
    try:
        count = writer(beside, rows, label_names, task)
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)
    return count


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    probabilities = row.pop("probabilities")
    return {**row, **{f"p_{name}": value for name, value in probabilities.items()}}


def _write_csv(path: Path, rows: Iterator[dict[str, Any]], label_names: list[str], task: str) -> int:
    """Several labels stand in one cell as a json list: a name may hold any separator."""
    count, column = 0, "labels" if task == "multi_label" else "label"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["text", column, "confidence", *(f"p_{name}" for name in label_names)])
        writer.writeheader()
        for row in rows:
            flat = _flat(row)
            if task == "multi_label":
                flat["labels"] = json.dumps(flat["labels"], ensure_ascii=False)
            writer.writerow(flat)
            count += 1
    return count


def _write_jsonl(path: Path, rows: Iterator[dict[str, Any]], _: list[str], __: str) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]], label_names: list[str], task: str) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    label = ("labels", pa.list_(pa.string())) if task == "multi_label" else ("label", pa.string())
    columns = [("text", pa.string()), label, ("confidence", pa.float64())]
    schema = pa.schema([*columns, *((f"p_{name}", pa.float64()) for name in label_names)])
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        while chunk := [_flat(row) for row in islice(rows, CHUNK)]:
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
            count += len(chunk)
    return count
