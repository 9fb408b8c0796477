"""How far a score would scatter on other test rows of the same kind: 95 % bootstrap intervals.

Rows are drawn again within their label (stratified), so that every draw has the classes' own sizes; percentiles of the
draws' scores are the interval (Efron and Tibshirani 1993, chapter 13). Seeded: the same rows give the same interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftclf.data.split import strata

DRAWS = 1000
CHUNK = 50  # draws at a time: bounds the memory at 50 weights a row
LEVEL = 95.0

Interval = tuple[float, float]


@dataclass
class ScoreDraws:
    """The scores of every bootstrap draw of one split's rows.

    The draws depend on the targets and the seed alone: two classifiers scored on the same rows are drawn in pairs, and
    the differences of their scores are the paired bootstrap.
    """

    scores: dict[str, NDArray[np.float64]]  # (draws,) each
    per_class: dict[str, NDArray[np.float64]]  # (draws, labels) each

    def intervals(self) -> tuple[dict[str, Interval], list[dict[str, Interval]]]:
        """Return the intervals of the headline scores, and of precision, recall and F1 of each label."""
        labels = next(iter(self.per_class.values())).shape[1]
        return (
            {name: percentile_interval(values) for name, values in self.scores.items()},
            [
                {name: percentile_interval(values[:, label]) for name, values in self.per_class.items()}
                for label in range(labels)
            ],
        )

    def less(self, other: ScoreDraws) -> dict[str, NDArray[np.float64]]:
        """Return by how much each score exceeds the other classifier's in every draw, (draws,) each."""
        return {name: values - other.scores[name] for name, values in self.scores.items()}


def draw_scores(
    chosen: NDArray[np.bool_],
    targets: NDArray[np.bool_],
    losses: NDArray[np.float64],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> ScoreDraws:
    """Score a classifier on every draw of the rows.

    `chosen` and `targets` have the shape (rows, labels), `losses` (rows,). A label without rows has F1 0 in every draw.
    """
    hit, wrong, missed = chosen & targets, chosen & ~targets, ~chosen & targets
    per_row = np.concatenate(
        [hit, wrong, missed, (chosen == targets).all(axis=1, keepdims=True), losses[:, None]], axis=1
    ).astype(np.float32)
    sums = np.concatenate([weights @ per_row for weights in _draws(strata(targets), draws, seed)]).astype(np.float64)
    labels = targets.shape[1]
    tp, fp, fn = (sums[:, start : start + labels] for start in (0, labels, 2 * labels))
    rows, f1 = len(targets), _ratio(2 * tp, 2 * tp + fp + fn)
    support = tp + fn
    exact = sums[:, 3 * labels] / rows
    scores = {
        "accuracy": exact,
        "subset_accuracy": exact,
        "macro_f1": f1.mean(axis=1),
        "micro_f1": _ratio(2 * tp.sum(axis=1), (2 * tp + fp + fn).sum(axis=1)),
        "weighted_f1": _ratio((f1 * support).sum(axis=1), support.sum(axis=1)),
        "hamming_loss": (fp + fn).sum(axis=1) / (rows * labels),
        "log_loss": sums[:, 3 * labels + 1] / rows,
    }
    per_class = {"precision": _ratio(tp, tp + fp), "recall": _ratio(tp, support), "f1": f1}
    return ScoreDraws(scores, per_class)


def percentile_interval(values: NDArray[np.float64], level: float = LEVEL) -> Interval:
    """Return the interval that holds `level` percent of the draws in its middle."""
    low, high = np.percentile(values, ((100 - level) / 2, (100 + level) / 2))
    return round(float(low), 6), round(float(high), 6)


def _draws(stratum: NDArray[np.int64], draws: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Yield how often each row is drawn, shape (some draws, rows)."""
    random = np.random.default_rng(seed)
    groups = [np.flatnonzero(stratum == value) for value in np.unique(stratum)]
    for start in range(0, draws, CHUNK):
        count = min(CHUNK, draws - start)
        weights = np.zeros((count, len(stratum)), dtype=np.float32)
        for rows in groups:
            size = len(rows)
            picked = random.integers(0, size, (count, size)) + np.arange(count)[:, None] * size
            weights[:, rows] = np.bincount(picked.ravel(), minlength=count * size).reshape(count, size)
        yield weights


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide, with 0 for 0 / 0, as scikit-learn's zero_division=0 does."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
