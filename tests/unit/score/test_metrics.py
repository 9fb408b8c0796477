"""Our numbers against scikit-learn and against hand-made cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from ftclf.data.label_sets import LabelSets
from ftclf.score.confusion import confusion, most_confused
from ftclf.score.metrics import (
    RowSums,
    one_hot,
    per_class_metrics,
    per_class_ranking,
    softmax,
)
from ftclf.score.probabilities import Probabilities
from ftclf.score.ranking import ranks_of_labels
from ftclf.score.task import task_of


def scores_of(probabilities: Any, chosen: Any, labels: Any) -> dict[str, float]:
    """Return the scores of a split, as an evaluation has them."""
    task, given, targets = (
        task_of(labels),
        Probabilities.of(probabilities),
        LabelSets.of(labels, probabilities.shape[1]),
    )
    sums = RowSums.of(LabelSets.of(chosen), targets, task.row_losses(given, targets))
    return task.metrics(sums.observed(), given, targets, task.ranks(given, targets))


def single_label_metrics(probabilities: Any, labels: Any) -> dict[str, float]:
    return scores_of(probabilities, one_hot(probabilities.argmax(1), probabilities.shape[1]), labels)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 60), labels=st.integers(2, 7))
def test_scores_equal_scikit_learns(seed: int, rows: int, labels: int) -> None:
    random = np.random.default_rng(seed)
    probabilities = softmax(random.normal(size=(rows, labels)).astype(np.float32))
    truth = random.integers(0, labels, rows)
    found, predicted, ids = single_label_metrics(probabilities, truth), probabilities.argmax(1), np.arange(labels)
    assert found["accuracy"] == sk.accuracy_score(truth, predicted)
    assert found["macro_f1"] == pytest.approx(
        np.mean([sk.f1_score(truth == i, predicted == i, zero_division=0) for i in ids])
    )
    assert found["micro_f1"] == pytest.approx(found["accuracy"])
    assert found["log_loss"] == pytest.approx(-np.log(probabilities[np.arange(rows), truth]).mean(), rel=1e-6)
    assert (
        confusion(one_hot(predicted, labels), one_hot(truth, labels)).toarray()
        == sk.confusion_matrix(truth, predicted, labels=ids)
    ).all()


def test_a_class_that_is_absent_and_never_predicted_counts_zero() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    truth = np.array([0, 1])
    assert single_label_metrics(probabilities, truth)["macro_f1"] == pytest.approx(2 / 3)
    sums = RowSums.of(one_hot(probabilities.argmax(1), 3), one_hot(truth, 3), np.zeros(2))
    rows = per_class_metrics(sums, ["a", "b", "c"])
    assert rows[2] == {"label": "c", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_one_class_predicted_for_all() -> None:
    probabilities = np.tile([0.9, 0.1], (4, 1))
    truth = np.array([0, 0, 1, 1])
    found = single_label_metrics(probabilities, truth)
    assert found["accuracy"] == 0.5
    assert found["macro_f1"] == pytest.approx(1 / 3)


def test_a_certain_and_wrong_prediction_has_a_finite_loss() -> None:
    probabilities = softmax(np.array([[500.0, -500.0]], dtype=np.float32))
    assert np.isfinite(single_label_metrics(probabilities, np.array([1]))["log_loss"])


def test_most_confused_pairs_come_first_and_without_the_diagonal() -> None:
    counts = np.array([[5, 3, 0], [1, 4, 0], [0, 0, 9]])
    assert most_confused(counts, counts.sum(axis=1), ["a", "b", "c"]) == [
        {"true": "a", "predicted": "b", "count": 3, "share_of_true": 3 / 8},
        {"true": "b", "predicted": "a", "count": 1, "share_of_true": 1 / 5},
    ]


def test_softmax_is_stable() -> None:
    assert softmax(np.array([[1000.0, 1000.0]], dtype=np.float32)).tolist() == [[0.5, 0.5]]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 50), labels=st.integers(2, 6))
def test_multi_label_scores_equal_scikit_learns(seed: int, rows: int, labels: int) -> None:
    random = np.random.default_rng(seed)
    probabilities, targets = random.random((rows, labels)), random.random((rows, labels)) < 0.3
    targets[0, 0] = True
    chosen = probabilities > 0.6
    found = scores_of(probabilities, chosen, targets)
    for average in ("macro", "micro", "weighted", "samples"):
        expected = sk.f1_score(targets, chosen, average=average, zero_division=0)
        assert found[f"{average}_f1"] == pytest.approx(expected, rel=1e-12)  # another order of summands
    assert found["subset_accuracy"] == (chosen == targets).all(axis=1).mean()
    assert found["hamming_loss"] == pytest.approx((chosen != targets).mean())
    present = [i for i in range(labels) if targets[:, i].any()]
    aps = [sk.average_precision_score(targets[:, i], probabilities[:, i]) for i in present]
    assert found["label_ranking_average_precision"] == pytest.approx(
        sk.label_ranking_average_precision_score(targets, probabilities)
    )
    assert found["macro_average_precision"] == pytest.approx(np.mean(aps))
    assert found["log_loss"] == pytest.approx(
        np.mean([sk.log_loss(targets[:, i], probabilities[:, i], labels=[0, 1]) for i in range(labels)])
    )


def test_a_label_without_positives_has_no_ranking_scores() -> None:
    scores, targets = np.array([[0.2, 0.5], [0.7, 0.5]]), np.array([[False, True], [False, True]])
    ranks = ranks_of_labels(Probabilities.of(scores), LabelSets.of(targets), drawn=False)
    rows = per_class_ranking(ranks)
    assert rows == [{"average_precision": None, "auroc": None}, {"average_precision": 1.0, "auroc": None}]


def test_the_mistaken_for_matrix_counts_what_is_given_in_the_place_of_a_missed_label() -> None:
    targets = np.array([[True, False, True], [True, False, False], [False, True, False]])
    chosen = np.array([[True, True, False], [False, False, True], [False, True, False]])
    assert confusion(chosen, targets).toarray().tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]
