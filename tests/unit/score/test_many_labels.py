"""Many labels: what is computed on parts and on lists of labels is what plain tables of all rows and labels give."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from ftclf.config import DecisionConfig
from ftclf.data import label_sets
from ftclf.data.label_sets import LabelSets
from ftclf.score import bootstrap, calibration, decisions, platt, ranking
from ftclf.score.bootstrap import draw_several, ranking_intervals, wilson
from ftclf.score.calibration import SPREAD, USUAL, Calibration, calibration_metrics, fit_calibration, fit_temperature
from ftclf.score.confusion import confusion
from ftclf.score.decisions import Decision, best_micro_thresholds, best_single_threshold, choose_decision, decide_all
from ftclf.score.probabilities import Probabilities
from ftclf.score.ranking import ranks_of_labels
from ftclf.score.task import MULTI_LABEL, task_named

Array = np.ndarray

WILD = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CASES = st.tuples(
    st.integers(0, 10_000), st.integers(2, 40), st.integers(2, 7), st.sampled_from(["single_label", "multi_label"])
)


@pytest.fixture(params=["whole", "in parts"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in one piece, and in pieces of a few rows and labels."""
    if request.param == "in parts":
        for module, names in (
            (label_sets, ("CELLS", "MOST_IDS")),
            (bootstrap, ("MOST_PICKS", "MOST_WEIGHTS", "LARGE")),
            (ranking, ("MOST_SUMS",)),
            (platt, ("SAMPLED", "LABELS_AT_A_TIME")),
        ):
            for name in names:
                monkeypatch.setattr(module, name, 7)
        monkeypatch.setattr("ftclf.score.probabilities.LABELS_AT_A_TIME", 2)


def case(seed: int, rows: int, labels: int, task: str) -> tuple[Array, Array, Array, Array]:
    """Return wild logits, their probabilities, and labels and answers as truth values."""
    random = np.random.default_rng(seed)
    logits = (random.normal(0, 3, (rows, labels)) * random.choice([0.1, 1, 10])).astype(np.float32)
    if seed % 3 == 0:  # many equal scores
        logits = np.round(logits)
    if task == "single_label":
        targets = np.arange(labels) == random.integers(0, labels, rows)[:, None]
        chosen = np.arange(labels) == logits.argmax(axis=1)[:, None]
        return logits, softmax(logits.astype(np.float64), axis=1), targets, chosen
    targets = random.random((rows, labels)) < random.choice([0.0, 0.1, 0.5, 1.0])
    return logits, expit(logits.astype(np.float64)), targets, expit(logits) >= random.choice([0.05, 0.5, 0.9])


# ---- the plain ways: a table of all rows and labels, a loop over classes, labels and draws


def plain_draws(stratum: Array, draws: int, seed: int) -> Iterator[Array]:
    random = np.random.default_rng(seed)
    groups = [np.flatnonzero(stratum == value) for value in np.unique(stratum)]
    for start in range(0, draws, bootstrap.CHUNK):
        count = min(bootstrap.CHUNK, draws - start)
        sizes = random.dirichlet([len(rows) for rows in groups], count) * len(stratum)
        weights = np.zeros((count, len(stratum)))
        for rows, size in zip(groups, sizes.T, strict=True):
            taken = max(1, len(rows) - 1)
            picked = random.integers(0, len(rows), (count, taken))
            for draw in range(count):
                weights[draw, rows] = np.bincount(picked[draw], minlength=len(rows)) / taken * size[draw]
        yield weights


def plain_strata(targets: Array) -> Array:
    counts = np.where(targets, targets.sum(axis=0), np.iinfo(np.int64).max)
    return np.where(targets.any(axis=1), counts.argmin(axis=1), -1)


def plain_interval(values: Array, observed: float, trials: float | None = None) -> tuple[float, float]:
    from scipy.special import ndtr, ndtri

    if trials and np.ptp(values) < 1e-12:
        return wilson(observed * trials, trials)
    near = np.isclose(values, observed, rtol=0, atol=1e-9)
    share = ((values < observed) & ~near).mean() + near.mean() / 2
    bias, half = ndtri(np.clip(share, 0.5 / len(values), 1 - 0.5 / len(values))), ndtri(0.975)
    low, high = np.percentile(values, 100 * ndtr([2 * bias - half, 2 * bias + half]))
    return low, high


