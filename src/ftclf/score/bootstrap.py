"""Bootstrap intervals (95 %): how far a score would scatter on other test rows of the same kind.

Rows are drawn again within their label (stratified), the classes' sizes as chance would have them. Within a class of n
rows, n - 1 are drawn and count n / (n - 1) times, or small classes would scatter too little (Rao and Wu 1988). The
interval is percentiles of the draws' scores, corrected for their bias (Efron 1981; Efron and Tibshirani 1993, chapter
14): macro F1 of a draw lies below that of the rows as that lies below the truth. Measured by scripts/simulate. Seeded:
the same rows give the same interval.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data.label_sets import LabelSets
from ftclf.score.metrics import RowSums, row_scores
from ftclf.score.ranking import LabelRanks

DRAWS = 1000
RANKING_DRAWS = 400  # each weighs every label's first places
CHUNK = 50  # draws at a time: bounds the memory at 50 weights a row
MOST_PICKS = 2**21  # of draws x rows at a time
LARGE = 50  # rows of a class from which a call of its own takes less time than a place in a call for many classes
MOST_WEIGHTS = 2**24  # of draws x rows that are held for rankings: 128 MB
LEVEL = 95.0
NORMAL = 1.959964  # its quantile
LOSSES = ("log_loss", "hamming_loss")  # no shares of rows

Interval = tuple[float, float]
Scores = dict[str, NDArray[np.float64]]


@dataclass
class ScoreDraws:
    """The scores of every bootstrap draw of one split's rows, and those of the rows themselves.

    The draws depend on the targets and the seed alone: two classifiers scored on the same rows are drawn in pairs, and
    the differences of their scores are the paired bootstrap.
    """

    scores: dict[str, NDArray[np.float64]]  # (draws,) each
    observed: dict[str, float]
    sums: RowSums  # of the rows themselves
    per_class: dict[str, NDArray[np.float64]]  # intervals of each label's scores, (labels, 2) each; empty if unwanted

    def intervals(self) -> tuple[dict[str, Interval], list[dict[str, Interval]]]:
        """Return the intervals of the headline scores, and of precision, recall and F1 of each label."""
        return (
            {
                name: interval_of(values, self.observed[name], trials=None if name in LOSSES else self.sums.rows)
                for name, values in self.scores.items()
            },
            _by_label(self.per_class),
        )

    def less(self, other: ScoreDraws) -> dict[str, NDArray[np.float64]]:
        """Return by how much each score exceeds the other classifier's in every draw, (draws,) each."""
        return {name: values - other.scores[name] for name, values in self.scores.items()}

    def observed_less(self, other: ScoreDraws) -> dict[str, float]:
        """Return by how much each score of the rows exceeds the other classifier's."""
        return {name: value - other.observed[name] for name, value in self.observed.items()}


