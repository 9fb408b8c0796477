"""Which answers to keep back: risk against coverage, and the confidence for a wanted precision.

(El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

POINTS = 50
MIN_ROWS = 20  # a precision over fewer rows is noise


def risk_coverage(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the share of wrong answers among the surest rows, for every share of rows that is answered.

    `aurc` is the mean risk over all coverages; `curve` has about 50 of its points.
    """
    order = np.argsort(-sure, kind="stable")
    answered = np.arange(1, len(sure) + 1)
    risk = np.cumsum(~right[order]) / answered
    shown = np.unique(np.linspace(0, len(sure) - 1, POINTS).round().astype(np.int64))
    curve = [
        {"coverage": float(answered[i] / len(sure)), "risk": float(risk[i]), "confidence": float(sure[order[i]])}
        for i in shown
    ]
    return {"aurc": float(risk.mean()), "curve": curve}


def confidence_for_precision(sure: NDArray[np.float64], right: NDArray[np.bool_], wanted: float) -> float | None:
    """Return the lowest confidence whose rows are right as often as wanted; None where no confidence is enough."""
    order = np.argsort(-sure, kind="stable")
    ranked = sure[order]
    precision = np.cumsum(right[order]) / np.arange(1, len(sure) + 1)
    last_of_equals = np.append(ranked[1:] < ranked[:-1], True)
    enough = last_of_equals & (precision >= wanted) & (np.arange(1, len(sure) + 1) >= min(MIN_ROWS, len(sure)))
    return float(ranked[np.flatnonzero(enough)[-1]]) if enough.any() else None


def abstention(sure: NDArray[np.float64], right: NDArray[np.bool_], below: float) -> dict[str, float | None]:
    """Return which share of the rows is answered at a confidence, and how many of those are right."""
    kept = sure >= below
    return {
        "below": below,
        "coverage": float(kept.mean()),
        "precision": float(right[kept].mean()) if kept.any() else None,
    }
