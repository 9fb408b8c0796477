"""Our numbers against scikit-learn and against hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from ftclf.metrics import confusion, headline_metrics, most_confused, per_class_metrics, softmax


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 60), labels=st.integers(2, 7))
def test_scores_equal_scikit_learns(seed: int, rows: int, labels: int) -> None:
    random = np.random.default_rng(seed)
    probabilities = softmax(random.normal(size=(rows, labels)).astype(np.float32))
    truth = random.integers(0, labels, rows)
    found, predicted, ids = headline_metrics(probabilities, truth), probabilities.argmax(1), np.arange(labels)
    assert found["accuracy"] == sk.accuracy_score(truth, predicted)
    assert found["macro_f1"] == pytest.approx(
        np.mean([sk.f1_score(truth == i, predicted == i, zero_division=0) for i in ids])
    )
    assert found["micro_f1"] == pytest.approx(found["accuracy"])
    assert found["log_loss"] == pytest.approx(-np.log(probabilities[np.arange(rows), truth]).mean(), rel=1e-6)
    assert confusion(probabilities, truth, list(map(str, ids))).sum() == rows


def test_a_class_that_is_absent_and_never_predicted_counts_zero() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    truth = np.array([0, 1])
    assert headline_metrics(probabilities, truth)["macro_f1"] == pytest.approx(2 / 3)
    rows = per_class_metrics(probabilities, truth, ["a", "b", "c"])
    assert rows[2] == {"label": "c", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_one_class_predicted_for_all() -> None:
    probabilities = np.tile([0.9, 0.1], (4, 1))
    truth = np.array([0, 0, 1, 1])
    found = headline_metrics(probabilities, truth)
    assert found["accuracy"] == 0.5
    assert found["macro_f1"] == pytest.approx(1 / 3)


def test_a_certain_and_wrong_prediction_has_a_finite_loss() -> None:
    probabilities = softmax(np.array([[500.0, -500.0]], dtype=np.float32))
    assert np.isfinite(headline_metrics(probabilities, np.array([1]))["log_loss"])


def test_most_confused_pairs_come_first_and_without_the_diagonal() -> None:
    counts = np.array([[5, 3, 0], [1, 4, 0], [0, 0, 9]])
    assert most_confused(counts, ["a", "b", "c"]) == [
        {"true": "a", "predicted": "b", "count": 3, "share_of_true": 3 / 8},
        {"true": "b", "predicted": "a", "count": 1, "share_of_true": 1 / 5},
    ]


def test_softmax_is_stable() -> None:
    assert softmax(np.array([[1000.0, 1000.0]], dtype=np.float32)).tolist() == [[0.5, 0.5]]
