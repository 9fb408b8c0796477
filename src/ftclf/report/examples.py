"""Rows to look at: what is confused with what, and where the classifier was surest and wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.predictions import Predictions
from ftclf.report.material import Material
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
    wrong = found.chosen - found.targets
    wrong = wrong & found.listed if found.listed else wrong
    sure = found.probability(wrong.rows, wrong.ids)
    order = np.lexsort((wrong.ids, -sure, wrong.rows))  # of each row the surest first, of equal ones the first label
    first = order[np.unique(wrong.rows[order], return_index=True)[1]]
    worst = first[np.argsort(-sure[first], kind="stable")[:ERRORS]]
    return [
        {
            "text": cut(found.texts[row]),
            "true": [material.labels[label] for label in _labels(found, row)],
            "predicted": material.labels[label],
            "confidence": confidence,
            "true_probability": float(found.probability(np.array([row]), _labels(found, row)).max(initial=0.0)),
        }
        for row, label, confidence in zip(*(one[worst].tolist() for one in (wrong.rows, wrong.ids, sure)), strict=True)
    ]


def _labels(found: Predictions, row: int) -> NDArray[Any]:
    return found.targets.part(slice(row, row + 1)).ids


def _pair_texts(found: Predictions | None, true: int, predicted: int) -> list[str]:
    if found is None:
        return []
    missed = found.targets.column(true) & ~found.chosen.column(true)
    rows = np.flatnonzero(missed & found.chosen.column(predicted) & ~found.targets.column(predicted))
    sure = found.probability(rows, np.full(len(rows), predicted))
    return [cut(found.texts[row]) for row in rows[np.argsort(-sure, kind="stable")][:PAIR_TEXTS].tolist()]
