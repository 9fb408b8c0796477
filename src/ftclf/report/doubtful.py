"""Test rows whose labels are doubtful by the run's own probabilities: marked, never left out of a score."""

from __future__ import annotations

from typing import Any

import numpy as np

from ftclf.data.label_sets import LabelSets
from ftclf.report.material import Material
from ftclf.score.label_errors import doubtful_labels
from ftclf.system.text import cut

ROWS = 20


def doubtful_rows(material: Material) -> dict[str, Any] | None:
    """Return the most doubtful test rows, and how many there are."""
    predictions = material.predictions
    if predictions is None:
        return None
    if predictions.probabilities is not None:
        known = LabelSets.of(np.ones(predictions.probabilities.shape, dtype=bool))
        values = predictions.probabilities.ravel()
    else:
        assert predictions.listed is not None
        assert predictions.values is not None
        known, values = predictions.listed, predictions.values
    doubts = doubtful_labels(predictions.targets, known, values, several=material.several)
    rows = [
        {
            "text": cut(predictions.texts[doubt.row]),
            "place": material.place(doubt.row),
            "given": _name(material, doubt.given, doubt.other),
            "other": _name(material, doubt.other, doubt.given),
            "given_probability": doubt.given_probability,
            "other_probability": doubt.other_probability,
        }
        for doubt in doubts[:ROWS]
    ]
    return {"rows": rows, "all": len(doubts)} if rows else None


def _name(material: Material, label: int, other: int) -> str:
    """Return a label's name, or that the other one is absent."""
    return material.labels[label] if label >= 0 else f"no {material.labels[other]}"
