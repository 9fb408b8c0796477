"""Rows to look at: what is confused with what, and where the classifier was surest and wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.report.material import Material, Predictions
from ftclf.words import cut

PAIR_TEXTS = 2
ERRORS = 10


def confused_pairs(material: Material) -> list[dict[str, Any]]:
    """Return the most confused pairs of labels, each with its surest wrong texts."""
    ids = {label: index for index, label in enumerate(material.labels)}
    return [
        {**pair, "texts": _pair_texts(material.predictions, ids[pair["true"]], ids[pair["predicted"]])}
        for pair in material.test["most_confused"]
    ]


def confident_errors(material: Material) -> list[dict[str, Any]]:
    """Return the rows with the most probable labels among those that were wrongly given."""
    found = material.predictions
    if found is None:
        return []
    wrong = np.where(found.chosen & ~found.targets, found.probabilities, -1.0)
    order = np.argsort(-wrong.max(axis=1), kind="stable")[:ERRORS]
    return [
        {
            "text": cut(found.texts[row]),
            "true": _names(found.targets[row], material.labels),
            "predicted": material.labels[int(wrong[row].argmax())],
            "confidence": float(wrong[row].max()),
            "true_probability": float(found.probabilities[row][found.targets[row]].max(initial=0.0)),
        }
        for row in order.tolist()
        if wrong[row].max() >= 0
    ]


def _pair_texts(found: Predictions | None, true: int, predicted: int) -> list[str]:
    if found is None:
        return []
    missed = found.targets[:, true] & ~found.chosen[:, true]
    rows = np.flatnonzero(missed & found.chosen[:, predicted] & ~found.targets[:, predicted])
    surest = rows[np.argsort(-found.probabilities[rows, predicted], kind="stable")]
    return [cut(found.texts[row]) for row in surest[:PAIR_TEXTS].tolist()]


def _names(targets: NDArray[np.bool_], labels: list[str]) -> list[str]:
    return [labels[index] for index in np.flatnonzero(targets)]
