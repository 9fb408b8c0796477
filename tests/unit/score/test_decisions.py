"""Thresholds are the best there are: against every possible threshold, on wild scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from ftclf.config import DecisionConfig
from ftclf.score.decisions import (
    Decision,
    best_expected_threshold,
    best_micro_thresholds,
    best_observed_threshold,
    best_single_threshold,
    best_subset_threshold,
    choose_decision,
)

CASES = st.tuples(st.integers(0, 10_000), st.integers(2, 25), st.integers(2, 4), st.booleans())


def case(seed: int, rows: int, labels: int, coarse: bool) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    scores = random.random((rows, labels))
    if coarse:  # many equal scores
        scores = np.round(scores * 4) / 4
    return scores, random.random((rows, labels)) < 0.35


def every_threshold(scores: np.ndarray) -> np.ndarray:
    values = np.unique(scores)
    return np.concatenate([values, [values[-1] + 1]])


@settings(deadline=None, max_examples=150)
@given(CASES)
def test_a_labels_threshold_has_the_best_f1_of_all(made: tuple[int, int, int, bool]) -> None:
    scores, targets = case(*made)
    p, t = scores[:, 0], targets[:, 0]
    best = max(f1_score(t, p >= x, zero_division=0) for x in every_threshold(p))
    assert f1_score(t, p >= best_observed_threshold(p, np.flatnonzero(t)), zero_division=0) == pytest.approx(best)


@settings(deadline=None, max_examples=100)
@given(CASES, st.sampled_from(["macro", "micro"]))
def test_the_single_threshold_has_the_best_f1_of_all(made: tuple[int, int, int, bool], average: str) -> None:
    scores, targets = case(*made)

    def value(threshold: float) -> float:
        return float(f1_score(targets, scores >= threshold, average=average, zero_division=0))

    found = best_single_threshold(scores, targets, objective=f"{average}_f1")
    if targets.any():
        assert value(found) == pytest.approx(max(map(value, every_threshold(scores))))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 6), st.booleans())
def test_micro_thresholds_are_the_best_of_all_combinations(seed: int, rows: int, coarse: bool) -> None:
    scores, targets = case(seed, rows, 2, coarse)
    if not targets.any():
        return

    def value(thresholds: list[float]) -> float:
        return float(f1_score(targets, scores >= np.array(thresholds), average="micro", zero_division=0))

    every = [[a, b] for a in every_threshold(scores[:, 0]) for b in every_threshold(scores[:, 1])]
    assert value(best_micro_thresholds(scores, targets)) == pytest.approx(max(map(value, every)))


@settings(deadline=None, max_examples=150)
@given(CASES)
def test_the_subset_threshold_gets_the_most_rows_exactly_right(made: tuple[int, int, int, bool]) -> None:
    scores, targets = case(*made)

    def right(threshold: float) -> float:
        chosen = Decision("threshold", [threshold], at_least_one=True).decide(scores)
        return float((chosen == targets).all(axis=1).mean())

    assert right(best_subset_threshold(scores, targets)) == max(map(right, every_threshold(scores)))


def test_a_label_with_few_positives_takes_the_expected_threshold() -> None:
    random = np.random.default_rng(0)
    scores = random.random((400, 3))
    targets = random.random((400, 3)) < np.array([0.4, 0.4, 0.02])
    found = choose_decision(scores, targets, DecisionConfig(search="observed"), ["a", "b", "rare"])
    assert found.guarded == ["rare"]
    assert found.thresholds[2] == best_expected_threshold(scores[:, 2])
    assert found.thresholds[0] == best_observed_threshold(scores[:, 0], np.flatnonzero(targets[:, 0]))


def test_the_expected_threshold_is_half_of_the_best_expected_f1() -> None:
    scores = np.random.default_rng(1).beta(0.3, 2, 5000)
    ranked = np.sort(scores)[::-1]
    best = (2 * ranked.cumsum() / (np.arange(1, 5001) + ranked.sum())).max()
    assert best_expected_threshold(scores) == pytest.approx(best / 2, abs=2e-3)
    for objective in ("macro_f1", "micro_f1"):
        probabilities = np.stack([scores, scores], axis=1)
        found = choose_decision(
            probabilities, probabilities > 0.5, DecisionConfig(objective=objective, min_positives=1), ["a", "b"]
        )
        assert found.thresholds == pytest.approx([best / 2, best / 2], abs=2e-3)


def test_expected_thresholds_do_better_on_other_rows_where_labels_are_rare() -> None:
    gained = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        probabilities = random.beta(0.15, 4, (1000, 5))
        targets = random.random(probabilities.shape) < probabilities
        halves = slice(0, 500), slice(500, None)
        scores = []
        for search in ("expected", "observed"):
            wanted = DecisionConfig(search=search, min_positives=1)
            decision = choose_decision(probabilities[halves[0]], targets[halves[0]], wanted, list("abcde"))
            chosen = decision.decide(probabilities[halves[1]])
            scores.append(f1_score(targets[halves[1]], chosen, average="macro", zero_division=0))
        gained.append(scores[0] - scores[1])
    assert np.mean(gained) > 0


def test_rules_decide_as_they_say() -> None:
    p = np.array([[0.9, 0.6, 0.1], [0.2, 0.1, 0.3]])
    assert Decision("argmax").decide(p).tolist() == [[True, False, False], [False, False, True]]
    assert Decision("top_k", k=2).decide(p).tolist() == [[True, True, False], [True, False, True]]
    assert Decision("threshold", [0.5]).decide(p).tolist() == [[True, True, False], [False, False, False]]
    assert Decision("threshold", [0.5], at_least_one=True).decide(p)[1].tolist() == [False, False, True]
    assert Decision("thresholds", [0.95, 0.5, 0.3]).decide(p).tolist() == [[False, True, False], [False, False, True]]


def test_a_label_without_positives_is_never_predicted() -> None:
    scores = np.array([0.9, 0.8])
    assert not (scores >= best_observed_threshold(scores, np.zeros(0, dtype=np.int64))).any()
