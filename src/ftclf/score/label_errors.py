"""Wrong labels by confident learning: out-of-fold probabilities, then the methods of cleanlab.

A row is judged by a model that has seen neither the row nor a copy of its text. Test rows are judged too: they are
shown, and never changed. Source: Northcutt, Jiang and Chuang 2021, "Confident Learning".
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data import Data
from ftclf.data.check.all_rows import AllRows
from ftclf.data.label_sets import LabelSets
from ftclf.data.split import group_by_text
from ftclf.score.probabilities import Dense
from ftclf.system.progress_bar import advance, phase

C, C_PER_LABEL = 1.0, 4.0  # of the logistic regressions; weaker regularisation learns wrong labels by heart
ROUNDING = 1e-6  # of a mean, as in cleanlab: probabilities near 1 are all alike
MOST_ROWS = 50_000  # that a linear judge learns from
SURE, PAIR, LABEL = range(3)  # reasons, the strongest first

# From the rows to learn from and the rows to judge to the probabilities of the latter, (rows, labels).
Judge = Callable[[NDArray[np.int64], NDArray[np.int64]], Dense]


@dataclass
class LabelledRows(AllRows):
    """The rows of all splits with their labels."""

    labels: NDArray[Any]  # ids (rows,), or truth values (rows, labels)
    group: NDArray[np.int64]  # equal for equal texts

    @classmethod
    def of(cls, data: Data) -> LabelledRows:
        rows = AllRows.of(data)
        labels = np.concatenate([data.splits[split].labels for split in rows.parts])
        return cls(rows.parts, labels, group_by_text(rows.texts(data)))

    @property
    def learned(self) -> int:
        """How many rows a judge may learn from: the first ones, those of train and validation."""
        return self.parts["test"].start if "test" in self.parts else len(self)


@dataclass
class WrongLabels:
    """Rows whose label is probably wrong, the surest first."""

    rows: NDArray[np.int64]
    suggested: NDArray[Any]  # label ids, or truth values (rows, labels)
    confidence: NDArray[np.float64]  # that the given labels are not right, (rows,)
    reasons: NDArray[np.int64]  # SURE, PAIR or LABEL
    estimated: int  # wrong labels in all, by the calibrated confident joint
    quality: NDArray[np.float64] = field(repr=False)  # of every row's labels, low for doubtful ones


# ---- out-of-fold probabilities


def fold_of_rows(rows: LabelledRows, folds: int, seed: int = 0) -> NDArray[np.int64]:
    """Return the fold of each row that a judge learns from: stratified, copies of a text in one fold."""
    labels, group = rows.labels[: rows.learned], rows.group[: rows.learned]
    label = labels if labels.ndim == 1 else LabelSets.of(labels).rarest()
    groups, first = np.unique(group, return_index=True)
    order = np.random.default_rng(seed).permutation(len(groups))
    order = order[np.argsort(label[first[order]], kind="stable")]
    fold_of_group = np.zeros(rows.group.max() + 1, dtype=np.int64)
    fold_of_group[groups[order]] = np.arange(len(groups)) % folds
    return fold_of_group[group]


def judged_probabilities(rows: LabelledRows, judge: Judge, folds: int, seed: int = 0) -> Dense:
    """Return the probabilities of every row by models that never saw its text, shape (rows, labels).

    A test row gets the mean of all folds' models, or that of the fold which holds its text.
    """
    fold = fold_of_rows(rows, folds, seed)
    learned, asked = np.arange(rows.learned), np.arange(rows.learned, len(rows))
    fold_of_text = np.full(rows.group.max() + 1, -1)
    fold_of_text[rows.group[learned]] = fold
    own = fold_of_text[rows.group[asked]]
    total: Dense | None = None
    with phase("judging labels", folds):
        for number in range(folds):
            held, tests = learned[fold == number], asked[(own == -1) | (own == number)]
            found = judge(learned[fold != number], np.concatenate([held, tests]))
            total = np.zeros((len(rows), found.shape[1])) if total is None else total
            total[held] = found[: len(held)]
            total[tests] += found[len(held) :]
            advance()
    assert total is not None
    total[asked[own == -1]] /= folds
    return total


def linear_judge(vectors: NDArray[np.float32], labels: NDArray[Any], label_count: int) -> Judge:
    """Return a logistic regression on vectors of all rows; with several labels per row a separate one per label."""
    from threadpoolctl import threadpool_limits

    vectors = _centred(vectors)

    def judge(known: NDArray[np.int64], asked: NDArray[np.int64]) -> Dense:
        if len(known) > MOST_ROWS:
            known = np.sort(np.random.default_rng(0).choice(known, MOST_ROWS, replace=False))
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore")  # of a fit that has not converged: its probabilities serve
            if labels.ndim == 1:
                return _of_one_label(vectors[known], labels[known], vectors[asked], label_count)
            columns = [_of_a_label(vectors[known], labels[known, one], vectors[asked]) for one in range(label_count)]
            return np.stack(columns, axis=1)

    return judge


def _centred(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors around 0 with a length of 1 on average.

    Those of many encoders point nearly the same way: the regularisation would leave little of their differences.
    """
    centred = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    length = float(np.sqrt(np.square(centred, dtype=np.float64).sum(axis=1).mean()))
    return np.asarray(centred / (length or 1.0), dtype=np.float32)


