"""Ranks of a label's positive rows: average precision and AUROC, of the rows and of bootstrap draws.

Both depend on how many negatives lie between the positives, not on the order of the negatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ftclf.data.label_sets import LabelSets, ratio
from ftclf.score.probabilities import Probabilities

# Rows on the first places of a label are weighed one by one in each draw, the others share the weight that is left. Up
# to 4,000,000 rows x labels all rows above the last positive are weighed, and those below it change no score.
FIRST_PLACES = 4_000_000  # of all labels together
FIRST_PLACES_PER_POSITIVE = 8  # at least
ROUNDING = 1e-12  # of a sum of weights, per row
MOST_SUMS = 2**20  # of draws x positives at a time


@dataclass(frozen=True, eq=False)
class LabelRanks:
    """A label's positive rows in groups of equal scores, from the highest, and the negatives around each group.

    Part 2 g of the negatives lies above group g (and below the one before it), part 2 g + 1 has its very score.
    """

    rows: int
    positives: NDArray[np.int64]  # rows
    group: NDArray[np.int64]  # of each of the positives
    parts: NDArray[np.int64]  # how many negatives each part has, (2 groups + 1,)
    first: NDArray[np.int32]  # negative rows on the first places
    first_part: NDArray[np.int32]  # of each of those
    scores: NDArray[np.float64]  # of each group

    @property
    def average_precision(self) -> float | None:
        """None where no row has the label."""
        return float(self._observed[0, 0]) if len(self.positives) else None

    @property
    def auroc(self) -> float | None:
        """None where no row has the label, or all have it."""
        return float(self._observed[1, 0]) if 0 < len(self.positives) < self.rows else None

    @property
    def hits(self) -> NDArray[np.int64]:
        """How many positives stand above the end of each group, (groups,)."""
        return np.cumsum(np.bincount(self.group, minlength=len(self.scores)))

    @property
    def taken(self) -> NDArray[np.int64]:
        """How many rows stand above the end of each group, (groups,)."""
        return self.hits + np.cumsum(self.parts)[1::2]

    @cached_property
    def _observed(self) -> NDArray[np.float64]:
        groups = np.bincount(self.group, minlength=len(self.scores))[:, None].astype(np.float64)
        return _scores(groups, self.parts[:, None].astype(np.float64))

    def drawn(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return average precision and AUROC for weights of the rows (rows, draws), which add up to the rows.

        Shape (2, draws).
        """
        groups = len(self.scores)
        if groups == 0:
            return np.zeros((2, weights.shape[1]))
        step = max(1, MOST_SUMS // (3 * groups + 1))
        scores = [self._drawn(weights[:, start : start + step]) for start in range(0, weights.shape[1], step)]
        return np.concatenate(scores, axis=1)

    def _drawn(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy.sparse import csr_array

        groups, parts = len(self.scores), len(self.parts)
        places = np.concatenate([self.first_part, parts + self.group])
        rows = np.concatenate([self.first, self.positives])
        order = np.argsort(places, kind="stable")
        starts = np.searchsorted(places[order], np.arange(parts + groups + 1))
        shape = parts + groups, self.rows
        sums = csr_array((np.ones(len(rows)), rows[order], starts), shape=shape) @ weights
        negatives, positives = sums[:parts], sums[parts:]
        others = self.parts - np.bincount(self.first_part, minlength=parts)
        if others.any():  # they share what is left of the weight
            left = self.rows - sums.sum(axis=0)
            left[left < ROUNDING * self.rows] = 0.0  # else a draw without any of them would rank what is not there
            negatives += others[:, None] * (left / others.sum())
        return _scores(positives, negatives)


def _scores(positives: NDArray[np.float64], parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return average precision and AUROC, (2, draws), of the weights of positives (groups, draws) and of the parts."""
    hits, others = np.cumsum(positives, axis=0), np.cumsum(parts, axis=0)
    above, upto = others[:-1:2], others[1::2]
    precision = (positives * ratio(hits, hits + upto)).sum(axis=0)
    below = (positives * (others[-1] - (above + upto) / 2)).sum(axis=0)
    return np.stack([ratio(precision, hits[-1]), ratio(below, hits[-1] * others[-1])])


def ranks_of_labels(probabilities: Probabilities, targets: LabelSets, *, drawn: bool) -> list[LabelRanks]:
    """Return the ranks of each label's positive rows; `drawn` says whether draws of the rows will be scored too."""
    least = FIRST_PLACES // targets.labels if drawn else 0
    each = FIRST_PLACES_PER_POSITIVE if drawn else 0
    return [
        rank_label(scores, positives, places=least + each * len(positives))
        for scores, positives in zip(probabilities.columns(), targets.by_label(), strict=True)
    ]


def rank_label(scores: NDArray[np.float64], positives: NDArray[np.int64], *, places: int) -> LabelRanks:
    """Return the ranks of one label's positive rows by their scores, (rows,)."""
    levels, group = np.unique(-scores[positives], return_inverse=True)
    lowest = -levels[-1] if len(levels) else np.inf
    ranked = np.sort(scores[scores >= lowest])  # what lies below the last positive is one part
    parts = _parts(ranked, levels, group, len(scores))
    first = _first(scores, ranked, places)
    first[positives] = False
    rows = np.flatnonzero(first)
    part = _part(-scores[rows], levels)
    return LabelRanks(len(scores), positives, group, parts, rows.astype(np.int32), part.astype(np.int32), -levels)


def _parts(
    ranked: NDArray[np.float64], levels: NDArray[np.float64], group: NDArray[np.int64], rows: int
) -> NDArray[np.int64]:
    """Count the negatives of each part, (2 groups + 1,), from the ranks of the levels."""
    equal_or_above = len(ranked) - np.searchsorted(ranked, -levels, side="left")
    above = len(ranked) - np.searchsorted(ranked, -levels, side="right")
    upto = np.ravel(np.column_stack([above, equal_or_above]))  # rows down to the end of each part, but for the last
    counts = np.diff(np.concatenate([[0], upto, [rows]]))
    counts[1::2] -= np.bincount(group, minlength=len(levels))
    return counts


def _first(scores: NDArray[np.float64], ranked: NDArray[np.float64], places: int) -> NDArray[np.bool_]:
    """Return which rows stand on the first places, and not below the last positive, (rows,).

    Rows of one score count all, or none if they exceed the places.
    """
    if not len(ranked) or not places:
        return np.zeros(len(scores), dtype=bool)
    cut = ranked[max(0, len(ranked) - places)]
    first = scores >= cut
    return np.asarray(first if np.count_nonzero(first) <= places else scores > cut)


def _part(falling: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the part of each of these negated scores; `levels` are the groups' negated scores, rising."""
    left = np.searchsorted(levels, falling, side="left")
    return left + np.searchsorted(levels, falling, side="right")
