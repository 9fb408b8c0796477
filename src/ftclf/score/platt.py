"""Platt scaling: logistic regressions on one logit, of many labels at once, by Newton's method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data.label_sets import CELLS, LabelSets, chunks
from ftclf.score.probabilities import LABELS_AT_A_TIME

RIDGE = 1e-4  # penalty on the slope, which has no bound where few positives are separated perfectly
SAMPLED = 2**20  # logits: more are sampled for the start of the search
MOST_STEPS = 200
NEAR = 1e-5  # logits: after a step that moves no row by more, the error is about its square
ROUNDING = 1e-12  # by which a sum over the rows may be off
LOWEST = -700.0  # a logit: below, its exponential is more than float64 holds

Vector = NDArray[np.float64]
Fitted = tuple[Vector, Vector]  # slopes and offsets
# Slopes and offsets to the sums over rows, (6, labels): the log loss, its derivatives by slope and by offset, and those
# by slope twice, by slope and offset, by offset twice.
Sums = Callable[[Vector, Vector], NDArray[np.float64]]


def fit_all_labels(logits: NDArray[Any], targets: LabelSets) -> tuple[float, float] | None:
    """Return slope and offset of one regression on all logits (rows, labels); None if its slope is not positive."""
    start = np.array([1.0]), np.array([0.0])
    step = -(-logits.size // SAMPLED)
    if step > 1:
        every = np.zeros(len(logits), dtype=bool)
        every[::step] = True
        start = _fit_together(logits[::step], targets.take(every), start) or start
    fitted = _fit_together(logits, targets, start)
    return _rising(fitted[0][0], fitted[1][0]) if fitted else None


def fit_each_label(
    logits: NDArray[Any], targets: LabelSets, wanted: NDArray[np.bool_], start: tuple[float, float]
) -> list[tuple[float, float] | None]:
    """Return slope and offset of each label, (labels,); None if it is not wanted or its slope is not positive."""
    scalings: list[tuple[float, float] | None] = [None] * targets.labels
    places, rows_of = np.flatnonzero(wanted), targets.by_label()
    step = max(LABELS_AT_A_TIME, CELLS // max(1, len(logits)))
    for block in (places[at : at + step] for at in range(0, len(places), step)):
        z = np.ascontiguousarray(logits[:, block].T, dtype=np.float64)
        slopes, offsets = _fit_block(z, [rows_of[label] for label in block], start)
        for label, slope, offset in zip(block.tolist(), slopes, offsets, strict=True):
            scalings[label] = _rising(slope, offset)
    return scalings


def _rising(slope: float, offset: float) -> tuple[float, float] | None:
    return (float(slope), float(offset)) if slope > 0 and np.isfinite(offset) else None


def _fit_together(logits: NDArray[Any], targets: LabelSets, start: Fitted) -> Fitted | None:
    positives = np.float64(len(targets.ids))
    if not 0 < positives < logits.size:
        return None
    of_positives = sum(
        float(logits[rows][part.rows, part.ids].sum(dtype=np.float64))
        for rows in chunks(*logits.shape)
        for part in [targets.part(rows)]
    )

    def sums(slope: Vector, offset: Vector) -> Any:
        parts = (_sums(logits[rows].reshape(1, -1).astype(np.float64), slope, offset) for rows in chunks(*logits.shape))
        total = np.sum([*parts], axis=0)
        return total - _of_positives(slope, offset, of_positives, positives)

    ends = np.array([[float(logits.min()), float(logits.max())]])
    return _newton(sums, ends, start)


def _fit_block(z: NDArray[np.float64], positives: list[NDArray[np.int64]], start: tuple[float, float]) -> Fitted:
    """Fit the regressions of some labels, whose logits are (labels, rows)."""
    logits = np.array([of_label[rows].sum() for of_label, rows in zip(z, positives, strict=True)])
    counts = np.array([len(rows) for rows in positives], dtype=np.float64)
    ends = np.column_stack([z.min(axis=1), z.max(axis=1)])
    begin = np.full(len(z), start[0]), np.full(len(z), start[1])
    return _newton(lambda a, b: _sums(z, a, b) - _of_positives(a, b, logits, counts), ends, begin)


def _of_positives(slope: Vector, offset: Vector, logits: Any, count: Any) -> NDArray[np.float64]:
    """Return the part of the sums that the positives take off, from the sum of their logits and their number."""
    none = np.zeros(len(slope))
    return np.stack([slope * logits + offset * count, logits + none, count + none, none, none, none])


def _sums(z: NDArray[np.float64], slope: Vector, offset: Vector) -> NDArray[np.float64]:
    """Return the six sums over the rows of each label, (6, labels), before the positives are taken off."""
    x = z * slope[:, None]
    x += offset[:, None]
    np.maximum(x, LOWEST, out=x)
    p = np.negative(x)
    np.exp(p, out=p)
    p += 1
    loss = x.sum(axis=1) + np.log(p, out=x).sum(axis=1)
    np.divide(1, p, out=p)
    errors = np.einsum("ij,ij->i", p, z), p.sum(axis=1)
    p *= np.subtract(1, p, out=x)
    by_offset = p.sum(axis=1)
    p *= z
    return np.stack([loss, *errors, np.einsum("ij,ij->i", p, z), p.sum(axis=1), by_offset])


def _newton(sums: Sums, ends: NDArray[np.float64], start: Fitted) -> Fitted:
    """Return the slopes and offsets with the least log loss; a step that raises a label's loss is shortened.

    `ends` are the lowest and the highest logit of each label, (labels, 2).
    """

    def penalised(slope: Vector, offset: Vector) -> NDArray[np.float64]:
        none = np.zeros(len(slope))
        return sums(slope, offset) + RIDGE * np.stack([slope**2 / 2, slope, none, none + 1, none, none])

    at, share = np.stack(start), np.ones(len(start[0]))
    known = penalised(*at)
    for _ in range(MOST_STEPS):
        step = share * _direction(known)
        moved = np.abs(step[0][:, None] * ends + step[1][:, None]).max(axis=1)
        if moved.max() < NEAR:
            at = at - step
            break
        tried = penalised(*(at - step))
        lower = tried[0] <= known[0] + ROUNDING * np.abs(known[0])
        at, known = np.where(lower, at - step, at), np.where(lower, tried, known)
        share = np.where(lower, np.minimum(1.0, 2 * share), share / 4)
    return at[0], at[1]


def _direction(known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Newton step from the sums, (2, labels); 0 where they do not determine it."""
    _, by_slope, by_offset, slope_slope, slope_offset, offset_offset = known
    size = slope_slope * offset_offset - slope_offset**2
    along_slope = offset_offset * by_slope - slope_offset * by_offset
    along_offset = slope_slope * by_offset - slope_offset * by_slope
    none = np.zeros((2, len(size)))
    return np.divide(np.stack([along_slope, along_offset]), size, out=none, where=size > 0)  # type: ignore[no-any-return]
