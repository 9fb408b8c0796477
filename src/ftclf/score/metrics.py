"""From probabilities and labels to numbers. Names and definitions are scikit-learn's.

Labels are ids of shape (rows,), truth values (rows, labels), or label sets. Probabilities always have the shape
(rows, labels) and are computed some rows at a time; time grows with rows x labels, never with labels x labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data.label_sets import LabelSets, chunks, ratio
from ftclf.score.probabilities import Dense, Probabilities
from ftclf.score.ranking import LabelRanks

Given = Probabilities | Dense
Labels = LabelSets | NDArray[np.bool_]


def softmax(logits: NDArray[np.floating[Any]]) -> Dense:
    """Turn logits into probabilities that add up to one a row, in float64."""
    shares = logits.astype(np.float64)
    shares -= logits.max(axis=1, keepdims=True)
    np.exp(shares, out=shares)
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def sigmoid(logits: NDArray[np.floating[Any]]) -> Dense:
    """Turn logits into a probability for each label alone, in float64."""
    return sigmoid_of_negated(np.negative(logits, dtype=np.float64))


def sigmoid_of_negated(negated: Dense) -> Dense:
    """Turn negated logits into probabilities, in their place."""
    with np.errstate(over="ignore"):  # of a logit below -709, whose probability is 0 to float64
        np.exp(negated, out=negated)
    negated += 1
    return np.divide(1, negated, out=negated)


def log_odds(probabilities: Dense) -> NDArray[np.float32]:
    """Turn probabilities back into the logits of a sigmoid."""
    from scipy.special import logit

    return _in_parts(probabilities, lambda part: logit(np.clip(part, 1e-6, 1 - 1e-6)))


def log_of(probabilities: Dense) -> NDArray[np.float32]:
    """Turn probabilities back into the logits of a softmax."""
    return _in_parts(probabilities, lambda part: np.log(np.clip(part, 1e-6, 1.0)))


def _in_parts(values: Dense, function: Callable[[Dense], Dense]) -> NDArray[np.float32]:
    turned = np.empty(values.shape, dtype=np.float32)
    for rows in chunks(*values.shape):
        turned[rows] = function(values[rows])
    return turned


def f_score(hits: Any, given: Any, true: Any, *, beta: float = 1.0) -> NDArray[np.float64]:
    """Return F-beta from true positives, predicted and true labels; 0 for 0 / 0, as scikit-learn's zero_division=0.

    Every F of ftclf (points, intervals, slices, thresholds) comes from here.
    """
    square = beta * beta
    return ratio(np.asarray((1 + square) * hits, dtype=np.float64), np.asarray(given + square * true))


@dataclass(frozen=True, eq=False)
class RowSums:
    """Sums over rows that scores without ranks are made of, once per bootstrap draw or (draws = 1) of the rows alone.

    A score that is added to `scores` has its value, its interval and its paired differences.
    """

    hits: NDArray[np.float64]  # (draws, labels)
    given: NDArray[np.float64]  # (draws, labels)
    true: NDArray[np.float64]  # (draws, labels)
    per_row: NDArray[np.float64]  # (draws, 3), of `row_scores`
    rows: int
    rare: NDArray[np.bool_]  # (labels,), the third of the labels with the fewest rows

    @classmethod
    def of(cls, chosen: Labels, targets: Labels, losses: NDArray[np.float64]) -> RowSums:
        """Return the sums of rows that each count once; `losses` has the shape (rows,)."""
        answers, truth = LabelSets.of(chosen), LabelSets.of(targets)
        hits = answers & truth
        both, given, true = (sets.per_label[None].astype(np.float64) for sets in (hits, answers, truth))
        per_row = row_scores(hits, answers, truth, losses).sum(axis=0, keepdims=True)
        return cls(both, given, true, per_row, len(truth), _rarest_third(true[0]))

    def rates(self) -> dict[str, NDArray[np.float64]]:
        """Return precision, recall and F1 of each label, (draws, labels).

        scikit-learn has them too; its import costs every training a second and 100 MB.
        """
        return {
            "precision": ratio(self.hits, self.given),
            "recall": ratio(self.hits, self.true),
            "f1": f_score(self.hits, self.given, self.true),
        }

    def scores(self) -> dict[str, NDArray[np.float64]]:
        """Return the scores of all rows, (draws,) each; a label neither present nor predicted counts as F1 0."""
        f1, true = f_score(self.hits, self.given, self.true), self.true.sum(axis=1)
        hits, given = self.hits.sum(axis=1), self.given.sum(axis=1)
        exact, loss, of_rows = (self.per_row / self.rows).T
        return {
            "accuracy": exact,
            "subset_accuracy": exact,
            "macro_f1": f1.mean(axis=1),
            "micro_f1": f_score(hits, given, true),
            "weighted_f1": ratio((f1 * self.true).sum(axis=1), true),
            "samples_f1": of_rows,
            "rare_f1": f1[:, self.rare].mean(axis=1),
            "hamming_loss": (given + true - 2 * hits) / (self.rows * f1.shape[1]),
            "log_loss": loss,
        }

    def observed(self) -> dict[str, float]:
        """Return the scores of the only draw."""
        return {name: float(values[0]) for name, values in self.scores().items()}


def _rarest_third(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the labels with the fewest rows, a third of all but at least one, (labels,)."""
    rare = np.zeros(len(rows), dtype=bool)
    rare[np.argsort(rows, kind="stable")[: max(1, len(rows) // 3)]] = True
    return rare


def row_scores(
    hits: LabelSets, chosen: LabelSets, targets: LabelSets, losses: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return whether a row has exactly its labels, its log loss and its F1, (rows, 3)."""
    shared, given, true = hits.per_row, chosen.per_row, targets.per_row
    exact = (shared == given) & (shared == true)
    return np.column_stack([exact, losses, f_score(shared, given, true)])


def macro_average_precision(ranks: list[LabelRanks]) -> float:
    """Return the mean over the labels that have a positive row; a label without one has none."""
    precisions = [rank.average_precision for rank in ranks if rank.average_precision is not None]
    return float(np.mean(precisions)) if precisions else 0.0


def label_ranking_average_precision(given: Probabilities, targets: LabelSets) -> float:
    """Return the mean over rows of the mean precision at each of a row's labels."""
    return sum(float(_ranking_precisions(part, targets.part(rows)).sum()) for rows, part in given.chunks()) / len(given)


def per_row(sets: LabelSets, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of the values of each row's labels, (rows,)."""
    return np.bincount(sets.rows, weights=values, minlength=len(sets)).astype(np.float64)


def _ranking_precisions(part: Dense, sets: LabelSets) -> NDArray[np.float64]:
    """Return the mean over a row's labels of the share of its labels among what ranks as high, (rows,).

    It is 1 for a row with no label, or with all.
    """
    counts, of_targets = sets.per_row, part[sets.rows, sets.ids]
    above = np.empty(len(of_targets), dtype=np.int64)
    for number in range(int(counts.max(initial=0))):  # the rows' first labels, their second ones, ...
        rows = np.flatnonzero(counts > number)
        places = sets.starts[rows] + number
        above[places] = np.count_nonzero(part[rows] >= of_targets[places][:, None], axis=1)
    order = np.lexsort((above, sets.rows))
    # Of a row's labels in their order, those of equal rank count as the last of them.
    last = np.searchsorted(_pairs(sets.rows[order], above[order]), _pairs(sets.rows, above), side="right")
    shares = (last - sets.starts[sets.rows]) / above
    trivial = (counts == 0) | (counts == sets.labels)
    return np.where(trivial, 1.0, per_row(sets, shares) / np.maximum(counts, 1))


def _pairs(rows: NDArray[np.int64], ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number for each pair of row and rank that rises with both."""
    return rows * (int(ranks.max(initial=0)) + 1) + ranks


def per_class_metrics(sums: RowSums, label_names: list[str]) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and support of each label, in the order of the names."""
    columns = {name: values[0].tolist() for name, values in sums.rates().items()}
    support = sums.true[0].astype(np.int64).tolist()
    return [
        {"label": name, **{rate: values[index] for rate, values in columns.items()}, "support": support[index]}
        for index, name in enumerate(label_names)
    ]


def per_class_ranking(ranks: list[LabelRanks]) -> list[dict[str, float | None]]:
    """Return average precision and AUROC of each label; None where a label is on no row or on all."""
    return [{"average_precision": rank.average_precision, "auroc": rank.auroc} for rank in ranks]


def one_hot(labels: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Turn label ids into a truth value a label."""
    return np.arange(count) == labels[:, None]  # type: ignore[no-any-return]
