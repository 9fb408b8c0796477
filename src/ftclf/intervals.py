"""How far a score would scatter on other test rows of the same kind: 95 % bootstrap intervals.

Rows are drawn again within their label (stratified), the classes' sizes as chance would have them. Within a class of n
rows, n - 1 are drawn and count n / (n - 1) times, or small classes would scatter too little (Rao and Wu 1988). The
interval is percentiles of the draws' scores, corrected for their bias (Efron 1981; Efron and Tibshirani 1993, chapter
14): macro F1 of a draw lies below that of the rows as that lies below the truth. Measured by scripts/simulate. Seeded:
the same rows give the same interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftclf.data.split import strata
from ftclf.metrics import ratio

DRAWS = 1000
RANKING_DRAWS = 400  # each takes a pass over every label's rows in order
CHUNK = 50  # draws at a time: bounds the memory at 50 weights a row
LEVEL = 95.0
NORMAL = 1.959964  # its quantile
LOSSES = ("log_loss", "hamming_loss")  # no shares of rows

Interval = tuple[float, float]


@dataclass
class ScoreDraws:
    """The scores of every bootstrap draw of one split's rows, and those of the rows themselves.

    The draws depend on the targets and the seed alone: two classifiers scored on the same rows are drawn in pairs, and
    the differences of their scores are the paired bootstrap.
    """

    scores: dict[str, NDArray[np.float64]]  # (draws,) each
    per_class: dict[str, NDArray[np.float64]]  # (draws, labels) each
    observed: dict[str, float]
    observed_per_class: dict[str, NDArray[np.float64]]  # (labels,) each
    rows: int
    trials: dict[str, NDArray[np.float64]]  # (labels,) each: of how many rows a score of a label is the share

    def intervals(self) -> tuple[dict[str, Interval], list[dict[str, Interval]]]:
        """Return the intervals of the headline scores, and of precision, recall and F1 of each label."""
        labels = next(iter(self.per_class.values())).shape[1]
        return (
            {
                name: interval_of(values, self.observed[name], trials=None if name in LOSSES else self.rows)
                for name, values in self.scores.items()
            },
            [
                {
                    name: interval_of(
                        values[:, label],
                        float(self.observed_per_class[name][label]),
                        trials=float(self.trials[name][label]),
                    )
                    for name, values in self.per_class.items()
                }
                for label in range(labels)
            ],
        )

    def less(self, other: ScoreDraws) -> dict[str, NDArray[np.float64]]:
        """Return by how much each score exceeds the other classifier's in every draw, (draws,) each."""
        return {name: values - other.scores[name] for name, values in self.scores.items()}

    def observed_less(self, other: ScoreDraws) -> dict[str, float]:
        """Return by how much each score of the rows exceeds the other classifier's."""
        return {name: value - other.observed[name] for name, value in self.observed.items()}


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
    ).astype(np.float64)
    sums = np.concatenate([weights @ per_row for weights in _draws(strata(targets), draws, seed)])
    scores, per_class = _scores(sums, *targets.shape)
    given, support = chosen.sum(axis=0).astype(np.float64), targets.sum(axis=0).astype(np.float64)
    observed, observed_per_class = _scores(per_row.sum(axis=0, keepdims=True), *targets.shape)
    return ScoreDraws(
        scores,
        per_class,
        {name: float(values[0]) for name, values in observed.items()},
        {name: values[0] for name, values in observed_per_class.items()},
        len(targets),
        {"precision": given, "recall": support, "f1": (given + support) / 2},
    )


def ranking_intervals(
    probabilities: NDArray[np.float64], targets: NDArray[np.bool_], *, draws: int = RANKING_DRAWS, seed: int = 0
) -> tuple[Interval | None, list[dict[str, Interval]]]:
    """Return the intervals of macro average precision, and of average precision and AUROC of each label.

    Both arrays have the shape (rows, labels). A label that is on no row or on all of them has none, and macro average
    precision is over the labels with a row.
    """
    present: NDArray[np.bool_] = np.asarray(targets.any(axis=0))
    both = present & ~np.asarray(targets.all(axis=0))
    columns = [_Ranked(scores, truth) for scores, truth in zip(probabilities.T, targets.T, strict=True)]
    found = [
        np.stack([column.scores(weights) for column in columns], axis=2)
        for weights in _draws(strata(targets), draws, seed)
    ]
    precision, area = np.concatenate(found, axis=1)  # (draws, labels) each
    whole = np.ones((1, len(targets)))
    observed = [column.scores(whole)[:, 0] for column in columns]
    if not present.any():
        return None, [{} for _ in columns]
    macro = interval_of(
        precision[:, present].mean(axis=1), float(np.mean([one[0] for one in np.array(observed)[present]]))
    )
    per_class: list[dict[str, Interval]] = []
    for label, (average_precision, auroc) in enumerate(observed):
        intervals = {}
        if present[label]:
            intervals["average_precision"] = interval_of(precision[:, label], float(average_precision))
        if both[label]:
            intervals["auroc"] = interval_of(area[:, label], float(auroc))
        per_class.append(intervals)
    return macro, per_class


