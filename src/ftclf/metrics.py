"""From probabilities and labels to numbers. Names and definitions are scikit-learn's.

Two kinds of targets: label ids of shape (rows,), or a truth value a label, shape (rows, labels). Probabilities always
have the shape (rows, labels).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]


def softmax(logits: NDArray[np.floating[Any]]) -> Probabilities:
    """Turn logits into probabilities that add up to one a row, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponents = np.exp(shifted)
    return exponents / exponents.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def sigmoid(logits: NDArray[np.floating[Any]]) -> Probabilities:
    """Turn logits into a probability for each label alone, in float64."""
    from scipy.special import expit

    return expit(logits.astype(np.float64))  # type: ignore[no-any-return]


def log_odds(probabilities: Probabilities) -> NDArray[np.float32]:
    """Turn probabilities back into the logits of a sigmoid."""
    from scipy.special import logit

    return logit(np.clip(probabilities, 1e-6, 1 - 1e-6)).astype(np.float32)  # type: ignore[no-any-return]


def log_of(probabilities: Probabilities) -> NDArray[np.float32]:
    """Turn probabilities back into the logits of a softmax."""
    return np.log(np.clip(probabilities, 1e-6, 1.0)).astype(np.float32)


def single_label_metrics(probabilities: Probabilities, labels: NDArray[np.int64]) -> dict[str, float]:
    """Return accuracy, macro, micro and weighted F1 and log loss.

    A label that is neither present nor predicted counts as F1 0, over all labels of the classifier.
    """
    rows, labels_there = probabilities.shape
    predicted, of_label = probabilities.argmax(axis=1), probabilities[np.arange(rows), labels]
    targets, least = one_hot(labels, labels_there), np.finfo(probabilities.dtype).eps
    f1, support = _rates(one_hot(predicted, labels_there), targets)["f1"], targets.sum(axis=0)
    accuracy = float((predicted == labels).mean())
    return {
        "accuracy": accuracy,
        "macro_f1": float(f1.mean()),
        "micro_f1": accuracy,
        "weighted_f1": float((f1 * support).sum() / support.sum()),
        "log_loss": float(-np.log(np.clip(of_label, least, 1 - least)).mean()),
    }


def row_losses(probabilities: Probabilities, targets: NDArray[np.bool_], task: str) -> NDArray[np.float64]:
    """Return the log loss of each row: of its label, or the mean over labels; their mean is the split's log loss."""
    clipped = np.clip(probabilities, np.finfo(np.float64).eps, 1 - 1e-15)
    if task == "multi_label":
        return -np.where(targets, np.log(clipped), np.log1p(-clipped)).mean(axis=1)  # type: ignore[no-any-return]
    return -np.log(clipped[targets])


def ranking_metrics(probabilities: Probabilities, targets: NDArray[np.bool_]) -> dict[str, float]:
    """Return the multi-label measures that need no threshold.

    Macro average precision is over the labels that have a positive row; a label without one has none. Log loss is the
    mean binary cross entropy of rows and labels.
    """
    from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

    present = targets.any(axis=0)
    clipped = np.clip(probabilities, 1e-15, 1 - 1e-15)
    return {
        "macro_average_precision": float(
            average_precision_score(targets[:, present], probabilities[:, present], average="macro")
        )
        if present.any()
        else 0.0,
        "label_ranking_average_precision": float(label_ranking_average_precision_score(targets, probabilities)),
        "log_loss": float(-np.where(targets, np.log(clipped), np.log1p(-clipped)).mean()),
    }


def multi_label_metrics(
    probabilities: Probabilities, chosen: NDArray[np.bool_], targets: NDArray[np.bool_]
) -> dict[str, float]:
    """Return F1 in four averages, subset accuracy and Hamming loss of the chosen labels, and `ranking_metrics`."""
    from sklearn.metrics import accuracy_score, f1_score, hamming_loss

    return {
        **{
            f"{average}_f1": float(f1_score(targets, chosen, average=average, zero_division=0))
            for average in ("macro", "micro", "weighted", "samples")
        },
        "subset_accuracy": float(accuracy_score(targets, chosen)),
        "hamming_loss": float(hamming_loss(targets, chosen)),
        **ranking_metrics(probabilities, targets),
    }


def per_class_metrics(
    chosen: NDArray[np.bool_], targets: NDArray[np.bool_], label_names: list[str]
) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and support of each label, in the order of the names; both arrays (rows, labels)."""
    rates, support = _rates(chosen, targets), targets.sum(axis=0)
    return [
        {
            "label": name,
            **{rate: float(values[index]) for rate, values in rates.items()},
            "support": int(support[index]),
        }
        for index, name in enumerate(label_names)
    ]


def _rates(chosen: NDArray[np.bool_], targets: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """Return precision, recall and F1 of each label, 0 where nothing is divided by nothing.

    scikit-learn has them too; its import costs every training a second and 100 MB.
    """
    hits, given, there = (one.sum(axis=0).astype(np.float64) for one in (chosen & targets, chosen, targets))
    return {"precision": ratio(hits, given), "recall": ratio(hits, there), "f1": ratio(2 * hits, given + there)}


def ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide, with 0 for 0 / 0, as scikit-learn's zero_division=0 does."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def per_class_ranking(probabilities: Probabilities, targets: NDArray[np.bool_]) -> list[dict[str, float | None]]:
    """Return average precision and AUROC of each label; None where a label is on no row or on all."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    found: list[dict[str, float | None]] = []
    for scores, target in zip(probabilities.T, targets.T, strict=True):
        both = target.any() and not target.all()
        found.append(
            {
                "average_precision": float(average_precision_score(target, scores)) if target.any() else None,
                "auroc": float(roc_auc_score(target, scores)) if both else None,
            }
        )
    return found


def confusion(chosen: NDArray[np.bool_], targets: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return counts, shape (labels, labels).

    The diagonal counts the hits of a label. Elsewhere: rows where the row's label was missed and the column's label was
    wrongly given. With one label a row this is the confusion matrix.
    """
    missed = (targets & ~chosen).astype(np.int64)
    wrong = (chosen & ~targets).astype(np.int64)
    counts: NDArray[np.int64] = missed.T @ wrong
    np.fill_diagonal(counts, (targets & chosen).sum(axis=0))
    return counts


def most_confused(
    counts: NDArray[np.int64], support: NDArray[np.int64], label_names: list[str], limit: int = 10
) -> list[dict[str, Any]]:
    """Return the pairs of different labels with the most errors, most first."""
    errors = counts.copy()
    np.fill_diagonal(errors, 0)
    order = np.argsort(-errors, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(index), len(label_names)) for index in order]
    return [
        {
            "true": label_names[row],
            "predicted": label_names[column],
            "count": int(errors[row, column]),
            "share_of_true": float(errors[row, column] / max(1, int(support[row]))),
        }
        for row, column in pairs
        if errors[row, column] > 0
    ]


def one_hot(labels: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Turn label ids into a truth value a label."""
    return np.arange(count) == labels[:, None]  # type: ignore[no-any-return]
