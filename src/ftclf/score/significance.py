"""Whether one classifier is better than another on the same test rows, or both are equal for all practical purposes.

Nothing here reads or prints. A side is one run, or the runs of one config under several seeds: what is compared is the
config then, and the chance of the seed counts beside the chance of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from ftclf.data.label_sets import LabelSets
from ftclf.score.bootstrap import Interval, ScoreDraws, draw_scores, interval_of
from ftclf.score.metrics import Labels

MARGIN = 0.01
ALPHA = 0.05
# Two runs of one config under two seeds are two checkpoints whose true scores differ a little, and neither the
# bootstrap nor McNemar's test sees that. Where seeds deviate by 0.25 points of accuracy and 5,427 rows are scored, p
# below 5 % would call one config better or worse in 9 of 100 pairs (20 % of the rows flip), 12 (10 %) or 19 (5 %); p
# below 1 % and a difference of at least the margin of 0.01 do so in 2, 4 and 3 (200,000 draws of the rows that flip;
# scripts/simulate tries 200 whole pairs).
ALPHA_ONE_SEED = 0.01
EXACT = ("accuracy", "subset_accuracy")  # the share of rows that are right: McNemar's test is about it


@dataclass(frozen=True)
class Outcome:
    """What one run did on the test rows."""

    chosen: Labels  # sets, or truth values (rows, labels)
    targets: Labels
    losses: NDArray[np.float64]  # (rows,)

    @cached_property
    def answers(self) -> LabelSets:
        """The labels that each row was given."""
        return LabelSets.of(self.chosen)

    @cached_property
    def truth(self) -> LabelSets:
        """The labels that each row has."""
        return LabelSets.of(self.targets)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Which rows have exactly their labels, shape (rows,)."""
        return self.answers.same(self.truth)

    @cached_property
    def draws(self) -> ScoreDraws:
        """The scores of every bootstrap draw; the draws are the same for all runs on the same rows."""
        return draw_scores(self.answers, self.truth, self.losses)


