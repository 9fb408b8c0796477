"""From probabilities to labels: rules, and the exact choice of their thresholds on validation.

A rule is stored in the checkpoint as plain json that a person may edit. Thresholds are chosen over the scores that
occur, never a grid, and never on test.

What is maximised is F where each row counts its calibrated probability (the expected F, Ye et al. 2012; its threshold
is half of the best F, Lipton et al. 2014), or where it counts its label. The former learns from validation no more than
the two numbers of a label's scaling: over halves of GoEmotions' validation rows it gave 0.5 points of macro F1 more on
the other half than thresholds that follow the labels and their noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.config import DecisionConfig
from ftclf.config.settings import setting
from ftclf.errors import short

NEVER = 2  # a threshold that no probability reaches may be as high
Probabilities = NDArray[np.float64]  # (rows, labels)
Targets = NDArray[np.bool_]  # (rows, labels)
Counted = NDArray[Any]  # (rows, labels): what a row counts as a hit of a label, its truth or its probability


@dataclass
class Decision:
    """One rule. `at_least_one`: a row that no label reaches gets its most probable one."""

    rule: str = setting("argmax", "", choices=("argmax", "top_k", "threshold", "thresholds"))
    thresholds: list[float] = field(default_factory=list)  # one for all labels, or one each
    k: int = setting(1, "labels per row with rule top_k", low=1, high=1000)
    at_least_one: bool = False
    objective: str = ""  # what the thresholds were chosen for
    guarded: list[str] = field(default_factory=list)  # labels with too few positives for a threshold of their own
    abstain_below: float | None = setting(None, "rows that are less sure than this are not answered", low=0, high=2)
    wanted_precision: float | None = setting(None, "what `abstain_below` was chosen for", low=0, high=1)

    def problem(self, task: str, label_names: list[str]) -> str:
        """Return why this is no rule for these labels, or nothing; files may be edited."""
        if task == "single_label" and self.rule != "argmax":
            return f"decision.rule is {self.rule}, allowed with one label per row: argmax"
        if self.rule in ("threshold", "thresholds") and len(self.thresholds) not in (1, len(label_names)):
            return f"decision has {len(self.thresholds)} thresholds for {len(label_names)} labels"
        if not all(0 <= threshold <= NEVER for threshold in self.thresholds):
            return f"decision.thresholds are not all between 0 and {NEVER}"
        if unknown := set(self.guarded) - set(label_names):
            return f"decision.guarded names '{short(min(unknown))}', which is no label"
        return ""

    def decide(self, probabilities: Probabilities) -> Targets:
        """Return which labels each row gets, shape (rows, labels)."""
        best = np.zeros(probabilities.shape, dtype=bool)
        k = self.k if self.rule == "top_k" else 1
        np.put_along_axis(best, np.argsort(-probabilities, axis=1, kind="stable")[:, :k], values=True, axis=1)
        if self.rule in ("argmax", "top_k"):
            return best
        chosen = probabilities >= np.asarray(self.thresholds)
        if self.at_least_one:
            chosen |= best & ~chosen.any(axis=1, keepdims=True)
        return chosen


def choose_decision(
    probabilities: Probabilities, targets: Targets, wanted: DecisionConfig, label_names: list[str]
) -> Decision:
    """Choose the thresholds of a rule that are best for an objective on these rows (validation).

    Where the labels observed are counted, one with fewer than `min_positives` positives takes the expected threshold
    all the same: its observed one would be noise.
    """
    rule, objective, beta = wanted.rule, wanted.objective, wanted.beta
    expected = wanted.search == "expected" or (wanted.search == "auto" and wanted.calibration != "none")
    counted = probabilities if expected else targets
    if rule in ("argmax", "top_k"):
        return Decision(rule=rule, k=wanted.k)
    if objective == "subset_accuracy":
        return Decision("threshold", [best_subset_threshold(probabilities, targets)], 1, True, objective)
    if rule == "threshold":
        single = best_single_threshold(probabilities, counted, objective=objective, beta=beta)
        return Decision(rule, [single], objective=objective)
    few = targets.sum(axis=0) < wanted.min_positives
    thresholds = np.where(
        few,
        _own_thresholds(probabilities, probabilities, objective, beta=beta),
        _own_thresholds(probabilities, counted, objective, beta=beta),
    )
    guarded = [name for name, is_few in zip(label_names, few, strict=True) if is_few]
    return Decision(rule, thresholds.tolist(), objective=objective, guarded=guarded)


def _own_thresholds(probabilities: Probabilities, counted: Counted, objective: str, *, beta: float) -> list[float]:
    if objective == "micro_f1":
        return best_micro_thresholds(probabilities, counted, beta=beta)
    return [best_label_threshold(p, c, beta=beta) for p, c in zip(probabilities.T, counted.T, strict=True)]


def best_label_threshold(scores: NDArray[np.float64], positive: NDArray[Any], *, beta: float = 1.0) -> float:
    """Return the threshold of one label with the best F-beta; 1.0 (never) where there is no positive."""
    order, cuts = _cuts(scores)
    if not positive.any():
        return 1.0
    hits = np.cumsum(positive[order])[cuts - 1]
    b = beta * beta
    f = (1 + b) * hits / (cuts + b * positive.sum())
    return _between(scores[order], int(cuts[np.argmax(f)]))


def best_micro_thresholds(probabilities: Probabilities, targets: Counted, *, beta: float = 1.0) -> list[float]:
    """Return the threshold of each label that together give the best micro F-beta.

    Dinkelbach's iteration: for a value F each label alone maximises (1 + b) hits - F predicted; the best F is the one
    that its own choice attains. It rises every round and ends at the optimum.
    """
    b = beta * beta
    columns = [(p, *_cuts(p), t) for p, t in zip(probabilities.T, targets.T, strict=True)]
    value = 0.0
    while True:
        chosen, hits, predicted = [], 0.0, 0
        for _, order, cuts, positive in columns:
            found = np.concatenate([[0], np.cumsum(positive[order])[cuts - 1]])
            count = np.concatenate([[0], cuts])
            best = int(np.argmax((1 + b) * found - value * count))
            chosen.append(int(count[best]))
            hits, predicted = hits + float(found[best]), predicted + int(count[best])
        attained = (1 + b) * hits / max(1e-12, predicted + b * targets.sum())
        if attained <= value + 1e-12:
            return [_between(p[order], count) for (p, order, _, _), count in zip(columns, chosen, strict=True)]
        value = attained


def best_single_threshold(
    probabilities: Probabilities, targets: Counted, *, objective: str, beta: float = 1.0
) -> float:
    """Return the one threshold for all labels with the best macro or micro F-beta."""
    scores, positive = probabilities.ravel(), targets.ravel()
    order, cuts = _cuts(scores)
    b = beta * beta
    if objective == "micro_f1":
        f = (1 + b) * np.cumsum(positive[order])[cuts - 1] / (cuts + b * positive.sum())
        return _between(scores[order], int(cuts[np.argmax(f)]))
    # Each label's F changes only at its own scores: add up the changes along all scores.
    labels = targets.shape[1]
    label = np.tile(np.arange(labels), targets.shape[0])[order]
    change = np.zeros(len(order))
    for index in range(labels):
        where = np.flatnonzero(label == index)
        f = (1 + b) * np.cumsum(positive[order][where]) / (np.arange(1, len(where) + 1) + b * targets[:, index].sum())
        change[where] = np.diff(np.concatenate([[0.0], f]))
    return _between(scores[order], int(cuts[np.argmax(np.cumsum(change)[cuts - 1])]))


def best_subset_threshold(probabilities: Probabilities, targets: Targets) -> float:
    """Return the one threshold with the most rows exactly right, where every row gets at least its best label.

    A row is right for thresholds above its highest wrong label and up to its lowest right one; where its only label is
    also its most probable, for every threshold above that too. The best threshold lies in the most intervals.
    """
    low = np.where(targets, -np.inf, probabilities).max(axis=1)
    high = np.where(targets, probabilities, np.inf).min(axis=1)
    alone = (targets.sum(axis=1) == 1) & targets[np.arange(len(targets)), probabilities.argmax(axis=1)]
    high = np.where(alone, np.inf, high)
    inside = (low < high) & targets.any(axis=1)  # a row without labels always gets one, and is never right
    low, high = low[inside], high[inside]
    candidates = np.unique(np.append(high[np.isfinite(high)], 1.0 + 1e-9))
    # right at t: low < t <= high
    right = np.searchsorted(np.sort(low), candidates, "left") - np.searchsorted(np.sort(high), candidates, "left")
    best = float(candidates[np.argmax(right)])
    below = low[low < best]
    return (best + float(below.max())) / 2 if len(below) and np.isfinite(below.max()) else best


def _cuts(scores: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the order from the highest score, and how many are taken at each place where a threshold can stand."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    cuts = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True)) + 1
    return order, cuts


def _between(ranked: NDArray[np.float64], count: int) -> float:
    """Return a threshold that takes the first `count` of scores that fall: half way to the next one."""
    if count == 0:
        return float(min(1.0, ranked[0] + 1e-6)) if ranked[0] < 1 else 1.0 + 1e-9
    if count == len(ranked):
        return float(ranked[-1]) / 2
    middle = (float(ranked[count - 1]) + float(ranked[count])) / 2
    return middle if middle > ranked[count] else float(ranked[count - 1])