class _Ranked:
    """One label's rows from the highest score, and where rows of equal scores begin and end."""

    def __init__(self, scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> None:
        self.order = np.argsort(-scores, kind="stable")
        ranked = scores[self.order]
        self.positive = positive[self.order].astype(np.float64)
        starts = np.flatnonzero(np.append(True, ranked[1:] < ranked[:-1]))
        group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(ranked))))
        self.first, self.last = starts[group], np.append(starts[1:], len(ranked))[group] - 1

    def scores(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return average precision and AUROC for weights of the rows, (draws, rows); shape (2, draws)."""
        drawn = weights[:, self.order]
        hits = drawn * self.positive
        seen, found = np.cumsum(drawn, axis=1), np.cumsum(hits, axis=1)
        up_to, before = found[:, self.last], found[:, self.first] - hits[:, self.first]
        positives = found[:, -1:]
        precision = (hits * ratio(up_to, seen[:, self.last])).sum(axis=1)
        above = ((drawn - hits) * (up_to + before) / 2).sum(axis=1)
        negatives = seen[:, -1] - positives[:, 0]
        return np.stack([ratio(precision, positives[:, 0]), ratio(above, positives[:, 0] * negatives)])


def _scores(
    sums: NDArray[np.float64], rows: int, labels: int
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Turn the sums of hits, wrong and missed labels, right rows and losses, (draws, 3 labels + 2), into scores."""
    tp, fp, fn = (sums[:, start : start + labels] for start in (0, labels, 2 * labels))
    f1, support = ratio(2 * tp, 2 * tp + fp + fn), tp + fn
    exact = sums[:, 3 * labels] / rows
    scores = {
        "accuracy": exact,
        "subset_accuracy": exact,
        "macro_f1": f1.mean(axis=1),
        "micro_f1": ratio(2 * tp.sum(axis=1), (2 * tp + fp + fn).sum(axis=1)),
        "weighted_f1": ratio((f1 * support).sum(axis=1), support.sum(axis=1)),
        "hamming_loss": (fp + fn).sum(axis=1) / (rows * labels),
        "log_loss": sums[:, 3 * labels + 1] / rows,
    }
    return scores, {"precision": ratio(tp, tp + fp), "recall": ratio(tp, support), "f1": f1}


def interval_of(
    values: NDArray[np.float64], observed: float, *, level: float = LEVEL, trials: float | None = None
) -> Interval:
    """Return the interval that holds the truth in `level` of 100 test sets: bias-corrected percentiles of the draws.

    Where no draw differs (all rows right, or none) it is Wilson's of a share of `trials` rows, if they are given: three
    rows that are right do not show that all are.
    """
    from scipy.special import ndtr, ndtri

    if trials and np.ptp(values) < 1e-12:
        low, high = wilson(observed * trials, trials)
        return round(low, 6), round(high, 6)
    # Draws at the very score of the rows count half: F1 of a small class takes few values.
    near = np.isclose(values, observed, rtol=0, atol=1e-9)
    share = float(((values < observed) & ~near).mean() + near.mean() / 2)
    bias = ndtri(np.clip(share, 0.5 / len(values), 1 - 0.5 / len(values)))
    half = ndtri((100 + level) / 200)
    low, high = np.percentile(values, 100 * ndtr([2 * bias - half, 2 * bias + half]))
    return round(float(low), 6), round(float(high), 6)


def wilson(hits: float, rows: float) -> Interval:
    """Return the 95 % Wilson interval of a share; scipy has it too, in a module that is slow to import."""
    square = NORMAL**2
    middle = (hits + square / 2) / (rows + square)
    half = NORMAL / (rows + square) * (max(0.0, hits * (rows - hits)) / rows + square / 4) ** 0.5
    return middle - half, middle + half


def _draws(stratum: NDArray[np.int64], draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how much each row counts in each draw, shape (some draws, rows)."""
    random = np.random.default_rng(seed)
    groups = [np.flatnonzero(stratum == value) for value in np.unique(stratum)]
    counts = np.array([len(rows) for rows in groups])
    for start in range(0, draws, CHUNK):
        count = min(CHUNK, draws - start)
        # Dirichlet, not multinomial (Rubin 1981): the same mean and scatter, but no class is ever missing in a draw.
        sizes = random.dirichlet(counts, count) * len(stratum)
        weights = np.zeros((count, len(stratum)))
        for rows, size in zip(groups, sizes.T, strict=True):
            weights[:, rows] = _within(len(rows), count, random) * size[:, None]
        yield weights


def _within(size: int, count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return the share that each row of a class has of it in each draw, shape (count, size): they add up to one."""
    taken = max(1, size - 1)
    picked = random.integers(0, size, (count, taken)) + np.arange(count)[:, None] * size
    return np.bincount(picked.ravel(), minlength=count * size).reshape(count, size) / taken
