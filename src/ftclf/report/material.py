"""What a finished run's folder holds, read once; whatever an older run lacks is empty."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ftclf.data.label_sets import WIDE
from ftclf.score.confusion import Counts, as_counts, confusion
from ftclf.score.predictions import StoredPredictions, read_predictions
from ftclf.score.task import task_named
from ftclf.storage.run_folder import Run, read_history, read_json
from ftclf.system.errors import RunError
from ftclf.system.text import data_name


@dataclass
class Material:
    """One run, read."""

    run: Run
    config: dict[str, Any]
    manifest: dict[str, Any]
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    decision: dict[str, Any]
    confusion: Counts | None  # (labels, labels)
    predictions: StoredPredictions | None

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
        return task_named(self.task).several

    @property
    def data_name(self) -> str:
        """Return the name of the data for readers."""
        return data_name(self.manifest["dataset"], self.config["dataset"].get("train"))

    def place(self, row: int) -> str:
        """Return where a test row stands in its source; without one, its row in the file of predictions."""
        assert self.predictions is not None
        places = self.predictions.places
        return places[row] if places else f"predictions/test.parquet, row {row}"

    @cached_property
    def labels(self) -> list[str]:
        return [row["label"] for row in self.test["per_class"]]

    @cached_property
    def support(self) -> list[int]:
        return [row["support"] for row in self.test["per_class"]]

    @cached_property
    def label_rows(self) -> dict[str, list[int]]:
        """Return the rows per label of each split; older runs have no counts of train."""
        train = self.manifest.get("label_rows", {}).get("train", [])
        scored = {name: [row["support"] for row in self.metrics[name]["per_class"]] for name in ("validation", "test")}
        return {"train": train, **scored} if len(train) == len(self.labels) else scored


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
    info, file = run.checkpoint / "ftclf.json", run.predictions / "test.parquet"
    predictions = read_predictions(file, labels, texts=True) if file.is_file() else None
    return Material(
        run=run,
        config=read_json(run.config),
        manifest=read_json(run.manifest),
        metrics=metrics,
        history=read_history(run.history),
        decision=read_json(info)["decision"] if info.is_file() else {},
        confusion=_read_confusion(run.plots / "confusion_test.csv", len(labels), predictions),
        predictions=predictions,
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


def _read_confusion(path: Path, labels: int, predictions: StoredPredictions | None) -> Counts | None:
    """Read the matrix, or count it from the predictions of many labels."""
    if labels > WIDE:
        return confusion(predictions.chosen, predictions.targets) if predictions else None
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return as_counts(np.array([row[1:] for row in rows], dtype=np.int64).reshape(labels, labels))
