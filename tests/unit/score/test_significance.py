"""Differences between classifiers: exact where a formula is known, careful where the seed's chance is not seen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from ftclf.report.leaderboard import on_front
from ftclf.score import bootstrap
from ftclf.score.metrics import one_hot
from ftclf.score.significance import Difference, Outcome, Side, corrected, difference, mcnemar_exact, mean_difference

ROWS, LABELS = 3000, 4


def side(name: str, *accuracies: float, seed: int = 0, flips: float = 0.1) -> Side:
    """Return a side whose seeds are right on the same rows but for a part of them, each with its own accuracy."""
    random = np.random.default_rng(seed)
    labels = np.random.default_rng(99).integers(0, LABELS, ROWS)
    fixed = np.random.default_rng(98).random(ROWS)
    outcomes = []
    for accuracy in accuracies:
        coin = random.random(ROWS) < 0.5 + (accuracy - 0.6) / (2 * flips)
        right = np.where(fixed < 2 * flips, coin, fixed < 0.6 + flips)
        chosen = one_hot(np.where(right, labels, (labels + 1) % LABELS), LABELS)
        outcomes.append(Outcome(chosen, one_hot(labels, LABELS), np.where(right, 0.2, 2.0)))
    return Side(name, tuple(outcomes))


def test_mcnemars_exact_test_is_the_binomial_test_of_the_rows_that_flipped() -> None:
    random = np.random.default_rng(0)
    for only_a, only_b in [(0, 0), (1, 0), *random.integers(0, 60, (40, 2)).tolist()]:
        expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
        assert mcnemar_exact(only_a, only_b) == pytest.approx(expected)
        assert mcnemar_exact(only_a, only_b) == pytest.approx(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue)


def test_holm_corrects_for_all_comparisons_as_by_hand() -> None:
    found = difference(side("a", 0.6, seed=1), side("b", 0.6, seed=2), score="accuracy")
    made = [Difference(**{**found.__dict__, "p_value": p}) for p in (0.04, 0.01, 0.03)]
    # 0.01 * 3, then 0.03 * 2; 0.04 * 1 must not fall below the one before it
    assert [one.p_corrected for one in corrected(made)] == pytest.approx([0.06, 0.03, 0.06])
    assert corrected([]) == []
    for count in (1, 2, 7, 40):
        values = np.random.default_rng(count).random(count) ** 3
        values[: count // 3] = values[0]  # some are equal
        many = [Difference(**{**found.__dict__, "p_value": p}) for p in values]
        expected = multipletests(values, method="holm")[1]
        assert [one.p_corrected for one in corrected(many)] == pytest.approx(expected)


def test_a_run_is_equal_to_itself() -> None:
    a = side("a", 0.6)
    (found,) = corrected([difference(a, Side("b", a.outcomes), score="accuracy")])
    assert found.verdict == "equal within 0.01"
    assert (found.p_value, found.only_a_right, found.only_b_right) == (1, 0, 0)
    assert set(found.scores.values()) == {(0, 0, 0)}
    assert difference(a, Side("b", a.outcomes), score="macro_f1").p_value == 1


def test_a_planted_difference_is_found_from_both_sides() -> None:
    good, bad = side("good", 0.65, seed=1), side("bad", 0.6, seed=2)
    for score in ("accuracy", "macro_f1"):
        found, turned = difference(good, bad, score=score), difference(bad, good, score=score)
        assert (found.verdict, turned.verdict) == ("better", "worse")
        value, low, high = found.scores[score]
        assert low < 0.05 < high
        assert low < value < high
        assert turned.scores[score] == pytest.approx((-value, -high, -low), abs=1e-3)
    assert found.only_a_right - found.only_b_right == pytest.approx(ROWS * found.scores["accuracy"][0])
    assert found.mcnemar == turned.mcnemar == mcnemar_exact(found.only_a_right, found.only_b_right)


def test_the_paired_interval_is_narrower_than_that_of_two_samples() -> None:
    a, b = side("a", 0.6, seed=1), side("b", 0.6, seed=2)
    _, low, high = difference(a, b, score="accuracy").scores["accuracy"]
    spread = [one.outcomes[0].draws.scores["accuracy"].std() for one in (a, b)]
    assert high - low < 0.7 * 2 * 1.96 * np.hypot(*spread)


def test_one_seed_a_side_asks_for_more_than_several() -> None:
    """The same p-value and the same difference: seeds may be all there is to it where none was repeated."""
    found = difference(side("a", 0.6, seed=1), side("b", 0.6, seed=2), score="accuracy")
    base = {**found.__dict__, "equal_within": False, "scores": {"accuracy": (0.02, 0.001, 0.04)}}
    assert Difference(**{**base, "p_corrected": 0.02}).verdict == "inconclusive"
    assert Difference(**{**base, "p_corrected": 0.002}).verdict == "better"
    assert Difference(**{**base, "p_corrected": 0.02, "seeds": (3, 3)}).verdict == "better"
    small = {**base, "p_corrected": 1e-6, "scores": {"accuracy": (-0.008, -0.012, -0.005)}}
    assert Difference(**small).verdict == "inconclusive"
    assert Difference(**{**small, "seeds": (2, 3)}).verdict == "worse"
    assert Difference(**{**small, "equal_within": True}).verdict == "equal within 0.01"


def test_a_wider_margin_makes_more_runs_equal() -> None:
    a, b = side("a", 0.6, seed=1), side("b", 0.6, seed=2)
    assert difference(a, b, score="accuracy", margin=0.05).verdict == "equal within 0.05"
    assert not difference(a, b, score="accuracy", margin=0.001).equal_within


def test_few_rows_that_differ_prove_nothing() -> None:
    """A is right on all four rows of a class and B on none: every draw says so, and four rows stay four rows."""
    targets = one_hot(np.array([0] * 4 + [1] * 100), 2)
    wrong = targets.copy()
    wrong[:4] = ~wrong[:4]
    a, b = (Side(name, (Outcome(chosen, targets, np.zeros(104)),)) for name, chosen in (("a", targets), ("b", wrong)))
    found = difference(a, b, score="macro_f1")
    assert found.scores["macro_f1"][0] > 0.4
    assert found.p_value == found.mcnemar == 0.125
    assert found.verdict == "inconclusive"


def test_with_seeds_that_agree_the_rows_chance_is_all_there_is() -> None:
    a, b = side("a", 0.62, seed=1), side("b", 0.6, seed=2)
    value, error, freedom = mean_difference(Side("a", a.outcomes * 3), Side("b", b.outcomes * 3), "accuracy")
    draws = a.outcomes[0].draws.less(b.outcomes[0].draws)["accuracy"]
    assert error == pytest.approx(draws.std(ddof=1))
    assert freedom == np.inf
    assert value == pytest.approx(difference(a, b, score="accuracy").scores["accuracy"][0])


def test_seeds_that_scatter_widen_the_interval_as_the_formula_says() -> None:
    a, b = side("a", 0.58, 0.60, 0.62, seed=1), side("b", 0.57, 0.60, 0.63, seed=2)
    _, error, freedom = mean_difference(a, b, "accuracy")
    values = [[outcome.right.mean() for outcome in one.outcomes] for one in (a, b)]
    seeds = sum(np.var(one, ddof=1) / 3 for one in values)
    assert error**2 >= seeds
    assert 4 <= freedom < 8
    found = difference(a, b, score="accuracy")
    assert found.mcnemar is None
    _, low, high = found.scores["accuracy"]
    assert high - low > 2 * 2.3 * np.sqrt(seeds)  # t of 8 degrees of freedom at most


def test_a_side_of_one_seed_is_compared_with_one_of_several() -> None:
    found = difference(side("a", 0.68, seed=1), side("b", 0.60, 0.601, 0.599, seed=2), score="accuracy")
    assert (found.seeds, found.verdict) == ((1, 3), "better")


@pytest.mark.slow
def test_two_groups_of_seeds_of_one_config_are_called_different_in_5_of_100_pairs_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """150 pairs of two seeds a side, the fewest there can be; 5 % and three times its own scatter are 10 %."""
    random, wrong = np.random.default_rng(0), 0
    drawn = list(bootstrap._draws(side("a", 0.6).outcomes[0].truth.rarest(), bootstrap.DRAWS, 0))
    monkeypatch.setattr(bootstrap, "_draws", lambda *_: drawn)  # all have the same targets, and so the same draws
    for seed in range(150):
        a, b = (side(n, *(0.6 + 0.005 * random.standard_normal(2)), seed=2 * seed + k) for k, n in enumerate("ab"))
        wrong += difference(a, b, score="accuracy", margin=0).verdict in ("better", "worse")
    assert wrong <= 15


def test_other_rows_are_refused() -> None:
    a = side("a", 0.6)
    other = Outcome(a.outcomes[0].chosen[1:], a.outcomes[0].targets[1:], a.outcomes[0].losses[1:])
    with pytest.raises(ValueError, match="different test rows"):
        difference(a, Side("b", (other,)), score="accuracy")


def test_several_labels_a_row_are_right_only_all_together() -> None:
    targets = np.array([[True, True], [True, False], [False, False]])
    chosen = np.array([[True, False], [True, False], [False, False]])
    outcome = Outcome(chosen, targets, np.zeros(3))
    assert outcome.right.tolist() == [False, True, True]
    assert Side("a", (outcome, Outcome(targets, targets, np.zeros(3)))).right.tolist() == [False, True, True]


def test_the_front_holds_what_no_other_run_beats() -> None:
    points = {"error": [0.1, 0.2, 0.2, 0.3, 0.1], "weights": [9.0, 3.0, 4.0, 1.0, 9.0]}
    assert on_front(points) == [True, True, False, True, True]
    assert on_front({**points, "latency": [1.0, 1.0, 0.5, 1.0, 2.0]}) == [True, True, True, True, False]
