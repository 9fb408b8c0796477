"""Which training rows an epoch has: all, or as many of each label as a sampler says.

Of several labels per row the rarest one counts; rows without labels are a group of their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ftclf.config import CappedSamplerConfig, SamplerConfig
from ftclf.data import Split
from ftclf.data.label_sets import LabelSets

Rows = NDArray[np.int64]


class Sampler:
    """The rows of an epoch in random order, a pure function of the generator: a resumed run draws the same ones.

    plain: each row once. balanced: as many rows as there are, of each label as many. sqrt: as many rows as there are,
    of each label by the square root of its rows. capped: at most `cap` rows per label, others each time.
    """

    def __init__(self, config: SamplerConfig, split: Split) -> None:
        group = split.labels if split.labels.ndim == 1 else LabelSets.of(split.labels).rarest()
        order = np.argsort(group, kind="stable")
        _, counts = np.unique(group, return_counts=True)
        self.groups = np.split(order, np.cumsum(counts)[:-1])
        self.plain = config.kind == "plain"
        self.shares = _shares(counts, config)

    @property
    def rows(self) -> int:
        """Rows per epoch."""
        return int(self.shares.sum())

    def label_rows(self, sets: LabelSets) -> NDArray[np.float64]:
        """Return how many rows of each label an epoch has, (labels,); `sets` are the labels of all rows."""
        times = np.empty(len(sets))  # that a row is drawn in an epoch
        for rows, share in zip(self.groups, self.shares.tolist(), strict=True):
            times[rows] = share / len(rows)
        return np.bincount(sets.ids, weights=times[sets.rows], minlength=sets.labels).astype(np.float64)

    def draw(self, random: np.random.Generator) -> Rows:
        """Return the rows of an epoch, (rows,); one that is drawn twice has all others of its label drawn before."""
        if self.plain:
            return random.permutation(self.rows)
        drawn = [_repeated(rows, share, random) for rows, share in zip(self.groups, self.shares.tolist(), strict=True)]
        return random.permutation(np.concatenate(drawn))


def _repeated(rows: Rows, share: int, random: np.random.Generator) -> Rows:
    times, rest = divmod(share, len(rows))
    return np.concatenate([np.tile(rows, times), random.permutation(rows)[:rest]])


def _by_weight(counts: Rows, weights: NDArray[np.float64]) -> Rows:
    """Share out all rows by weights, at least one per label; rounding favours the largest remainders."""
    exact = np.maximum(1.0, counts.sum() * weights / weights.sum())
    shares = np.floor(exact).astype(np.int64)
    left = max(0, int(counts.sum() - shares.sum()))
    shares[np.argsort(shares - exact, kind="stable")[:left]] += 1
    return np.asarray(shares)


def _shares(counts: Rows, config: SamplerConfig) -> Rows:
    """Return how many rows of each group an epoch has."""
    if isinstance(config, CappedSamplerConfig):
        return np.minimum(counts, config.cap)
    if config.kind == "plain":
        return counts
    return _by_weight(counts, counts.astype(np.float64) ** (0.5 if config.kind == "sqrt" else 0.0))
