"""`ftclf predict`: labels and probabilities for texts of a file or of stdin."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftclf.config import DatasetConfig, PredictConfig, check
from ftclf.data import load_texts
from ftclf.errors import DataError, RunError
from ftclf.runs import checkpoint_of

if TYPE_CHECKING:
    from ftclf.checkpoint import CheckpointInfo
    from ftclf.decisions import Decision

CHUNK = 8192  # texts in memory at a time
OUTPUTS = (".csv", ".jsonl", ".parquet")


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
    texts = _read_texts(config, info.dataset)
    rows = _predictions(folder, texts, info, batch_size=config.batch_size)
    if output is None:
        for row in rows:
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        return
    count = _write(output, rows, info)
    print(f"{count} predictions in {output}")


def _predictions(
    folder: Path, texts: Iterator[str], info: CheckpointInfo, *, batch_size: int
) -> Iterator[dict[str, Any]]:
    from ftclf.checkpoint import load_checkpoint
    from ftclf.compute import scoring_compute
    from ftclf.console import quiet_libraries
    from ftclf.evaluation import compute_logits, names_of
    from ftclf.selective import confidence
    from ftclf.tokens import tokenise

    quiet_libraries()
    checkpoint = load_checkpoint(folder)
    network = checkpoint.network
    compute = scoring_compute(info.device, info.precision, info.threads)
    if info.is_adapter:
        network = network.merge_and_unload()  # type: ignore[operator]
    compute.place(network)
    while chunk := list(islice(texts, CHUNK)):
        tokens = tokenise(chunk, checkpoint.tokenizer, info.dataset.max_length)
        probabilities = info.calibration.probabilities(compute_logits(network, tokens, compute, batch_size), info.task)
        chosen = info.decision.decide(probabilities)
        sure = confidence(probabilities, chosen, info.task)
        names = names_of(chosen, info.label_names)
        for text, row, labels, confident in zip(chunk, probabilities, names, sure.tolist(), strict=True):
            yield {
                "text": text,
                **({"labels": labels} if info.task == "multi_label" else {"label": labels[0]}),
                "confidence": round(confident, 6),
                **_abstention(info.decision, confident),
                "probabilities": {name: round(float(p), 6) for name, p in zip(info.label_names, row, strict=True)},
            }


def _abstention(decision: Decision, confident: float) -> dict[str, str | None]:
    """Return why a row is not to be answered, or null; nothing where the checkpoint never abstains."""
    if decision.abstain_below is None:
        return {}
    if confident >= decision.abstain_below:
        return {"abstain": None}
    wanted = "" if decision.wanted_precision is None else f", which {decision.wanted_precision:.0%} right answers need"
    return {"abstain": f"confidence {confident:.3f} is below {decision.abstain_below:.3f}{wanted}"}


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


def _write(output: Path, rows: Iterator[dict[str, Any]], info: CheckpointInfo) -> int:
    """Write beside the output and rename: a run that breaks off leaves no half file."""
    beside = output.with_name(f".{output.name}.part")
    writer = {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}[output.suffix.lower()]
    try:
        count = writer(beside, rows, info)
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)
    return count


def _columns(info: CheckpointInfo) -> dict[str, str]:
    """Return the columns of a table of predictions, each with its kind of value."""
    label = {"labels": "strings"} if info.task == "multi_label" else {"label": "string"}
    abstain = {} if info.decision.abstain_below is None else {"abstain": "string"}
    numbers = {f"p_{name}": "float" for name in info.label_names}
    return {"text": "string", **label, "confidence": "float", **abstain, **numbers}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    probabilities = row.pop("probabilities")
    return {**row, **{f"p_{name}": value for name, value in probabilities.items()}}


def _write_csv(path: Path, rows: Iterator[dict[str, Any]], info: CheckpointInfo) -> int:
    """Several labels stand in one cell as a json list: a name may hold any separator."""
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(_columns(info)))
        writer.writeheader()
        for row in rows:
            flat = _flat(row)
            if info.task == "multi_label":
                flat["labels"] = json.dumps(flat["labels"], ensure_ascii=False)
            writer.writerow(flat)
            count += 1
    return count


def _write_jsonl(path: Path, rows: Iterator[dict[str, Any]], _: CheckpointInfo) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]], info: CheckpointInfo) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"string": pa.string(), "strings": pa.list_(pa.string()), "float": pa.float64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in _columns(info).items()])
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        while chunk := [_flat(row) for row in islice(rows, CHUNK)]:
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
            count += len(chunk)
    return count
