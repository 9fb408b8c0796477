"""From probabilities and labels to numbers. Names and definitions are scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Turn logits into probabilities, shape (rows, labels), in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponents = np.exp(shifted)
    return exponents / exponents.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def headline_metrics(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    """Return accuracy, macro, micro and weighted F1 and log loss, the measures a checkpoint can be chosen by.

    `probabilities` has shape (rows, labels). A label that is neither present nor predicted counts as F1 0, over all
    labels of the classifier.
    """
    from sklearn.metrics import accuracy_score, f1_score, log_loss

    ids = np.arange(probabilities.shape[1])
    predicted = probabilities.argmax(axis=1)
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        **{
            f"{average}_f1": float(f1_score(labels, predicted, labels=ids, average=average, zero_division=0))
            for average in ("macro", "micro", "weighted")
        },
        "log_loss": float(log_loss(labels, probabilities, labels=ids)),
    }


def per_class_metrics(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], label_names: list[str]
) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and support of each label, in the order of the names."""
    from sklearn.metrics import precision_recall_fscore_support

    ids = np.arange(len(label_names))
    columns = precision_recall_fscore_support(labels, probabilities.argmax(axis=1), labels=ids, zero_division=0)
    return [
        {"label": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for name, p, r, f, s in zip(label_names, *columns, strict=True)
    ]


def confusion(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], label_names: list[str]
) -> NDArray[np.int64]:
    """Return counts, shape (labels, labels): row = true label, column = predicted label."""
    from sklearn.metrics import confusion_matrix

    counts: NDArray[np.int64] = confusion_matrix(
        labels, probabilities.argmax(axis=1), labels=np.arange(len(label_names))
    )
    return counts


def most_confused(counts: NDArray[np.int64], label_names: list[str], limit: int = 10) -> list[dict[str, Any]]:
    """Return the pairs of different labels with the most errors, most first."""
    errors = counts.copy()
    np.fill_diagonal(errors, 0)
    order = np.argsort(-errors, axis=None, kind="stable")[:limit]
    pairs = [np.unravel_index(index, errors.shape) for index in order]
    return [
        {
            "true": label_names[row],
            "predicted": label_names[column],
            "count": int(errors[row, column]),
            "share_of_true": float(errors[row, column] / counts[row].sum()),
        }
        for row, column in pairs
        if errors[row, column] > 0
    ]
