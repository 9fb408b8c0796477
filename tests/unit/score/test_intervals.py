"""Intervals: seeded, around the score, and right as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from ftclf.data.label_sets import LabelSets
from ftclf.data.split import strata
from ftclf.score.bootstrap import _draws, _within, draw_scores, interval_of, ranking_intervals
from ftclf.score.metrics import one_hot
from ftclf.score.probabilities import Probabilities
from ftclf.score.ranking import rank_label, ranks_of_labels

CONFUSION = np.array([[0.8, 0.15, 0.05], [0.2, 0.6, 0.2], [0.1, 0.3, 0.6]])  # true label to predicted label
SIZES = np.array([300, 120, 40])


def sample(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a test set from a classifier whose true scores are known."""
    random = np.random.default_rng(seed)
    truth = np.repeat(np.arange(3), SIZES)
    predicted = np.array([random.choice(3, p=CONFUSION[label]) for label in truth])
    return one_hot(predicted, 3), one_hot(truth, 3)


def true_scores() -> dict[str, float]:
    counts = CONFUSION * SIZES[:, None]
    f1 = 2 * np.diag(counts) / (counts.sum(axis=0) + counts.sum(axis=1))
    return {
        "accuracy": np.diag(counts).sum() / counts.sum(),
        "macro_f1": f1.mean(),
        "weighted_f1": f1 @ SIZES / SIZES.sum(),
    }


def test_the_same_rows_give_the_same_interval_around_the_score() -> None:
    chosen, targets = sample(0)
    losses = np.linspace(0, 2, len(targets))
    found, per_class = draw_scores(chosen, targets, losses, draws=200).intervals()
    assert (found, per_class) == draw_scores(chosen, targets, losses, draws=200).intervals()
    value = f1_score(targets.argmax(1), chosen.argmax(1), average="macro")
    assert found["macro_f1"][0] < value < found["macro_f1"][1]
    assert found["log_loss"][0] < losses.mean() < found["log_loss"][1]
    assert len(per_class) == 3


def test_every_draw_has_as_many_rows_and_classes_whose_sizes_scatter_as_those_of_test_sets() -> None:
    _, targets = sample(0)
    weights = np.concatenate(list(_draws(strata(targets), 4000, 0)))
    sizes, rows = weights @ targets, len(targets)
    assert np.allclose(weights.sum(axis=1), rows)
    assert np.allclose(sizes.mean(axis=0), SIZES, rtol=0.02)
    assert np.allclose(sizes.std(axis=0), np.sqrt(SIZES * (1 - SIZES / rows)), rtol=0.1)


def test_the_mean_of_a_small_class_scatters_as_theory_says() -> None:
    """Four rows, one of them right: the variance of their mean is 3/16 over 3, not over 4; one row has none."""
    shares = _within(np.array([4]), 20000, np.random.default_rng(0))
    assert np.isclose(shares[:, 0].var(), 3 / 16 / 3, rtol=0.05)
    assert (_within(np.array([1]), 5, np.random.default_rng(0)) == 1).all()


def test_an_interval_is_corrected_for_the_bias_of_its_draws() -> None:
    """Draws lie below the score as the score lies below the truth: the interval goes above both."""
    draws = np.random.default_rng(0).normal(0.48, 0.01, 20000)
    low, high = interval_of(draws, 0.49)
    assert (low, high) == pytest.approx((0.48, 0.52), abs=0.002)
    assert interval_of(draws, 0.48) == pytest.approx((0.4604, 0.4996), abs=0.002)


def test_where_no_draw_differs_the_interval_is_wilsons() -> None:
    targets = one_hot(np.array([0, 0, 1, 2, 2]), 4)
    found, per_class = draw_scores(targets, targets, np.zeros(5), draws=50).intervals()
    assert found["accuracy"] == pytest.approx((0.5655, 1.0), abs=1e-3)  # 5 of 5
    assert per_class[0]["f1"] == pytest.approx((0.3424, 1.0), abs=1e-3)  # 2 of 2
    assert per_class[3]["f1"] == (0, 0)  # no row: nothing is known, and nothing is claimed
    assert found["log_loss"] == (0, 0)


def test_rows_are_stratified_by_their_rarest_label() -> None:
    targets = np.array([[True, True], [True, False], [True, False], [False, False]])
    assert strata(targets).tolist() == [1, 0, 0, -1]


@pytest.mark.slow
def test_an_interval_of_95_percent_holds_the_truth_about_95_times_in_100() -> None:
    """With 400 test sets the share itself scatters by 1.1 points: 92 to 98 is three times that."""
    truth, inside = true_scores(), {"accuracy": 0, "macro_f1": 0, "weighted_f1": 0}
    for seed in range(400):
        chosen, targets = sample(seed)
        found, _ = draw_scores(chosen, targets, np.zeros(len(targets)), draws=300, seed=seed).intervals()
        for name in inside:
            inside[name] += found[name][0] <= truth[name] <= found[name][1]
    assert all(0.92 <= count / 400 <= 0.98 for count in inside.values()), inside


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 40), st.booleans())
def test_drawn_rows_are_ranked_as_scikit_learn_ranks_weighted_ones(seed: int, rows: int, coarse: bool) -> None:
    random = np.random.default_rng(seed)
    scores = random.random(rows)
    if coarse:  # many equal scores
        scores = np.round(scores * 3) / 3
    positive = random.random(rows) < 0.4
    positive[:2] = True, False
    weights = random.random((4, rows))
    weights *= rows / weights.sum(axis=1, keepdims=True)
    precision, area = rank_label(scores, np.flatnonzero(positive), places=rows).drawn(weights.T)
    for drawn, weight in enumerate(weights):
        expected = average_precision_score(positive, scores, sample_weight=weight)
        assert precision[drawn] == pytest.approx(expected)
        assert area[drawn] == pytest.approx(roc_auc_score(positive, scores, sample_weight=weight))


def test_ranking_scores_lie_in_their_intervals_and_a_label_without_rows_has_none() -> None:
    random = np.random.default_rng(0)
    probabilities = random.random((300, 4))
    targets = random.random((300, 4)) < 0.3 + 0.4 * probabilities
    targets[:, 2], targets[:, 3] = False, True
    ranks = ranks_of_labels(Probabilities.of(probabilities), LabelSets.of(targets), drawn=True)
    macro, per_class = ranking_intervals(ranks, targets, draws=200)
    assert macro is not None
    for label in (0, 1):
        low, high = per_class[label]["average_precision"]
        assert low < average_precision_score(targets[:, label], probabilities[:, label]) < high
        low, high = per_class[label]["auroc"]
        assert low < roc_auc_score(targets[:, label], probabilities[:, label]) < high
    assert per_class[2] == {}
    assert list(per_class[3]) == ["average_precision"]
