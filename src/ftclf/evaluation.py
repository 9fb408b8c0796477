"""A network on a split: logits, metrics, predictions and plots. Training, eval and compare all come through here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftclf.batches import eval_batches
from ftclf.compute import Compute
from ftclf.config import HEADLINES
from ftclf.data import Split
from ftclf.decisions import Decision
from ftclf.intervals import draw_scores
from ftclf.metrics import (
    confusion,
    most_confused,
    multi_label_metrics,
    one_hot,
    per_class_metrics,
    per_class_ranking,
    ranking_metrics,
    row_losses,
    sigmoid,
    single_label_metrics,
    softmax,
)
from ftclf.tokens import Tokens

if TYPE_CHECKING:
    from torch import nn


@dataclass
class Evaluation:
    """Scores of one network on one split, and what they were computed from; `metrics` is plain json."""

    metrics: dict[str, Any]
    probabilities: NDArray[np.float64]  # (rows, labels), in the order of the split
    chosen: NDArray[np.bool_]  # (rows, labels)
    targets: NDArray[np.bool_]  # (rows, labels)
    counts: NDArray[np.int64]  # confusion matrix; several labels a row: what is given in the place of a missed one


def compute_logits(network: nn.Module, tokens: Tokens, compute: Compute, batch_size: int) -> NDArray[np.float32]:
    """Return the logits of every row, shape (rows, labels), in the order of the rows."""
    import torch

    was_training = network.training
    network.eval()
    found: NDArray[np.float32] | None = None
    with torch.inference_mode(), compute.autocast():
        for rows in eval_batches(tokens.lengths, batch_size):
            logits = network(**model_inputs(tokens, rows, compute.device)).logits.float().cpu().numpy()
            if found is None:
                found = np.empty((len(tokens), logits.shape[1]), dtype=np.float32)
            found[rows] = logits
    network.train(was_training)
    assert found is not None
    return found


def model_inputs(tokens: Tokens, rows: NDArray[np.int64], device: str) -> dict[str, Any]:
    """Return the padded rows as the network takes them."""
    import torch

    ids, mask = tokens.padded(rows)
    return {
        "input_ids": torch.from_numpy(ids).to(device),
        "attention_mask": torch.from_numpy(mask).to(device),
    }


def to_probabilities(logits: NDArray[np.float32], task: str) -> NDArray[np.float64]:
    """Turn logits into the probabilities of a task."""
    return sigmoid(logits) if task == "multi_label" else softmax(logits)


def choosing_scores(logits: NDArray[np.float32], split: Split) -> dict[str, float]:
    """Return what a checkpoint can be chosen by: no measure of it needs a threshold."""
    if split.labels.ndim == 2:
        return ranking_metrics(sigmoid(logits), split.labels)
    return single_label_metrics(softmax(logits), split.labels)


def score(logits: NDArray[np.float32], split: Split, label_names: list[str], decision: Decision) -> Evaluation:
    """Turn logits into every number of a split."""
    several = split.labels.ndim == 2
    task = "multi_label" if several else "single_label"
    probabilities = to_probabilities(logits, task)
    targets = split.labels if several else one_hot(split.labels, len(label_names))
    chosen = decision.decide(probabilities)
    counts = confusion(chosen, targets)
    rows = per_class_metrics(chosen, targets, label_names)
    if several:
        headlines = multi_label_metrics(probabilities, chosen, targets)
        ranking = per_class_ranking(probabilities, targets)
        rows = [{**row, **more} for row, more in zip(rows, ranking, strict=True)]
    else:
        headlines = single_label_metrics(probabilities, split.labels)
    intervals, class_intervals = draw_scores(chosen, targets, row_losses(probabilities, targets, task)).intervals()
    rows = [{**row, "intervals": found} for row, found in zip(rows, class_intervals, strict=True)]
    metrics = {
        "rows": len(split),
        **headlines,
        "intervals": {name: interval for name, interval in intervals.items() if name in headlines},
        "per_class": rows,
        "most_confused": most_confused(counts, targets.sum(axis=0), label_names),
    }
    return Evaluation(metrics, probabilities, chosen, targets, counts)


def headline(metrics: dict[str, Any], task: str) -> str:
    """Return the line that training and eval print of a split: scores with their 95 % intervals."""
    return ", ".join(f"{name} {with_interval(metrics, name)}" for name in HEADLINES[task])


def with_interval(metrics: dict[str, Any], name: str) -> str:
    """Return a score as 0.5808 [0.5679, 0.5938]; without the brackets where it has no interval."""
    interval = metrics["intervals"].get(name)
    return f"{metrics[name]:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")


def write_evaluation(
    evaluation: Evaluation, split: Split, label_names: list[str], name: str, *, predictions: Path, plots: Path
) -> None:
    """Write a split's predictions (parquet), its confusion matrix (csv) and the plot of it (png)."""
    from ftclf.plots import plot_confusion

    predictions.mkdir(parents=True, exist_ok=True)
    plots.mkdir(parents=True, exist_ok=True)
    _write_predictions(predictions / f"{name}.parquet", evaluation, split, label_names)
    _write_confusion(plots / f"confusion_{name}.csv", evaluation.counts, label_names)
    plot_confusion(plots / f"confusion_{name}.png", evaluation.counts, label_names, title=name)


def _write_predictions(path: Path, evaluation: Evaluation, split: Split, label_names: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    probabilities = evaluation.probabilities
    columns: dict[str, Any] = {"row": np.arange(len(split)), "text": split.texts}
    if split.labels.ndim == 2:
        columns["labels"] = names_of(evaluation.targets, label_names)
        columns["predicted"] = names_of(evaluation.chosen, label_names)
    else:
        names = np.array(label_names, dtype=object)
        columns["label"] = names[split.labels]
        columns["predicted"] = names[evaluation.chosen.argmax(axis=1)]
    columns["confidence"] = probabilities.max(axis=1)
    columns.update({f"p_{name}": probabilities[:, index] for index, name in enumerate(label_names)})
    pq.write_table(pa.table(columns), path)


def names_of(chosen: NDArray[np.bool_], label_names: list[str]) -> list[list[str]]:
    """Return the names of the labels of each row."""
    return [[label_names[index] for index in np.flatnonzero(row)] for row in chosen]


def _write_confusion(path: Path, counts: NDArray[np.int64], label_names: list[str]) -> None:
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["true \\ predicted", *label_names])
        writer.writerows([name, *row] for name, row in zip(label_names, counts.tolist(), strict=True))