def plain_divide(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def plain_scores(chosen: Array, targets: Array, losses: Array, weights: Array) -> tuple[dict[str, Array], Array]:
    tp, fp, fn = (weights @ table.astype(float) for table in (chosen & targets, chosen & ~targets, ~chosen & targets))
    f1, support = plain_divide(2 * tp, 2 * tp + fp + fn), tp + fn
    return {
        "accuracy": weights @ (chosen == targets).all(axis=1) / len(targets),
        "macro_f1": f1.mean(axis=1),
        "micro_f1": plain_divide(2 * tp.sum(axis=1), (2 * tp + fp + fn).sum(axis=1)),
        "weighted_f1": plain_divide((f1 * support).sum(axis=1), support.sum(axis=1)),
        "hamming_loss": (fp + fn).sum(axis=1) / targets.size,
        "log_loss": weights @ losses / len(targets),
    }, f1


def plain_ranking(scores: Array, positive: Array, weights: Array) -> tuple[float, float]:
    """Return average precision and AUROC of weighted rows, by comparing each positive with all rows."""
    precision = area = 0.0
    for row in np.flatnonzero(positive):
        above = scores >= scores[row]
        hits = weights[above & positive].sum()
        precision += weights[row] * (hits / weights[above].sum() if hits else 0)
        below = (
            weights[~positive & (scores < scores[row])].sum() + weights[~positive & (scores == scores[row])].sum() / 2
        )
        area += weights[row] * below
    positives, negatives = weights[positive].sum(), weights[~positive].sum()
    return precision / positives if positives else 0.0, area / (positives * negatives) if positives * negatives else 0.0


# ---- the same numbers


@WILD
@pytest.mark.usefixtures("parts")
@given(CASES)
def test_draws_and_intervals_are_those_of_plain_tables(size: tuple[int, int, int, str]) -> None:
    _, probabilities, targets, chosen = case(*size)
    losses = task_named(size[3]).row_losses(probabilities, targets)
    result, other = draw_several([chosen, targets], targets, losses, draws=60, seed=size[0])
    weights = np.concatenate(list(plain_draws(plain_strata(targets), 60, size[0])))
    expected, f1 = plain_scores(chosen, targets, losses, weights)
    whole, _ = plain_scores(chosen, targets, losses, np.ones((1, len(targets))))
    headline, per_class = result.intervals()
    for name, values in expected.items():
        assert result.scores[name] == pytest.approx(values, abs=1e-12)
        assert result.observed[name] == pytest.approx(whole[name][0], abs=1e-12)
        trials = None if name in bootstrap.LOSSES else len(targets)
        assert headline[name] == pytest.approx(plain_interval(values, whole[name][0], trials), abs=2e-6), name
    for label in range(targets.shape[1]):
        given, true, hits = (table[:, label].sum() for table in (chosen, targets, chosen & targets))
        observed = 2 * hits / (given + true) if given + true else 0.0
        pair = plain_interval(f1[:, label], observed, (given + true) / 2)
        assert per_class[label]["f1"] == pytest.approx(pair, abs=2e-6)
    assert other.scores["accuracy"] == pytest.approx(np.ones(60))


@WILD
@pytest.mark.usefixtures("parts")
@example((204, 6, 6, "multi_label"))  # a draw without a negative row
@given(CASES)
def test_ranking_draws_are_those_of_plain_loops(size: tuple[int, int, int, str]) -> None:
    _, probabilities, targets, _ = case(*size)
    ranks = ranks_of_labels(Probabilities.of(probabilities), LabelSets.of(targets), drawn=True)
    weights = np.concatenate(list(plain_draws(plain_strata(targets), 55, 0)))
    macro, per_class = ranking_intervals(ranks, targets, draws=55)
    drawn = np.array(
        [[plain_ranking(p, t, row) for row in weights] for p, t in zip(probabilities.T, targets.T, strict=True)]
    )
    whole = np.array([plain_ranking(p, t, np.ones(len(t))) for p, t in zip(probabilities.T, targets.T, strict=True)])
    present = targets.any(axis=0)
    if not present.any():
        assert macro is None
        return
    assert macro == pytest.approx(plain_interval(drawn[present, :, 0].mean(axis=0), whole[present, 0].mean()), abs=2e-6)
    for label, result in enumerate(per_class):
        kinds = [("average_precision", 0), ("auroc", 1)][: int(present[label]) * (1 + int(not targets[:, label].all()))]
        assert list(result) == [name for name, _ in kinds]
        for name, kind in kinds:
            assert result[name] == pytest.approx(plain_interval(drawn[label, :, kind], whole[label, kind]), abs=2e-6)


@pytest.mark.parametrize("coarse", [False, True])
def test_rows_that_are_weighed_together_move_no_interval_much(monkeypatch: pytest.MonkeyPatch, coarse: bool) -> None:
    random = np.random.default_rng(0)
    targets = random.random((6000, 4)) < np.array([0.004, 0.02, 0.1, 0.4])
    scores = expit(random.normal(size=targets.shape) + 1.5 * targets)
    scores = np.round(scores, 1) if coarse else scores

    def result() -> list[dict[str, tuple[float, float]]]:
        ranks = ranks_of_labels(Probabilities.of(scores), LabelSets.of(targets), drawn=True)
        weighed.append(sum(len(rank.first) for rank in ranks))
        macro, per_class = ranking_intervals(ranks, targets, draws=200)
        return [*per_class, {"macro": macro or (0.0, 0.0)}]

    weighed: list[int] = []
    exact = result()
    monkeypatch.setattr(ranking, "FIRST_PLACES", 400)
    near = result()
    assert weighed[1] < 0.7 * weighed[0]
    for intervals_of_label, other in zip(exact, near, strict=True):
        for name, (low, high) in intervals_of_label.items():
            assert other[name] == pytest.approx((low, high), abs=0.1 * (high - low)), name


@WILD
@pytest.mark.usefixtures("parts")
@given(CASES)
def test_sets_of_labels_are_what_tables_of_truth_values_are(size: tuple[int, int, int, str]) -> None:
    _, _, targets, chosen = case(*size)
    sets, other = LabelSets.of(chosen), LabelSets.of(targets)
    assert (sets.dense() == chosen).all()
    assert ((sets & other).dense() == (chosen & targets)).all()
    assert ((sets - other).dense() == (chosen & ~targets)).all()
    assert (sets.per_row == chosen.sum(axis=1)).all()
    assert (sets.per_label == chosen.sum(axis=0)).all()
    assert (sets.same(other) == (chosen == targets).all(axis=1)).all()
    assert (other.rarest() == plain_strata(targets)).all()
    random = np.random.default_rng(size[0])
    weights, rows = random.random((3, len(chosen))), random.random(len(chosen)) < 0.5
    assert sets.sums(weights) == pytest.approx(weights @ chosen)
    assert (sets.take(rows).dense() == chosen[rows]).all()
    wanted = np.flatnonzero(random.random(chosen.shape[1]) < 0.5)
    assert (sets.only(wanted).dense() == chosen[:, wanted]).all()
    assert all((sets.column(label) == chosen[:, label]).all() for label in range(chosen.shape[1]))
    assert [rows.tolist() for rows in sets.by_label()] == [np.flatnonzero(column).tolist() for column in chosen.T]
    assert sets.equals(LabelSets.of(chosen)) == sets.equals(sets)
    missed, wrong = (table.astype(int) for table in (targets & ~chosen, chosen & ~targets))
    counts = missed.T @ wrong
    np.fill_diagonal(counts, (targets & chosen).sum(axis=0))
    assert (confusion(chosen, targets).toarray() == counts).all()


@WILD
@pytest.mark.usefixtures("parts")
@given(CASES)
def test_scores_from_logits_in_parts_are_those_of_a_whole_table(size: tuple[int, int, int, str]) -> None:
    logits, probabilities, targets, chosen = case(*size)
    task = task_named(size[3])
    several = task.several
    lazily = Calibration().scaled(logits, task)
    assert lazily.whole() == pytest.approx(probabilities, rel=1e-12)
    clipped = np.clip(probabilities, np.finfo(np.float64).eps, 1 - 1e-15)
    if several:
        losses = -np.where(targets, np.log(clipped), np.log1p(-clipped)).mean(axis=1)
        sure = np.where(chosen, probabilities, 1 - probabilities).prod(axis=1)
        columns = np.array(list(lazily.columns()))
        assert columns == pytest.approx(probabilities.T, rel=1e-12)
        assert lazily.column(1) == pytest.approx(probabilities[:, 1], rel=1e-12)
    else:
        losses, sure = -np.log(clipped[targets]), probabilities.max(axis=1)
    assert task.row_losses(lazily, targets) == pytest.approx(losses, rel=1e-9, abs=1e-12)
    assert task.confidence(lazily, chosen) == pytest.approx(sure, rel=1e-9, abs=1e-14)
    sets, whole = LabelSets.of(targets), Probabilities.of(probabilities)
    expected = task.choosing_metrics(whole, sets, losses)
    assert task.choosing_metrics(lazily, sets, losses) == pytest.approx(expected, rel=1e-9)
    assert expected["log_loss"] == pytest.approx(losses.mean())
    _same_calibration(calibration_metrics(lazily, lazily, targets, task), probabilities, targets, several=several)


def _same_calibration(result: dict[str, Any], probabilities: Array, targets: Array, *, several: bool) -> None:
    best = np.arange(len(probabilities)), probabilities.argmax(axis=1)
    claimed, true = (probabilities.ravel(), targets.ravel()) if several else (probabilities[best], targets[best])
    place = np.minimum((claimed * calibration.BINS).astype(int), calibration.BINS - 1)
    bins = [
        {
            "count": (place == number).sum(),
            "confidence": claimed[place == number].mean(),
            "accuracy": true[place == number].mean(),
        }
        for number in np.unique(place)
    ]
    squares = (probabilities - targets) ** 2
    assert result["brier"] == pytest.approx(squares.mean() if several else squares.sum(axis=1).mean(), abs=1e-12)
    for row, expected in zip(result["bins"], bins, strict=True):
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_the_error_by_chance_of_many_claims_is_computed_as_draws_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(0).normal(-2, 2, (4000, 6)).astype(np.float32)
    targets = np.zeros(logits.shape, dtype=bool)
    scaled = Calibration().scaled(logits, MULTI_LABEL)
    drawn = calibration_metrics(scaled, scaled, targets, MULTI_LABEL)["ece_by_chance"]
    monkeypatch.setattr(calibration, "MOST_DRAWN", 0)
    computed = calibration_metrics(scaled, scaled, targets, MULTI_LABEL)["ece_by_chance"]
    assert computed == pytest.approx(drawn, rel=0.25)  # 20 draws scatter by about 7 %


@WILD
@pytest.mark.usefixtures("parts")
@given(CASES, st.integers(1, 4))
def test_rules_give_what_a_stable_order_of_the_labels_gives(size: tuple[int, int, int, str], k: int) -> None:
    _, probabilities, _, _ = case(*size)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    best = np.zeros(probabilities.shape, dtype=bool)
    np.put_along_axis(best, order[:, :k], values=True, axis=1)
    first = np.zeros(probabilities.shape, dtype=bool)
    np.put_along_axis(first, order[:, :1], values=True, axis=1)
    over = probabilities >= 0.6
    rules = Decision("top_k", k=k), Decision(), Decision("threshold", [0.6]), Decision("threshold", [0.6], 1, True)
    expected = best, first, over, over | (first & ~over.any(axis=1, keepdims=True))
    for result, table in zip(decide_all(rules, probabilities), expected, strict=True):
        assert (result.dense() == table).all()


# ---- scalings


def plain_loss(logits: Array, labels: Array, temperature: float) -> float:
    logs = log_softmax(logits.astype(np.float64) / temperature, axis=1)
    unusual = np.log(temperature / USUAL) ** 2 / (2 * SPREAD**2)
    return -float(logs[np.arange(len(labels)), labels].mean()) + unusual / len(labels)


@WILD
@pytest.mark.usefixtures("parts")
@given(CASES)
def test_no_other_temperature_has_a_lower_loss(size: tuple[int, int, int, str]) -> None:
    logits, _, targets, _ = case(*size[:3], "single_label")
    labels = targets.argmax(axis=1)
    result = fit_temperature(logits, labels)
    assert 0.05 <= result <= 20
    for other in (*(result * np.array([0.99, 0.9999, 1.0001, 1.01])), 0.05, 1.0, 20.0):
        if 0.05 <= other <= 20:
            assert plain_loss(logits, labels, result) <= plain_loss(logits, labels, float(other)) + 1e-12


@WILD
@pytest.mark.usefixtures("parts")
@given(st.integers(0, 10_000), st.integers(20, 400), st.booleans())
def test_a_platt_scaling_is_the_logistic_regression_of_scikit_learn(seed: int, rows: int, apart: bool) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(random.normal(0, 4), random.uniform(0.3, 4), (rows, 3)).astype(np.float32)
    truth = random.random(logits.shape) < expit(
        random.normal(0, 2, 3) * (logits - logits.mean()) + random.normal(0, 2, 3)
    )
    if apart:  # a slope without end, but for the penalty
        truth[:, 0] = logits[:, 0] > np.quantile(logits[:, 0], 0.8)
    result = fit_calibration(logits, truth, method="platt", label_names=list("abc"), min_positives=1)
    for label in range(3):
        z, positive = logits[:, label].astype(np.float64), truth[:, label]
        if positive.all() or not positive.any():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # its line search ends where rounding begins
            model = LogisticRegression(C=1e4, tol=1e-10, max_iter=20_000).fit(z[:, None], positive)
        expected = float(model.coef_[0, 0]), float(model.intercept_[0])
        if expected[0] > 1e-3:
            assert (result.slopes[label], result.offsets[label]) == pytest.approx(
                expected, rel=2e-3 if apart else 2e-5, abs=1e-4
            )


def test_all_labels_together_are_scaled_by_one_regression_on_all_logits() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(-1, 2, (90, 4)).astype(np.float32)
    truth = random.random(logits.shape) < expit(0.7 * logits - 1)
    result = fit_calibration(logits, truth, method="platt", label_names=list("abcd"), min_positives=1000)
    model = LogisticRegression(C=1e4, tol=1e-10).fit(logits.astype(np.float64).reshape(-1, 1), truth.ravel())
    assert result.slopes == pytest.approx([model.coef_[0, 0]] * 4, rel=1e-6)
    assert result.offsets == pytest.approx([model.intercept_[0]] * 4, rel=1e-6)


# ---- thresholds


@WILD
@pytest.mark.usefixtures("parts")
@given(CASES, st.sampled_from([0.5, 1.0, 2.0]))
def test_expected_thresholds_are_the_best_cuts_of_sorted_scores(size: tuple[int, int, int, str], beta: float) -> None:
    _, probabilities, targets, _ = case(*size[:3], "multi_label")
    wanted = DecisionConfig(search="expected", min_positives=1, beta=beta)
    macro = choose_decision(probabilities, targets, wanted, [*"abcdefg"][: size[2]]).thresholds
    for scores, threshold in zip(probabilities.T, macro, strict=True):
        ranked = np.sort(scores)[::-1]
        value = (1 + beta**2) * np.cumsum(ranked) / (np.arange(1, len(ranked) + 1) + beta**2 * ranked.sum())
        taken = scores[scores >= threshold]
        attained = (1 + beta**2) * taken.sum() / (len(taken) + beta**2 * scores.sum())
        assert attained == pytest.approx(value.max())
    micro = best_micro_thresholds(probabilities, None, beta=beta)
    taken = probabilities >= np.array(micro)
    ranked = np.sort(probabilities.ravel())[::-1]
    value = (1 + beta**2) * np.cumsum(ranked) / (np.arange(1, len(ranked) + 1) + beta**2 * ranked.sum())
    attained = (1 + beta**2) * probabilities[taken].sum() / (taken.sum() + beta**2 * probabilities.sum())
    assert attained == pytest.approx(value.max())


@pytest.mark.parametrize("objective", ["macro_f1", "micro_f1"])
@pytest.mark.parametrize("observed", [False, True])
def test_one_threshold_of_many_scores_is_nearly_the_best_of_all(
    monkeypatch: pytest.MonkeyPatch, objective: str, observed: bool
) -> None:
    random = np.random.default_rng(0)
    probabilities = random.beta(0.3, 3, (400, 6))
    targets = random.random(probabilities.shape) < probabilities

    def value(threshold: float) -> float:
        taken = probabilities >= threshold
        counted = targets if observed else probabilities
        hits, count, true = (counted * taken).sum(axis=0), taken.sum(axis=0), counted.sum(axis=0)
        if objective == "micro_f1":
            return float(2 * hits.sum() / (count.sum() + true.sum()))
        return float((2 * hits / (count + true)).mean())

    best = best_single_threshold(probabilities, targets if observed else None, objective=objective)
    monkeypatch.setattr(decisions, "MOST_SORTED", 0)
    near = best_single_threshold(probabilities, targets if observed else None, objective=objective)
    assert value(best) - 0.002 <= value(near) <= value(best) + 1e-9


def test_a_search_that_begins_beside_the_best_value_ends_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities = np.random.default_rng(0).beta(0.3, 3, (300, 5))
    probabilities[::10] = 0.9  # the rows that the search begins with promise too much
    expected = best_micro_thresholds(probabilities, None)
    monkeypatch.setattr(decisions, "SAMPLED", 150)
    assert best_micro_thresholds(probabilities, None) == expected
