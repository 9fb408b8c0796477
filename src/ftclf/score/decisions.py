"""From probabilities to labels: rules, and the exact choice of their thresholds on validation.

A rule is stored in the checkpoint as plain json that a person may edit. Thresholds are chosen over the scores that
occur, never a grid, and never on test.

What is maximised is F where each row counts its calibrated probability (the expected F, Ye et al. 2012; its threshold
is half of the best F, Lipton et al. 2014), or where it counts its label. The former learns from validation no more than
the two numbers of a label's scaling: over halves of GoEmotions' validation rows it gave 0.5 points of macro F1 more on
the other half than thresholds that follow the labels and their noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.config import DecisionConfig
from ftclf.config.settings import setting
from ftclf.data.label_sets import LabelSets
from ftclf.score.metrics import Given, Labels, f_score
from ftclf.score.probabilities import Dense, Probabilities
from ftclf.score.ranking import LabelRanks, rank_label
from ftclf.score.task import Task
from ftclf.system.errors import short

Truth = Labels | None  # the labels that count as hits; None: each row counts as a hit by its probability
MOST_SORTED = 2**22  # rows x labels: above, the single threshold for all labels is the best of CANDIDATES scores
CANDIDATES = 4096
SAMPLED = 2**20  # rows x labels: a sample for the candidates and for the start of a search
NEVER = 2  # a threshold that no probability reaches may be as high


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

    def problem(self, task: Task, label_names: list[str]) -> str:
        """Return why this is no rule for these labels, or nothing; files may be edited."""
        if self.rule not in task.rules:
            return f"decision.rule is {self.rule}, allowed with {task.name}: {', '.join(task.rules)}"
        if self.rule in ("threshold", "thresholds") and len(self.thresholds) not in (1, len(label_names)):
            return f"decision has {len(self.thresholds)} thresholds for {len(label_names)} labels"
        if not all(0 <= threshold <= NEVER for threshold in self.thresholds):
            return f"decision.thresholds are not all between 0 and {NEVER}"
        if unknown := set(self.guarded) - set(label_names):
            return f"decision.guarded names '{short(min(unknown))}', which is no label"
        return ""

    def decide(self, probabilities: Dense) -> NDArray[np.bool_]:
        """Return which labels each row gets, shape (rows, labels)."""
        if self.rule in ("argmax", "top_k"):
            return _most_probable(probabilities, self.k if self.rule == "top_k" else 1)
        chosen = probabilities >= np.asarray(self.thresholds)
        if self.at_least_one:
            none = np.flatnonzero(~chosen.any(axis=1))
            chosen[none, probabilities[none].argmax(axis=1)] = True
        return chosen


def decide_all(decisions: Iterable[Decision], probabilities: Given) -> list[LabelSets]:
    """Return the labels that each rule gives to each row; equal rules share their sets."""
    rules = [*decisions]
    named = [(rule.rule, *rule.thresholds, rule.k, rule.at_least_one) for rule in rules]
    different = dict(zip(named, rules, strict=True))  # the configured rule is often among the others
    parts: dict[Any, list[LabelSets]] = {name: [] for name in different}
    for _, part in Probabilities.of(probabilities).chunks():
        for name, rule in different.items():
            parts[name].append(LabelSets.of(rule.decide(part)))
    sets = {name: LabelSets.stacked(of_rule) for name, of_rule in parts.items()}
    return [sets[name] for name in named]


def _most_probable(probabilities: Dense, count: int) -> NDArray[np.bool_]:
    """Return the most probable labels of each row, of equal ones the first, (rows, labels)."""
    chosen, rows = np.zeros(probabilities.shape, dtype=bool), np.arange(len(probabilities))
    if count == 1:
        chosen[rows, probabilities.argmax(axis=1)] = True
        return chosen
    count = min(count, probabilities.shape[1])
    last = np.partition(probabilities, -count, axis=1)[:, -count, None]
    chosen |= probabilities > last
    equal = probabilities == last
    return np.asarray(
        chosen | (equal & (np.cumsum(equal, axis=1) <= count - np.count_nonzero(chosen, axis=1)[:, None]))
    )


def choose_decision(probabilities: Given, targets: Labels, wanted: DecisionConfig, label_names: list[str]) -> Decision:
    """Choose the thresholds of a rule that are best for an objective on these rows (validation).

    Where the labels observed are counted, one with fewer than `min_positives` positives takes the expected threshold
    all the same: its observed one would be noise.
    """
    given, truth = Probabilities.of(probabilities), LabelSets.of(targets)
    rule, objective, beta = wanted.rule, wanted.objective, wanted.beta
    expected = wanted.search == "expected" or (wanted.search == "auto" and wanted.calibration != "none")
    if rule in ("argmax", "top_k"):
        return Decision(rule=rule, k=wanted.k)
    if objective == "subset_accuracy":
        return Decision("threshold", [best_subset_threshold(given, truth)], 1, True, objective)
    if rule == "threshold":
        single = best_single_threshold(given, None if expected else truth, objective=objective, beta=beta)
        return Decision(rule, [single], objective=objective)
    few = truth.per_label < wanted.min_positives
    guarded = [name for name, is_few in zip(label_names, few, strict=True) if is_few]
    best = best_micro_thresholds if objective == "micro_f1" else best_label_thresholds
    thresholds = best(given, None, beta=beta) if expected or few.any() else []
    if not expected:
        observed = best(given, truth, beta=beta)
        thresholds = np.where(few, thresholds, observed).tolist() if few.any() else observed
    return Decision(rule, thresholds, objective=objective, guarded=guarded)


def best_label_thresholds(probabilities: Given, truth: Truth, *, beta: float = 1.0) -> list[float]:
    """Return the threshold of each label with its best F-beta; 1.0 (never) for a label without a positive."""
    given = Probabilities.of(probabilities)
    if truth is None:
        return [best_expected_threshold(scores, beta=beta) for scores in given.columns()]
    pairs = zip(given.columns(), LabelSets.of(truth).by_label(), strict=True)
    return [best_observed_threshold(scores, positives, beta=beta) for scores, positives in pairs]


def best_expected_threshold(scores: NDArray[np.float64], *, beta: float = 1.0) -> float:
    """Return the threshold of a label with the best expected F-beta, for scores that are calibrated probabilities.

    At the optimum every score above F / (1 + b) is taken: lower scores are dropped until none is left to drop.
    """
    total, taken = scores.sum(), scores
    if total <= 0:
        return 1.0
    while True:
        kept = taken[(1 + beta * beta) * taken > f_score(taken.sum(), len(taken), total, beta=beta)]
        if len(kept) in (0, len(taken)):  # none: the scores are so small that rounding makes them equal
            return _below(scores, float(taken.min()))
        taken = kept


def best_observed_threshold(scores: NDArray[np.float64], positives: NDArray[np.int64], *, beta: float = 1.0) -> float:
    """Return the threshold of a label with the best F-beta on rows of which the positives are known."""
    if not len(positives):
        return 1.0
    ranks = rank_label(scores, positives, places=0)
    f = f_score(ranks.hits, ranks.taken, len(positives), beta=beta)
    return _below(scores, float(ranks.scores[np.argmax(f)]))


def best_micro_thresholds(probabilities: Given, truth: Truth, *, beta: float = 1.0) -> list[float]:
    """Return the threshold of each label that together give the best micro F-beta.

    Dinkelbach's iteration: for a value F each label alone maximises (1 + b) hits - F predicted; the best F is the one
    that its own choice attains. It rises every round and ends at the optimum.
    """
    given = Probabilities.of(probabilities)
    if truth is not None:
        return _observed_micro_thresholds(given, LabelSets.of(truth), beta)
    step = -(-given.values.size // SAMPLED)
    start = _expected_micro(given.every(step), 0.0, beta) if step > 1 else 0.0
    cut = _expected_micro(given, start, beta) / (1 + beta * beta)
    lowest, highest = np.full(given.shape[1], np.inf), np.full(given.shape[1], -np.inf)
    for _, part in given.chunks():
        taken = part > cut
        lowest = np.minimum(lowest, np.where(taken, part, np.inf).min(axis=0))
        highest = np.maximum(highest, np.where(taken, -np.inf, part).max(axis=0))
    return [_between(low, high) for low, high in zip(lowest.tolist(), highest.tolist(), strict=True)]


def _expected_micro(given: Probabilities, start: float, beta: float) -> float:
    """Return the best expected micro F: every score above F / (1 + b) is taken, whatever its label."""
    value, first = start, True
    while True:
        hits, count, total = 0.0, 0, 0.0
        for _, part in given.chunks():
            taken = part[part > value / (1 + beta * beta)]
            hits, count, total = hits + float(taken.sum()), count + len(taken), total + float(part.sum())
        attained = float(f_score(hits, count, total, beta=beta))
        if not first and attained <= value + 1e-12:
            return value
        value, first = attained, False  # the first value may fall: the start is a guess


def _observed_micro_thresholds(given: Probabilities, truth: LabelSets, beta: float) -> list[float]:
    pairs = zip(given.columns(), truth.by_label(), strict=True)
    ranks = [rank_label(scores, positives, places=0) for scores, positives in pairs]
    steps = [_Steps(rank) for rank in ranks]
    value = 0.0
    while True:
        chosen = [step.best(value, beta * beta) for step in steps]
        hits = sum(float(step.hits[place]) for step, place in zip(steps, chosen, strict=True))
        count = sum(int(step.taken[place]) for step, place in zip(steps, chosen, strict=True))
        attained = float(f_score(hits, count, len(truth.ids), beta=beta))
        if attained <= value + 1e-12:
            break
        value = attained
    return [
        _below(scores, float(rank.scores[place - 1])) if place else _above(float(scores.max()))
        for scores, rank, place in zip(given.columns(), ranks, chosen, strict=True)
    ]


class _Steps:
    """Rows and hits of a label for every threshold that may be the best."""

    def __init__(self, ranks: LabelRanks) -> None:
        self.hits, self.taken = (np.concatenate([[0], counts]) for counts in (ranks.hits, ranks.taken))

    def best(self, value: float, b: float) -> int:
        return int(np.argmax((1 + b) * self.hits - value * self.taken))


def best_single_threshold(probabilities: Given, truth: Truth, *, objective: str, beta: float = 1.0) -> float:
    """Return the single threshold for all labels with the best macro or micro F-beta.

    The best of all scores, or of CANDIDATES scores where there are too many to sort.
    """
    given = Probabilities.of(probabilities)
    sets = None if truth is None else LabelSets.of(truth)
    if given.values.size > MOST_SORTED:
        return _best_candidate(given, sets, objective, beta)
    whole = given.whole()
    return _best_of_all(whole, whole if sets is None else sets.dense(), objective, beta)


def _best_of_all(probabilities: Dense, counted: NDArray[Any], objective: str, beta: float) -> float:
    scores, positive = probabilities.ravel(), counted.ravel()
    order, cuts = _cuts(scores)
    if objective == "micro_f1":
        f = f_score(np.cumsum(positive[order])[cuts - 1], cuts, positive.sum(), beta=beta)
        return _at(scores[order], int(cuts[np.argmax(f)]))
    # Each label's F changes only at its own scores: add up the changes along all scores.
    labels = counted.shape[1]
    label = np.tile(np.arange(labels), len(counted))[order]
    change = np.zeros(len(order))
    for index, where in enumerate(np.split(np.argsort(label, kind="stable"), labels)):
        taken = np.arange(1, len(where) + 1)
        f = f_score(np.cumsum(positive[order][where]), taken, counted[:, index].sum(), beta=beta)
        change[where] = np.diff(np.concatenate([[0.0], f]))
    return _at(scores[order], int(cuts[np.argmax(np.cumsum(change)[cuts - 1])]))


def _best_candidate(given: Probabilities, truth: LabelSets | None, objective: str, beta: float) -> float:
    candidates = _candidates(given)
    value, hits, count = (np.zeros(len(candidates)) for _ in range(3))
    of_label = [None] * given.shape[1] if truth is None else truth.by_label()
    total = 0.0
    for scores, positives in zip(given.columns(), of_label, strict=True):
        ranked = np.sort(scores)
        taken = len(ranked) - np.searchsorted(ranked, candidates)
        sums = np.concatenate([[0.0], np.cumsum(ranked[::-1])])[taken]
        if positives is not None:
            sums = len(positives) - np.searchsorted(np.sort(scores[positives]), candidates).astype(np.float64)
        all_hits = float(ranked.sum()) if positives is None else float(len(positives))
        value += f_score(sums, taken, all_hits, beta=beta)
        hits, count, total = hits + sums, count + taken, total + all_hits
    if objective == "micro_f1":
        value = f_score(hits, count, total, beta=beta)
    return float(candidates[np.argmax(value)])


def _candidates(given: Probabilities) -> NDArray[np.float64]:
    """Return some scores, rising, with about equal sums of probability between neighbours."""
    ranked = np.sort(given.every(-(-given.values.size // SAMPLED)).whole(), axis=None)
    mass = np.cumsum(ranked)
    places = np.searchsorted(mass, np.linspace(0, mass[-1], CANDIDATES))
    return np.unique(ranked[np.minimum(places, len(ranked) - 1)])


def best_subset_threshold(probabilities: Given, targets: Labels) -> float:
    """Return the one threshold with the most rows exactly right, where every row gets at least its best label.

    A row is right for thresholds above its highest wrong label and up to its lowest right one; where its only label is
    also its most probable, for every threshold above that too. The best threshold lies in the most intervals.
    """
    given, truth = Probabilities.of(probabilities), LabelSets.of(targets)
    low, high = np.empty(len(given)), np.full(len(given), np.inf)
    for rows, part in given.chunks():
        sets, best = truth.part(rows), part.argmax(axis=1)
        of_targets = part[sets.rows, sets.ids]
        lowest = np.full(len(part), np.inf)
        np.minimum.at(lowest, sets.rows, of_targets)
        alone = np.zeros(len(part), dtype=bool)
        alone[sets.rows] = (sets.per_row[sets.rows] == 1) & (best[sets.rows] == sets.ids)
        part[sets.rows, sets.ids] = -np.inf
        low[rows], high[rows] = part.max(axis=1), np.where(alone, np.inf, lowest)
    inside = (low < high) & (truth.per_row > 0)  # a row without labels always gets one, and is never right
    low, high = low[inside], high[inside]
    candidates = np.unique(np.append(high[np.isfinite(high)], 1.0 + 1e-9))
    # right at t: low < t <= high
    right = np.searchsorted(np.sort(low), candidates, "left") - np.searchsorted(np.sort(high), candidates, "left")
    best_threshold = float(candidates[np.argmax(right)])
    below = low[low < best_threshold]
    return (best_threshold + float(below.max())) / 2 if len(below) and np.isfinite(below.max()) else best_threshold


def _cuts(scores: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the order from the highest score, and how many are taken at each place where a threshold can stand."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    cuts = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True)) + 1
    return order, cuts


def _at(ranked: NDArray[np.float64], count: int) -> float:
    """Return a threshold that takes the first `count` (at least one) of scores that fall."""
    return _between(float(ranked[count - 1]), float(ranked[count]) if count < len(ranked) else -np.inf)


def _below(scores: NDArray[np.float64], lowest: float) -> float:
    """Return a threshold that takes the scores from `lowest` up; `lowest` is a score."""
    return _between(lowest, float(scores[scores < lowest].max(initial=-np.inf)))


def _between(taken: float, left: float) -> float:
    """Return a threshold half way between the lowest score that is taken and the highest that is left.

    `taken` is inf where no score is taken, `left` -inf where none is left.
    """
    if taken == np.inf:
        return _above(left)
    if left == -np.inf:
        return taken / 2
    middle = (taken + left) / 2
    return middle if middle > left else taken


def _above(highest: float) -> float:
    """Return a threshold that takes nothing."""
    return min(1.0, highest + 1e-6) if highest < 1 else 1.0 + 1e-9