def draw_scores(
    chosen: LabelSets | NDArray[np.bool_],
    targets: LabelSets | NDArray[np.bool_],
    losses: NDArray[np.float64],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> ScoreDraws:
    """Score a classifier on every draw of the rows.

    `chosen` and `targets` have the shape (rows, labels), `losses` (rows,). A label without rows has F1 0 in every draw.
    """
    return draw_several([chosen], targets, losses, draws=draws, seed=seed)[0]


def draw_several(
    chosen: list[LabelSets] | list[LabelSets | NDArray[np.bool_]],
    targets: LabelSets | NDArray[np.bool_],
    losses: NDArray[np.float64],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[ScoreDraws]:
    """Score several answers to the same rows on the same draws; only the first has intervals of each label."""
    truth = LabelSets.of(targets)
    answers = [LabelSets.of(sets) for sets in chosen]
    sides = {id(sets): _Side(sets, truth, losses) for sets in answers}
    for weights in _draws(truth.rarest(), draws, seed):
        support = truth.sums(weights)
        for place, side in enumerate(sides.values()):
            side.draw(weights, support, per_class=place == 0)
    scored = {name: side.scored() for name, side in sides.items()}
    return [scored[id(sets)] for sets in answers]


class _Side:
    """The answers of a classifier or rule, and their scores on the draws so far."""

    def __init__(self, chosen: LabelSets, truth: LabelSets, losses: NDArray[np.float64]) -> None:
        self.chosen, self.hits = chosen, chosen & truth
        self.observed = RowSums.of(chosen, truth, losses)
        self.per_row = row_scores(self.hits, chosen, truth, losses)
        self.scores: list[Scores] = []
        self.rates: list[Scores] = []

    def draw(self, weights: NDArray[np.float64], support: NDArray[np.float64], *, per_class: bool) -> None:
        """Score some draws; `support` are the weights of the rows of each label, (draws, labels)."""
        counts = self.hits.sums(weights), self.chosen.sums(weights), support
        sums = RowSums(*counts, weights @ self.per_row, len(self.chosen), self.observed.rare)
        self.scores.append(sums.scores())
        if per_class:
            self.rates.append(sums.rates())

    def scored(self) -> ScoreDraws:
        observed, rates = self.observed.observed(), self.observed.rates()
        given, support = self.observed.given[0], self.observed.true[0]
        trials = {"precision": given, "recall": support, "f1": (given + support) / 2}
        per_class = {
            name: intervals_of(
                np.concatenate([drawn[name] for drawn in self.rates]), rates[name][0], trials=trials[name]
            )
            for name in (trials if self.rates else {})
        }
        scores = {name: np.concatenate([drawn[name] for drawn in self.scores]) for name in observed}
        return ScoreDraws(scores, observed, self.observed, per_class)


def ranking_intervals(
    ranks: list[LabelRanks], targets: LabelSets | NDArray[np.bool_], *, draws: int = RANKING_DRAWS, seed: int = 0
) -> tuple[Interval | None, list[dict[str, Interval]]]:
    """Return the intervals of macro average precision, and of average precision and AUROC of each label.

    A label that is on no row or on all of them has none, and macro average precision is over the labels with a row.
    """
    truth = LabelSets.of(targets)
    present, both = truth.per_label > 0, (truth.per_label > 0) & (truth.per_label < len(truth))
    if not present.any():
        return None, [{} for _ in ranks]
    drawn = np.concatenate(
        [
            np.stack([rank.drawn(weights) for rank in ranks], axis=2)
            for weights in _weights_of_rows(truth.rarest(), draws, seed)
        ],
        axis=1,
    )  # (2, draws, labels)
    observed = np.array([[rank.average_precision or 0.0, rank.auroc or 0.0] for rank in ranks]).T
    macro = interval_of(drawn[0][:, present].mean(axis=1), float(observed[0, present].mean()))
    intervals: dict[str, NDArray[np.float64]] = {}
    for name, values, of_rows, known in zip(
        ("average_precision", "auroc"), drawn, observed, (present, both), strict=True
    ):
        intervals[name] = np.full((len(ranks), 2), np.nan)
        intervals[name][known] = intervals_of(values[:, known], of_rows[known])
    return macro, _by_label(intervals)


def _by_label(intervals: dict[str, NDArray[np.float64]]) -> list[dict[str, Interval]]:
    """Turn intervals, (labels, 2) each, into those of each label, without those that are NaN."""
    if not intervals:
        return []
    columns = [[(name, pair) for pair in values.tolist()] for name, values in intervals.items()]
    return [
        {name: (low, high) for name, (low, high) in of_label if low == low} for of_label in zip(*columns, strict=True)
    ]


def interval_of(
    values: NDArray[np.float64], observed: float, *, level: float = LEVEL, trials: float | None = None
) -> Interval:
    """Return the interval that holds the truth in `level` of 100 test sets: bias-corrected percentiles of the draws.

    Where no draw differs (all rows right, or none) it is Wilson's of a share of `trials` rows, if they are given: three
    rows that are right do not show that all are.
    """
    of_rows = None if trials is None else np.array([trials])
    low, high = intervals_of(values[:, None], np.array([observed]), level=level, trials=of_rows)[0].tolist()
    return low, high


def intervals_of(
    values: NDArray[np.float64],
    observed: NDArray[np.float64],
    *,
    level: float = LEVEL,
    trials: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the `interval_of` of many scores, (scores, 2), of their draws (draws, scores)."""
    from scipy.special import ndtr, ndtri

    ranked = np.sort(values.T, axis=1)
    draws = ranked.shape[1]
    # Draws at the very score of the rows count half: F1 of a small class takes few values.
    below = (ranked < observed[:, None] - 1e-9).sum(axis=1)
    share = (below + (ranked <= observed[:, None] + 1e-9).sum(axis=1)) / (2 * draws)
    bias = ndtri(np.clip(share, 0.5 / draws, 1 - 0.5 / draws))
    half = ndtri((100 + level) / 200)
    ends = np.column_stack([_quantile(ranked, ndtr(2 * bias + side * half)) for side in (-1, 1)])
    if trials is not None:
        same = (ranked[:, -1] - ranked[:, 0] < 1e-12) & (trials > 0)
        ends[same] = np.column_stack(wilson(observed[same] * trials[same], trials[same]))
    return np.round(ends, 6)


def _quantile(ranked: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a quantile of each row by linear interpolation, as numpy's percentile does."""
    place = share * (ranked.shape[1] - 1)
    lower = np.minimum(np.floor(place).astype(np.int64), max(0, ranked.shape[1] - 2))
    rows = np.arange(len(ranked))
    low, high = ranked[rows, lower], ranked[rows, np.minimum(lower + 1, ranked.shape[1] - 1)]
    return low + (high - low) * (place - lower)  # type: ignore[no-any-return]


def wilson(hits: Any, rows: Any) -> tuple[Any, Any]:
    """Return the 95 % Wilson interval of a share; scipy has it too, in a module that is slow to import."""
    square = NORMAL**2
    middle = (hits + square / 2) / (rows + square)
    half = NORMAL / (rows + square) * (np.maximum(0.0, hits * (rows - hits)) / rows + square / 4) ** 0.5
    return middle - half, middle + half


def _weights_of_rows(stratum: NDArray[np.int64], draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how much each row counts in each draw, shape (rows, some draws), as many as memory allows."""
    together = max(1, MOST_WEIGHTS // (CHUNK * len(stratum))) * CHUNK
    for start, weights in zip(range(0, draws, CHUNK), _draws(stratum, draws, seed), strict=True):
        place = start % together
        if place == 0:
            block = np.empty((len(stratum), min(together, draws - start)))
        block[:, place : place + len(weights)] = weights.T
        if place + len(weights) == block.shape[1]:
            yield block


def _draws(stratum: NDArray[np.int64], draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how much each row counts in each draw, shape (some draws, rows)."""
    random = np.random.default_rng(seed)
    order = np.argsort(stratum, kind="stable")
    _, sizes = np.unique(stratum, return_counts=True)
    starts = np.cumsum(sizes) - sizes
    for start in range(0, draws, CHUNK):
        count = min(CHUNK, draws - start)
        # Dirichlet, not multinomial (Rubin 1981): the same mean and scatter, but no class is ever missing in a draw.
        shares = random.dirichlet(sizes, count) * len(stratum)
        weights = np.empty((count, len(stratum)))
        for some in _classes_together(sizes, count):
            within = _within(sizes[some], count, random) * np.repeat(shares[:, some], sizes[some], axis=1)
            weights[:, order[starts[some][0] : starts[some][-1] + sizes[some][-1]]] = within
        yield weights


def _classes_together(sizes: NDArray[np.int64], count: int) -> Iterator[slice]:
    """Yield slices of classes whose rows are picked in one call: a large class alone, and small ones together."""
    large, block = sizes >= LARGE, np.cumsum(sizes * count) // MOST_PICKS
    edges = np.flatnonzero(large[1:] | large[:-1] | (block[1:] > block[:-1])) + 1
    return itertools.starmap(slice, itertools.pairwise([0, *edges.tolist(), len(sizes)]))


def _within(sizes: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return the share of each row in its class in each draw, (count, rows), class after class; they add up to one.

    The picks are those of a call per class: numpy draws bounded integers one by one, in this order.
    """
    rows, taken = int(sizes.sum()), np.maximum(1, sizes - 1)
    if len(sizes) == 1:
        picked = random.integers(0, rows, (count, taken[0])) + np.arange(count)[:, None] * rows
    else:
        picks = count * taken  # of each class, draw by draw
        picked = random.integers(0, np.repeat(sizes, picks))
        number = np.arange(picks.sum()) - np.repeat(np.cumsum(picks) - picks, picks)
        picked += np.repeat(np.cumsum(sizes) - sizes, picks) + rows * (number // np.repeat(taken, picks))
    counts = np.bincount(picked.ravel(), minlength=count * rows).reshape(count, rows)
    return counts / np.repeat(taken, sizes)  # type: ignore[no-any-return]
