"""What a finished run's folder holds, read once; whatever an older run lacks is empty."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.comparison import truth_values
from ftclf.errors import RunError
from ftclf.runs import Run, read_history, read_json

COLUMN = "column_"


@dataclass
class Predictions:
    """The test rows with what the classifier gave them; the arrays have the shape (rows, labels)."""

    texts: list[str]
    targets: NDArray[np.bool_]
    chosen: NDArray[np.bool_]
    probabilities: NDArray[np.float64]
    columns: dict[str, list[str | None]]  # the data's own, for slices

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether a row got exactly its labels, (rows,)."""
        return (self.targets == self.chosen).all(axis=1)  # type: ignore[no-any-return]


@dataclass
class Material:
    """One run, read."""

    run: Run
    config: dict[str, Any]
    manifest: dict[str, Any]
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    decision: dict[str, Any]
    confusion: NDArray[np.int64] | None  # (labels, labels)
    predictions: Predictions | None

    @property
    def name(self) -> str:
        """Return the run's folder as people tell it from others: with the one around it."""
        folder = self.run.folder.resolve()
        return f"{folder.parent.name}/{folder.name}"

    @property
    def test(self) -> dict[str, Any]:
        return self.metrics["test"]  # type: ignore[no-any-return]

    @property
    def task(self) -> str:
        return str(self.manifest["task"])

    @property
    def several(self) -> bool:
        """Whether a row may have several labels."""
        return self.task == "multi_label"

    @property
    def labels(self) -> list[str]:
        return [row["label"] for row in self.test["per_class"]]

    @property
    def support(self) -> list[int]:
        return [row["support"] for row in self.test["per_class"]]


def read_material(run: Run) -> Material:
    """Read a finished run. Raises RunError where its files are not what a run writes."""
    try:
        return _read_finished(run)
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        why = " ".join(str(error).split())[:100]
        raise RunError(f"{run.folder}: its files are damaged or of another version ({why})") from error


def _read_finished(run: Run) -> Material:
    metrics = read_json(run.metrics)
    labels = [row["label"] for row in metrics["test"]["per_class"]]
    info = run.checkpoint / "ftclf.json"
    return Material(
        run=run,
        config=read_json(run.config),
        manifest=read_json(run.manifest),
        metrics=metrics,
        history=read_history(run.history),
        decision=read_json(info)["decision"] if info.is_file() else {},
        confusion=_read_confusion(run.plots / "confusion_test.csv", len(labels)),
        predictions=_read_predictions(run.predictions / "test.parquet", labels),
    )


def read_unfinished(run: Run) -> Material:
    """Read a run that ended before it was scored: settings and history."""
    return Material(
        run=run,
        config=read_json(run.config),
        manifest=read_json(run.manifest),
        metrics={},
        history=read_history(run.history),
        decision={},
        confusion=None,
        predictions=None,
    )


def _read_confusion(path: Path, labels: int) -> NDArray[np.int64] | None:
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return np.array([row[1:] for row in rows], dtype=np.int64).reshape(labels, labels)


def _read_predictions(path: Path, labels: list[str]) -> Predictions | None:
    if not path.is_file():
        return None
    import pyarrow.parquet as pq

    # One thread: the file is small, and a run that trains beside this one keeps its cores.
    table = pq.read_table(path, use_threads=False)
    truth = table["labels" if "labels" in table.column_names else "label"].to_pylist()
    return Predictions(
        texts=table["text"].to_pylist(),
        targets=truth_values(truth, labels),
        chosen=truth_values(table["predicted"].to_pylist(), labels),
        probabilities=np.column_stack([table[f"p_{label}"].to_numpy() for label in labels]),
        columns={
            name.removeprefix(COLUMN): table[name].to_pylist() for name in table.column_names if name.startswith(COLUMN)
        },
    )
