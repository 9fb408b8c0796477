"""Rows to look at: what is confused with what, and where the classifier was surest and wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from ftclf.report.material import Material
from ftclf.score.predictions import StoredPredictions
from ftclf.system.text import cut

PAIR_TEXTS = 2
ERRORS = 10


def confused_pairs(material: Material) -> list[dict[str, Any]]:
    """Return the most confused pairs of labels, each with its surest wrong texts."""
    ids = {label: index for index, label in enumerate(material.labels)}
    return [
        {**pair, "texts": _pair_texts(material, ids[pair["true"]], ids[pair["predicted"]])}
        for pair in material.test["most_confused"]
    ]


def confident_errors(material: Material) -> list[dict[str, Any]]:
    """Return the rows with the most probable labels among those that were wrongly given."""
    predictions = material.predictions
    if predictions is None:
        return []
    wrong = predictions.chosen - predictions.targets
    wrong = wrong & predictions.listed if predictions.listed else wrong
    sure = predictions.probability(wrong.rows, wrong.ids)
    order = np.lexsort((wrong.ids, -sure, wrong.rows))  # per row the most confident label first
    first = order[np.unique(wrong.rows[order], return_index=True)[1]]
    worst = first[np.argsort(-sure[first], kind="stable")[:ERRORS]]
    cells = zip(*(values[worst].tolist() for values in (wrong.rows, wrong.ids, sure)), strict=True)
    return [_error(material, predictions, row, label, confidence=confidence) for row, label, confidence in cells]


def _error(
    material: Material, predictions: StoredPredictions, row: int, label: int, *, confidence: float
) -> dict[str, Any]:
    true = predictions.targets.part(slice(row, row + 1)).ids
    return {
        "text": cut(predictions.texts[row]),
        "place": material.place(row),
        "true": [material.labels[other] for other in true],
        "predicted": material.labels[label],
        "confidence": confidence,
        "true_probability": float(predictions.probability(np.array([row]), true).max(initial=0.0)),
    }


def _pair_texts(material: Material, true: int, predicted: int) -> list[dict[str, str]]:
    predictions = material.predictions
    if predictions is None:
        return []
    targets, chosen = predictions.targets, predictions.chosen
    missed = targets.column(true) & ~chosen.column(true)
    rows = np.flatnonzero(missed & chosen.column(predicted) & ~targets.column(predicted))
    sure = predictions.probability(rows, np.full(len(rows), predicted))
    surest = rows[np.argsort(-sure, kind="stable")][:PAIR_TEXTS].tolist()
    return [{"text": cut(predictions.texts[row]), "place": material.place(row)} for row in surest]
