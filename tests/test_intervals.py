"""Intervals: seeded, around the score, and right as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from ftclf.data.split import strata
from ftclf.intervals import _draws, _within, draw_scores, interval_of
from ftclf.metrics import one_hot

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
    shares = _within(4, 20000, np.random.default_rng(0))
    assert np.isclose(shares[:, 0].var(), 3 / 16 / 3, rtol=0.05)
    assert (_within(1, 5, np.random.default_rng(0)) == 1).all()


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
