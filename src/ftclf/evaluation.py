"""A network on a split: logits, metrics, predictions and plots. Training, eval and compare all come through here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftclf.batches import eval_batches
from ftclf.compute import Compute
from ftclf.data import Split
from ftclf.metrics import confusion, headline_metrics, most_confused, per_class_metrics, softmax
from ftclf.tokens import Tokens

if TYPE_CHECKING:
    from torch import nn


@dataclass
class Evaluation:
    """Scores of one network on one split, and what they were computed from; `metrics` is plain json."""

    metrics: dict[str, Any]
    probabilities: NDArray[np.float64]  # (rows, labels), in the order of the split
    counts: NDArray[np.int64]  # confusion matrix


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


def score(logits: NDArray[np.float32], split: Split, label_names: list[str]) -> Evaluation:
    """Turn logits into every number of a split."""
    probabilities = softmax(logits)
    counts = confusion(probabilities, split.labels, label_names)
    metrics = {
        "rows": len(split),
        **headline_metrics(probabilities, split.labels),
        "per_class": per_class_metrics(probabilities, split.labels, label_names),
        "most_confused": most_confused(counts, label_names),
    }
    return Evaluation(metrics, probabilities, counts)


def headline(metrics: dict[str, Any]) -> str:
    """Return the line that training and eval print of a split."""
    return ", ".join(f"{name} {metrics[name]:.4f}" for name in ("accuracy", "macro_f1", "weighted_f1", "log_loss"))


def write_evaluation(
    evaluation: Evaluation, split: Split, label_names: list[str], name: str, *, predictions: Path, plots: Path
) -> None:
    """Write a split's predictions (parquet), its confusion matrix (csv) and the plot of it (png)."""
    from ftclf.plots import plot_confusion

    predictions.mkdir(parents=True, exist_ok=True)
    plots.mkdir(parents=True, exist_ok=True)
    _write_predictions(predictions / f"{name}.parquet", evaluation.probabilities, split, label_names)
    _write_confusion(plots / f"confusion_{name}.csv", evaluation.counts, label_names)
    plot_confusion(plots / f"confusion_{name}.png", evaluation.counts, label_names, title=name)


def _write_predictions(path: Path, probabilities: NDArray[np.float64], split: Split, label_names: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = np.array(label_names, dtype=object)
    predicted = probabilities.argmax(axis=1)
    columns: dict[str, Any] = {
        "row": np.arange(len(split)),
        "text": split.texts,
        "label": names[split.labels],
        "predicted": names[predicted],
        "confidence": probabilities.max(axis=1),
    }
    columns.update({f"p_{name}": probabilities[:, index] for index, name in enumerate(label_names)})
    pq.write_table(pa.table(columns), path)


def _write_confusion(path: Path, counts: NDArray[np.int64], label_names: list[str]) -> None:
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["true \\ predicted", *label_names])
        writer.writerows([name, *row] for name, row in zip(label_names, counts.tolist(), strict=True))