def _of_one_label(inputs: Any, labels: NDArray[np.int64], asked: Any, label_count: int) -> Dense:
    from sklearn.linear_model import LogisticRegression

    probabilities = np.zeros((len(asked), label_count))
    known = np.unique(labels)  # a fold may miss a label
    if len(known) == 1:
        probabilities[:, known[0]] = 1.0
        return probabilities
    probabilities[:, known] = LogisticRegression(C=C, max_iter=300).fit(inputs, labels).predict_proba(asked)
    return probabilities


def _of_a_label(inputs: Any, truth: NDArray[np.bool_], asked: Any) -> NDArray[np.float64]:
    from sklearn.linear_model import LogisticRegression

    if truth.all() or not truth.any():
        return np.full(len(asked), float(truth.any()))
    model = LogisticRegression(C=C_PER_LABEL, max_iter=300).fit(inputs, truth)
    return np.asarray(model.predict_proba(asked)[:, 1])


# ---- cleanlab


def find_wrong_labels(labels: NDArray[Any], probabilities: Dense, judged: NDArray[np.bool_]) -> WrongLabels:
    """Return the rows whose labels are probably wrong, by their out-of-fold probabilities.

    Labels that are not `judged`, (labels,), are never called wrong: no model has seen them in another row.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cleanlab and of what it imports: for its own users
        if labels.ndim == 2:
            return _several_labels(labels, probabilities, judged)
        rows = np.flatnonzero(judged[labels])
        found = _one_label(labels[rows], probabilities[rows])
        quality = np.ones(len(labels))
        quality[rows] = found.quality
        return replace(found, rows=rows[found.rows], quality=quality)


def judged_labels(rows: LabelledRows, label_count: int) -> NDArray[np.bool_]:
    """Return which labels stand at two different texts or more among the rows that a judge learns from, (labels,)."""
    sets = LabelSets.of(rows.labels[: rows.learned], label_count)
    pairs = np.unique(np.stack([sets.ids.astype(np.int64), rows.group[: rows.learned][sets.rows]]), axis=1)
    return np.bincount(pairs[0], minlength=label_count) >= 2


def _one_label(labels: NDArray[Any], probabilities: Dense) -> WrongLabels:
    from cleanlab.count import num_label_issues
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    present = np.unique(labels)  # cleanlab wants a row of each label
    if len(present) < 2:
        return _none(labels, probabilities.shape[1])
    ids, chances = np.searchsorted(present, labels), _normalised(probabilities[:, present])
    quality = get_label_quality_scores(ids, chances, method="self_confidence")
    estimated = num_label_issues(ids, chances, estimation_method="off_diagonal_calibrated")
    reasons = np.full(len(labels), -1)
    for reason, method in ((LABEL, "prune_by_class"), (PAIR, "prune_by_noise_rate"), (SURE, "confident_learning")):
        reasons[find_label_issues(ids, chances, filter_by=method, n_jobs=1)] = reason
    rows = np.flatnonzero(reasons >= 0)
    rows = rows[np.argsort(quality[rows], kind="stable")]
    best = present[chances[rows].argmax(axis=1)]
    return WrongLabels(rows, best, 1 - quality[rows], reasons[rows], int(estimated), quality)


def _several_labels(labels: NDArray[Any], probabilities: Dense, judged: NDArray[np.bool_]) -> WrongLabels:
    from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
    from cleanlab.multilabel_classification.rank import get_label_quality_scores

    present = np.flatnonzero(labels.any(axis=0) & ~labels.all(axis=0) & judged)
    if not len(present):
        return _none(labels, labels.shape[1])
    if len(present) == 1:  # which cleanlab takes for a task of one label per row
        chances = np.clip(probabilities[:, present], 0, 1)
        found = _one_label(labels[:, present[0]].astype(np.int64), np.concatenate([1 - chances, chances], axis=1))
        suggested = labels[found.rows]
        suggested[:, present[0]] = found.suggested == 1
        return replace(found, suggested=suggested)
    given, chances = labels[:, present], np.clip(probabilities[:, present], 0, 1)
    lists = [np.flatnonzero(row).tolist() for row in given]
    quality = get_label_quality_scores(lists, chances)
    wrong = np.zeros(labels.shape, dtype=bool)
    reasons = np.full(len(labels), -1)
    for reason, method in ((PAIR, "prune_by_noise_rate"), (SURE, "confident_learning")):
        flags = np.asarray(find_multilabel_issues_per_class(lists, chances, filter_by=method, n_jobs=1), dtype=bool)
        wrong[:, present] |= flags
        reasons[flags.any(axis=1)] = reason
    rows = np.flatnonzero(reasons >= 0)
    rows = rows[np.argsort(quality[rows], kind="stable")]
    of_label = np.where(labels, probabilities, 1 - probabilities)
    least = np.where(wrong, of_label, 1.0)[rows].min(axis=1)
    return WrongLabels(rows, (labels ^ wrong)[rows], 1 - least, reasons[rows], len(rows), quality)


def _none(labels: NDArray[Any], label_count: int) -> WrongLabels:
    shape = (0, label_count) if labels.ndim == 2 else (0,)
    none = np.zeros(0, dtype=np.int64)
    return WrongLabels(none, np.zeros(shape, dtype=labels.dtype), np.zeros(0), none, 0, np.ones(len(labels)))


def _normalised(probabilities: Dense) -> Dense:
    sums = probabilities.sum(axis=1, keepdims=True)
    return np.where(sums > 0, probabilities / np.where(sums > 0, sums, 1), 1 / probabilities.shape[1])


# ---- without cleanlab: a run's own probabilities of its test rows


@dataclass(frozen=True)
class Doubt:
    """A label that is doubtful. With several labels per row, -1 stands for the absence of the other label."""

    row: int
    given: int
    other: int
    given_probability: float
    other_probability: float


def doubtful_labels(targets: LabelSets, known: LabelSets, values: NDArray[np.float64], *, several: bool) -> list[Doubt]:
    """Return one doubtful label per row, the most doubtful first; `values` are the probabilities of `known` labels.

    The criterion of confident learning: another label is at least as probable as it is on average in the rows that have
    it, and more probable than the given one. With several labels per row, each label and its absence are such a pair.
    """
    return (_doubtful_of_several if several else _doubtful_of_one)(targets, known, values)


def _doubtful_of_one(targets: LabelSets, known: LabelSets, values: NDArray[np.float64]) -> list[Doubt]:
    given = targets.ids.astype(np.int64)
    rows, ids = known.rows, known.ids.astype(np.int64)
    of_given = ids == given[rows]
    chances = np.zeros(len(targets))
    chances[rows[of_given]] = values[of_given]
    usual = _means(given, chances, known.labels) - ROUNDING
    likely = np.flatnonzero((values >= usual[ids]) & (values > chances[rows]) & ~of_given)
    first = _first_per_row(likely, rows, values)
    first = first[np.argsort(chances[rows[first]] - values[first], kind="stable")]
    return [
        Doubt(int(rows[at]), int(given[rows[at]]), int(ids[at]), float(chances[rows[at]]), float(values[at]))
        for at in first
    ]


def _doubtful_of_several(targets: LabelSets, known: LabelSets, values: NDArray[np.float64]) -> list[Doubt]:
    rows, ids = known.rows, known.ids.astype(np.int64)
    has = np.isin(known.keys, targets.keys)
    present = _means(ids[has], values[has], known.labels) - ROUNDING
    absent = _means(ids[~has], 1 - values[~has], known.labels) - ROUNDING
    missing = ~has & (values >= present[ids]) & (values > 0.5)
    wrong = has & (1 - values >= absent[ids]) & (values < 0.5)
    doubt = np.where(has, 1 - values, values)
    first = _first_per_row(np.flatnonzero(missing | wrong), rows, doubt)
    first = first[np.argsort(-doubt[first], kind="stable")]
    return [
        Doubt(
            int(rows[at]),
            int(ids[at]) if has[at] else -1,
            -1 if has[at] else int(ids[at]),
            float(1 - doubt[at]),
            float(doubt[at]),
        )
        for at in first
    ]


def _first_per_row(places: NDArray[np.int64], rows: NDArray[np.int64], values: NDArray[np.float64]) -> Any:
    """Return of each row the place with the highest value."""
    order = places[np.lexsort((-values[places], rows[places]))]
    return order[np.unique(rows[order], return_index=True)[1]]


def _means(ids: NDArray[np.int64], values: NDArray[np.float64], labels: int) -> NDArray[np.float64]:
    """Return the mean value of each id; above every probability for an id without values."""
    counts = np.bincount(ids, minlength=labels)
    sums = np.bincount(ids, weights=values, minlength=labels)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
