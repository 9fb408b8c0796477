"""Files of an evaluation: predictions, confusion counts, scores per label, and the picture of the confusions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ftclf.data import Split
from ftclf.data.label_sets import WIDE
from ftclf.score.confusion import Counts
from ftclf.score.evaluation import Evaluation
from ftclf.score.predictions import write_predictions
from ftclf.storage.csv_safety import write_lines

RATES = ("f1", "precision", "recall", "average_precision", "auroc")


def write_evaluation(
    evaluation: Evaluation, split: Split, label_names: list[str], name: str, *, predictions: Path, plots: Path
) -> None:
    """Write a split's predictions (parquet), its labels and its confusion matrix (csv) and the plot of it (png)."""
    from ftclf.report.plots import plot_confusion

    predictions.mkdir(parents=True, exist_ok=True)
    plots.mkdir(parents=True, exist_ok=True)
    write_predictions(predictions / f"{name}.parquet", evaluation, split, label_names)
    _write_csv(plots / f"confusion_{name}.csv", confusion_lines(evaluation.counts, label_names))
    _write_csv(plots / f"classes_{name}.csv", class_lines(evaluation.metrics["per_class"]))
    plot_confusion(plots / f"confusion_{name}.png", evaluation.counts, label_names, title=name)


def confusion_lines(counts: Counts, label_names: list[str]) -> Iterator[list[Any]]:
    """Yield the matrix, a column per label; of more than WIDE labels a line for each count that is not 0."""
    if len(label_names) > WIDE:
        yield ["true", "predicted", "count"]
        listed = counts.tocoo()
        for row, column, count in zip(*(values.tolist() for values in (*listed.coords, listed.data)), strict=True):
            yield [label_names[row], label_names[column], count]
        return
    yield ["true \\ predicted", *label_names]
    for name, row in zip(label_names, counts.toarray().tolist(), strict=True):
        yield [name, *row]


def class_lines(rows: list[dict[str, Any]]) -> Iterator[list[Any]]:
    """Yield the scores of each label with the ends of their intervals."""
    names = [name for name in RATES if name in rows[0]]
    yield ["label", "rows", *(f"{name}{end}" for name in names for end in ("", "_low", "_high"))]
    for row in rows:
        scores = [(row[name], *row["intervals"].get(name, (None, None))) for name in names]
        yield [row["label"], row["support"], *(value for score in scores for value in score)]


def _write_csv(path: Path, lines: Iterable[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        write_lines(file, lines)
