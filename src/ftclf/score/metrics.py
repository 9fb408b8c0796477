"""From probabilities and labels to numbers. Names and definitions are scikit-learn's.

Labels are ids of shape (rows,), truth values (rows, labels), or label sets. Probabilities always have the shape
(rows, labels) and are computed some rows at a time; time grows with rows x labels, never with labels x labels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data.label_sets import LabelSets, chunks, ratio
from ftclf.score.probabilities import Dense, Probabilities
from ftclf.score.ranking import LabelRanks, ranks_of_labels

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


def single_label_metrics(probabilities: Given, labels: NDArray[np.int64]) -> dict[str, float]:
    """Return accuracy, macro, micro and weighted F1 and log loss.

    A label that is neither present nor predicted counts as F1 0, over all labels of the classifier.
    """
    given = Probabilities.of(probabilities)
    predicted, of_label = np.empty(len(labels), dtype=np.int64), np.empty(len(labels))
    for rows, part in given.chunks():
        predicted[rows], of_label[rows] = part.argmax(axis=1), part[np.arange(len(part)), labels[rows]]
    count, least = given.shape[1], np.finfo(np.float64).eps
    targets = LabelSets.of(labels, count)
    f1, support = _rates(LabelSets.of(predicted, count), targets)["f1"], targets.per_label
    accuracy = float((predicted == labels).mean())
    return {
        "accuracy": accuracy,
        "macro_f1": float(f1.mean()),
        "micro_f1": accuracy,
        "weighted_f1": float((f1 * support).sum() / support.sum()),
        "log_loss": float(-np.log(np.clip(of_label, least, 1 - least)).mean()),
    }


def row_losses(probabilities: Given, targets: Labels, task: str) -> NDArray[np.float64]:
    """Return the log loss of each row: of its label, or the mean over labels; their mean is the split's log loss."""
    given, wanted = Probabilities.of(probabilities), LabelSets.of(targets)
    losses, least = np.empty(len(given)), np.finfo(np.float64).eps
    for rows, part in given.chunks():
        part, sets = np.clip(part, least, 1 - 1e-15), wanted.part(rows)
        of_targets = part[sets.rows, sets.ids]
        if task == "multi_label":
            lost = np.log(of_targets) - np.log1p(-of_targets)
            losses[rows] = -(_log_of_rest(part).sum(axis=1) + _per_row(sets, lost)) / sets.labels
        else:
            losses[rows] = -np.log(of_targets)
    return losses


def _log_of_rest(part: Dense) -> Dense:
    """Return log(1 - p) in place; log1p takes four times as long for digits that the sum loses."""
    np.subtract(1, part, out=part)
    return np.log(part, out=part)


def _per_row(sets: LabelSets, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of the values of each row's labels, (rows,)."""
    return np.bincount(sets.rows, weights=values, minlength=len(sets)).astype(np.float64)


def ranking_metrics(probabilities: Given, targets: Labels, ranks: list[LabelRanks] | None = None) -> dict[str, float]:
    """Return the multi-label measures that need no threshold.

    Macro average precision is over the labels that have a positive row; a label without one has none. Log loss is the
    mean binary cross entropy of rows and labels. `ranks` are those of the labels, where they are known.
    """
    given, wanted = Probabilities.of(probabilities), LabelSets.of(targets)
    ranks = ranks_of_labels(given, wanted, drawn=False) if ranks is None else ranks
    precisions = [rank.average_precision for rank in ranks if rank.average_precision is not None]
    losses, ranked = 0.0, 0.0
    for rows, part in given.chunks():
        sets = wanted.part(rows)
        ranked += float(_ranking_precisions(part, sets).sum())
        np.clip(part, 1e-15, 1 - 1e-15, out=part)
        of_targets = part[sets.rows, sets.ids]
        losses -= float(_log_of_rest(part).sum() + (np.log(of_targets) - np.log1p(-of_targets)).sum())
    return {
        "macro_average_precision": float(np.mean(precisions)) if precisions else 0.0,
        "label_ranking_average_precision": ranked / len(given),
        "log_loss": losses / (len(given) * wanted.labels),
    }


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
    return np.where(trivial, 1.0, _per_row(sets, shares) / np.maximum(counts, 1))


def _pairs(rows: NDArray[np.int64], ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number for each pair of row and rank that rises with both."""
    return rows * (int(ranks.max(initial=0)) + 1) + ranks


def multi_label_metrics(
    probabilities: Given, chosen: Labels, targets: Labels, ranks: list[LabelRanks] | None = None
) -> dict[str, float]:
    """Return F1 in four averages, subset accuracy and Hamming loss of the chosen labels, and `ranking_metrics`."""
    wanted = LabelSets.of(targets)
    return {**set_metrics(LabelSets.of(chosen), wanted), **ranking_metrics(probabilities, wanted, ranks)}


def set_metrics(chosen: LabelSets, targets: LabelSets) -> dict[str, float]:
    """Return the multi-label scores of chosen labels that need no probabilities."""
    hits = chosen & targets
    f1, support = _rates(chosen, targets, hits)["f1"], targets.per_label
    given, true, both = (float(len(sets.ids)) for sets in (chosen, targets, hits))
    per_row = ratio((2 * hits.per_row).astype(np.float64), (chosen.per_row + targets.per_row).astype(np.float64))
    return {
        "macro_f1": float(f1.mean()),
        "micro_f1": 2 * both / (given + true) if given + true else 0.0,
        "weighted_f1": float(np.average(f1, weights=support)) if true else 0.0,
        "samples_f1": float(per_row.mean()),
        "subset_accuracy": float(chosen.same(targets).mean()),
        "hamming_loss": (given + true - 2 * both) / (len(targets) * targets.labels),
    }


def per_class_metrics(chosen: Labels, targets: Labels, label_names: list[str]) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and support of each label, in the order of the names; both (rows, labels)."""
    wanted = LabelSets.of(targets)
    rates, support = _rates(LabelSets.of(chosen), wanted), wanted.per_label.tolist()
    columns = {name: values.tolist() for name, values in rates.items()}
    return [
        {"label": name, **{rate: values[index] for rate, values in columns.items()}, "support": support[index]}
        for index, name in enumerate(label_names)
    ]


def _rates(chosen: LabelSets, targets: LabelSets, both: LabelSets | None = None) -> dict[str, NDArray[np.float64]]:
    """Return precision, recall and F1 of each label, 0 where nothing is divided by nothing.

    scikit-learn has them too; its import costs every training a second and 100 MB.
    """
    sets = (chosen & targets if both is None else both, chosen, targets)
    hits, given, true = (counted.per_label.astype(np.float64) for counted in sets)
    return {"precision": ratio(hits, given), "recall": ratio(hits, true), "f1": ratio(2 * hits, given + true)}


def per_class_ranking(ranks: list[LabelRanks]) -> list[dict[str, float | None]]:
    """Return average precision and AUROC of each label; None where a label is on no row or on all."""
    return [{"average_precision": rank.average_precision, "auroc": rank.auroc} for rank in ranks]


def one_hot(labels: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Turn label ids into a truth value a label."""
    return np.arange(count) == labels[:, None]  # type: ignore[no-any-return]
