"""How far a score would scatter on other test rows of the same kind: 95 % bootstrap intervals.

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

from ftclf.label_sets import LabelSets, pieces, ratio
from ftclf.ranking import LabelRanks

DRAWS = 1000
RANKING_DRAWS = 400  # each weighs every label's first places
CHUNK = 50  # draws at a time: bounds the memory at 50 weights a row
MOST_PICKS = 2**21  # of draws x rows at a time
MOST_WEIGHTS = 2**24  # of draws x rows that are held for rankings: 128 MB
LEVEL = 95.0
NORMAL = 1.959964  # its quantile
LOSSES = ("log_loss", "hamming_loss")  # no shares of rows

Interval = tuple[float, float]
Sums = dict[str, NDArray[np.float64]]


@dataclass
class ScoreDraws:
    """The scores of every bootstrap draw of one split's rows, and those of the rows themselves.

    The draws depend on the targets and the seed alone: two classifiers scored on the same rows are drawn in pairs, and
    the differences of their scores are the paired bootstrap.
    """

    scores: dict[str, NDArray[np.float64]]  # (draws,) each
    observed: dict[str, float]
    rows: int
    per_class: dict[str, NDArray[np.float64]]  # intervals of each label's scores, (labels, 2) each; empty if unwanted

    def intervals(self) -> tuple[dict[str, Interval], list[dict[str, Interval]]]:
        """Return the intervals of the headline scores, and of precision, recall and F1 of each label."""
        return (
            {
                name: interval_of(values, self.observed[name], trials=None if name in LOSSES else self.rows)
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
    """Score several answers to the same rows on the same draws; the scores of each label are those of the first."""
    truth = LabelSets.of(targets)
    sets = [LabelSets.of(one) for one in chosen]
    sides = {id(one): _Side(one, truth, losses) for one in sets}
    for weights in _draws(truth.rarest(), draws, seed):
        there = truth.sums(weights)
        for place, side in enumerate(sides.values()):
            side.draw(weights, there, per_class=place == 0)
    scored = {name: side.scored(truth) for name, side in sides.items()}
    return [scored[id(one)] for one in sets]


class _Side:
    """One set of answers, and its scores on the draws so far."""

    def __init__(self, chosen: LabelSets, truth: LabelSets, losses: NDArray[np.float64]) -> None:
        self.chosen, self.hits = chosen, chosen & truth
        self.per_row = np.column_stack([chosen.same(truth), losses])
        self.scores: list[dict[str, NDArray[np.float64]]] = []
        self.per_class: list[dict[str, NDArray[np.float64]]] = []

    def draw(self, weights: NDArray[np.float64], there: NDArray[np.float64], *, per_class: bool) -> None:
        """Score some draws; `there` are the weights of the labels' rows, (draws, labels)."""
        sums = self.hits.sums(weights), self.chosen.sums(weights), there
        scores, rates = _scores(*sums, weights @ self.per_row, len(self.chosen))
        self.scores.append(scores)
        if per_class:
            self.per_class.append(rates)

    def scored(self, truth: LabelSets) -> ScoreDraws:
        hits, given, support = (one.per_label.astype(np.float64) for one in (self.hits, self.chosen, truth))
        per_row = self.per_row.sum(axis=0, keepdims=True)
        observed, rates = _scores(hits[None], given[None], support[None], per_row, len(truth))
        trials = {"precision": given, "recall": support, "f1": (given + support) / 2}
        per_class = {
            name: intervals_of(
                np.concatenate([one[name] for one in self.per_class]), rates[name][0], trials=trials[name]
            )
            for name in (trials if self.per_class else {})
        }
        return ScoreDraws(
            {name: np.concatenate([one[name] for one in self.scores]) for name in observed},
            {name: float(values[0]) for name, values in observed.items()},
            len(truth),
            per_class,
        )


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
            np.stack([one.drawn(weights) for one in ranks], axis=2)
            for weights in _weights_of_rows(truth.rarest(), draws, seed)
        ],
        axis=1,
    )  # (2, draws, labels)
    observed = np.array([[one.average_precision or 0.0, one.auroc or 0.0] for one in ranks]).T
    macro = interval_of(drawn[0][:, present].mean(axis=1), float(observed[0, present].mean()))
    found: dict[str, NDArray[np.float64]] = {}
    for name, values, of_rows, known in zip(
        ("average_precision", "auroc"), drawn, observed, (present, both), strict=True
    ):
        found[name] = np.full((len(ranks), 2), np.nan)
        found[name][known] = intervals_of(values[:, known], of_rows[known])
    return macro, _by_label(found)


def _by_label(found: dict[str, NDArray[np.float64]]) -> list[dict[str, Interval]]:
    """Turn intervals, (labels, 2) each, into those of each label; one that is not a number is left out."""
    if not found:
        return []
    columns = [[(name, pair) for pair in values.tolist()] for name, values in found.items()]
    return [
        {name: (low, high) for name, (low, high) in of_label if low == low} for of_label in zip(*columns, strict=True)
    ]


def _scores(
    hits: NDArray[np.float64],
    given: NDArray[np.float64],
    there: NDArray[np.float64],
    per_row: NDArray[np.float64],
    rows: int,
) -> tuple[Sums, Sums]:
    """Turn weighted sums into scores: of hits, given and true labels (draws, labels), of right rows and losses."""
    f1, labels = ratio(2 * hits, given + there), hits.shape[1]
    all_given, all_there, all_hits = given.sum(axis=1), there.sum(axis=1), hits.sum(axis=1)
    exact = per_row[:, 0] / rows
    scores = {
        "accuracy": exact,
        "subset_accuracy": exact,
        "macro_f1": f1.mean(axis=1),
        "micro_f1": ratio(2 * all_hits, all_given + all_there),
        "weighted_f1": ratio((f1 * there).sum(axis=1), all_there),
        "hamming_loss": (all_given + all_there - 2 * all_hits) / (rows * labels),
        "log_loss": per_row[:, 1] / rows,
    }
    return scores, {"precision": ratio(hits, given), "recall": ratio(hits, there), "f1": f1}


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
    found = np.column_stack([_quantile(ranked, ndtr(2 * bias + side * half)) for side in (-1, 1)])
    if trials is not None:
        same = (ranked[:, -1] - ranked[:, 0] < 1e-12) & (trials > 0)
        found[same] = np.column_stack(wilson(observed[same] * trials[same], trials[same]))
    return np.round(found, 6)


def _quantile(ranked: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one quantile of each row, between the two values beside it, as numpy's percentile does."""
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
    """Yield slices of the classes that have few rows together."""
    return itertools.starmap(slice, itertools.pairwise(pieces(sizes * count, MOST_PICKS)))


def _within(sizes: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return the share that each row of some classes has of its class in each draw: they add up to one.

    Shape (count, rows), the classes one after the other. What is picked is what a call for each class would pick.
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