@dataclass(frozen=True)
class Side:
    """One run, or the runs of one config under several seeds."""

    name: str
    outcomes: tuple[Outcome, ...]

    @property
    def seeds(self) -> int:
        return len(self.outcomes)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which rows more than half of the seeds got right, shape (rows,)."""
        return np.mean([one.right for one in self.outcomes], axis=0) > 0.5  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Difference:
    """Run A against run B on the same rows: by how much A's scores exceed B's, and whether that is more than chance."""

    a: str
    b: str
    seeds: tuple[int, int]
    score: str  # the one that the p-value and the verdict are about; higher is better
    scores: dict[str, tuple[float, float, float]]  # A - B and its 95 % interval, as shares
    mcnemar: float | None  # of the rows that are right; None between several seeds
    p_value: float  # of the score; McNemar's where the score is the share of rows that are right
    p_corrected: float  # Holm, over all comparisons that were made together
    margin: float
    equal_within: bool  # the 90 % interval of the score lies inside +-margin: two one-sided tests at 5 %
    only_a_right: int  # rows that A got right and B did not; several seeds: more than half of them
    only_b_right: int

    @property
    def one_seed(self) -> bool:
        """Whether two checkpoints were compared, of which the chance of the seed is not known."""
        return self.seeds == (1, 1)

    @property
    def verdict(self) -> str:
        """One of "better", "worse", "equal within 0.01" and "inconclusive".

        Equal comes first: on many rows a difference that is too small to matter, or the seed's alone, is significant.
        """
        value = self.scores[self.score][0]
        if self.equal_within:
            return f"equal within {self.margin:g}"
        if self.p_corrected >= (ALPHA_ONE_SEED if self.one_seed else ALPHA):
            return "inconclusive"
        if self.one_seed and abs(value) < self.margin:
            return "inconclusive"
        return "better" if value > 0 else "worse"


def differences(sides: Sequence[Side], reference: Side, *, score: str, margin: float = MARGIN) -> list[Difference]:
    """Compare every other side with the reference; the p-values are not corrected yet: see `corrected`."""
    return [difference(side, reference, score=score, margin=margin) for side in sides if side is not reference]


def difference(a: Side, b: Side, *, score: str, margin: float = MARGIN) -> Difference:
    """Compare two sides on the same rows. Raises ValueError where the rows are not the same."""
    for one in (*a.outcomes, *b.outcomes):
        if not one.truth.equals(b.outcomes[0].truth):
            raise ValueError(f"{a.name} and {b.name} have different test rows")
    paired = a.seeds == b.seeds == 1
    found = _one_seed(a.outcomes[0], b.outcomes[0], score) if paired else _several_seeds(a, b, score)
    only_a, only_b = int((a.right & ~b.right).sum()), int((b.right & ~a.right).sum())
    mcnemar = mcnemar_exact(only_a, only_b) if paired else None
    p_value = mcnemar if mcnemar is not None and score in EXACT else found.p_value
    low, high = found.inner
    return Difference(
        a=a.name,
        b=b.name,
        seeds=(a.seeds, b.seeds),
        score=score,
        scores=found.scores,
        mcnemar=mcnemar,
        p_value=p_value,
        p_corrected=p_value,
        margin=margin,
        equal_within=-margin < low and high < margin,
        only_a_right=only_a,
        only_b_right=only_b,
    )


def corrected(found: Sequence[Difference]) -> list[Difference]:
    """Return the comparisons with their p-values corrected for all of them, by Holm's method."""
    values = np.array([one.p_value for one in found])
    order = np.argsort(values, kind="stable")
    grown = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1.0)
    return [replace(one, p_corrected=float(grown[place])) for one, place in zip(found, np.argsort(order), strict=True)]


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Return the p-value of McNemar's exact test of the rows that one side alone got right."""
    from scipy.special import bdtr

    return float(min(1.0, 2 * bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


@dataclass(frozen=True)
class _Found:
    scores: dict[str, tuple[float, float, float]]
    p_value: float
    inner: Interval  # 90 % interval of the score


def _one_seed(a: Outcome, b: Outcome, score: str) -> _Found:
    """Paired bootstrap of two checkpoints: both are scored on the same draws of the rows."""
    draws, observed = a.draws.less(b.draws), a.draws.observed_less(b.draws)
    scores = {name: (observed[name], *interval_of(values, observed[name])) for name, values in draws.items()}
    changed = int((~a.answers.same(b.answers)).sum())
    # With few rows that differ all draws can agree by chance. Exchanging n rows has 2^n outcomes: no p is below this.
    least = min(1.0, 2.0 ** (1 - changed))
    p_value = max(least, _two_sided(observed[score], float(draws[score].std(ddof=1)), math.inf))
    return _Found(scores, p_value, interval_of(draws[score], observed[score], level=90))


def _several_seeds(a: Side, b: Side, score: str) -> _Found:
    """Compare configs by the means over their seeds, with the chance of rows and of seeds."""
    from scipy.stats import t

    scores: dict[str, tuple[float, float, float]] = {}
    for name in a.outcomes[0].draws.scores:
        value, error, freedom = mean_difference(a, b, name)
        half = float(t.ppf(0.975, freedom)) * error
        scores[name] = (value, value - half, value + half)
    value, error, freedom = mean_difference(a, b, score)
    half = float(t.ppf(0.95, freedom)) * error
    return _Found(scores, _two_sided(value, error, freedom), (value - half, value + half))


def mean_difference(a: Side, b: Side, score: str) -> tuple[float, float, float]:
    """Return the difference of the means over seeds, its standard error and the degrees of freedom of that.

    A seed is to a config what a reader is to a test in diagnostic studies of many readers and many cases: readers
    nested within the test, cases crossed with both. The variance of the difference is that between seeds, as observed,
    over the number of seeds, and the part of the rows' chance that seeds of one config share beyond what the configs
    share (Obuchowski and Rockette 1995; Hillis 2014). The rows' covariances come from the bootstrap; degrees of freedom
    as in Hillis 2007, for the variance between seeds alone is uncertain. A bootstrap over 2 to 5 seeds would be too
    narrow: its variance is (n - 1) / n of the right one, and it knows no t. Where a side has one seed, seeds scatter on
    it as on the other.
    """
    values = [[one.draws.observed[score] for one in side.outcomes] for side in (a, b)]
    freedom = a.seeds + b.seeds - 2
    spread = sum((value - fmean(side)) ** 2 for side in values for value in side) / freedom
    seeds = spread * (1 / a.seeds + 1 / b.seeds)
    rows = np.cov([one.draws.scores[score] for one in (*a.outcomes, *b.outcomes)])
    shared = _shared(rows, a.seeds)
    variance = seeds + shared
    known = variance**2 / (seeds**2 / freedom) if seeds > 0 else math.inf
    return fmean(values[0]) - fmean(values[1]), math.sqrt(variance), known


def _shared(rows: NDArray[np.float64], count: int) -> float:
    """Return the rows' variance that two seeds of one config share, less what two configs share, for both; at least 0.

    `rows` is the covariance of the scores over the draws, the first `count` of one config.
    """
    first = np.arange(len(rows)) < count
    same = (first[:, None] == first) & ~np.eye(len(rows), dtype=bool)
    across = first[:, None] != first
    return 2 * max(0.0, float(rows[same].mean() - rows[across].mean()))


def _two_sided(value: float, error: float, freedom: float) -> float:
    """Return the p-value of a difference by its standard error: 1 where there is none."""
    from scipy.stats import t

    if value == 0:
        return 1.0
    return float(2 * t.sf(abs(value) / error, freedom)) if error > 0 else 0.0
