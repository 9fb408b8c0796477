"""Scalings: fitted on validation, they change no answer and bring the probabilities to the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import brier_score_loss

from conftest import tiny_words
from ftclf.cli.main import run
from ftclf.score.calibration import (
    BINS,
    brier_score,
    calibration_metrics,
    error_by_chance,
    expected_calibration_error,
    fit_calibration,
    fit_temperature,
    reliability_bins,
)
from ftclf.score.metrics import one_hot, sigmoid, softmax
from ftclf.score.task import MULTI_LABEL, SINGLE_LABEL
from ftclf.storage.run_folder import Run, read_json

NAMES = ["a", "b", "c"]


def drawn(seed: int, rows: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Return logits, and labels that are drawn from the softmax of them."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (rows, 3)).astype(np.float32)
    labels = (softmax(logits).cumsum(axis=1) > random.random((rows, 1))).argmax(axis=1)
    return logits, labels


def test_the_temperature_of_overconfident_logits_is_found() -> None:
    logits, labels = drawn(0)
    assert fit_temperature(logits * 3, labels) == pytest.approx(3, rel=0.05)
    assert fit_temperature(logits / 4, labels) == pytest.approx(0.25, rel=0.05)


def test_where_every_row_is_right_the_temperature_does_not_collapse() -> None:
    labels = np.arange(222) % 5
    logits = 4 * one_hot(labels, 5).astype(np.float32)
    assert fit_temperature(logits, labels) > 0.4


def test_scaling_changes_no_answer_and_lowers_the_error() -> None:
    logits, labels = drawn(1)
    logits = logits * 3
    found = fit_calibration(logits, labels, method="auto", label_names=NAMES, min_positives=20)
    raw, scaled = softmax(logits), found.probabilities(logits, SINGLE_LABEL)
    assert (raw.argmax(axis=1) == scaled.argmax(axis=1)).all()
    metrics = calibration_metrics(raw, scaled, one_hot(labels, 3), SINGLE_LABEL)
    assert metrics["ece_before"] > 0.08
    assert metrics["ece"] < 0.015
    assert metrics["brier"] < metrics["brier_before"]


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_each_label_is_scaled_on_its_own(method: str) -> None:
    random = np.random.default_rng(2)
    logits = random.normal(0, 2, (20_000, 3)).astype(np.float32)
    slopes, offsets = np.array([0.5, 1.0, 2.0]), np.array([-1.0, 0.0, 1.0])
    truth = expit(logits * slopes + offsets)
    labels = random.random(truth.shape) < truth
    found = fit_calibration(logits, labels, method=method, label_names=NAMES, min_positives=20)
    assert np.abs(found.probabilities(logits, MULTI_LABEL) - truth).mean() < 0.02
    if method == "platt":
        assert found.slopes == pytest.approx(slopes, rel=0.1)
        assert found.offsets == pytest.approx(offsets, abs=0.1)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_label_with_few_rows_is_scaled_as_all_together(method: str) -> None:
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, (500, 3)).astype(np.float32)
    labels = random.random(logits.shape) < expit(logits)
    labels[:, 2] = False
    labels[:3, 2] = True
    found = fit_calibration(logits, labels, method=method, label_names=NAMES, min_positives=20)
    assert found.guarded == ["c"]
    probabilities = found.probabilities(logits, MULTI_LABEL)
    assert (np.diff(probabilities[np.argsort(logits[:, 2]), 2]) >= 0).all()
    assert probabilities.min() > 0
    assert probabilities.max() < 1


def test_a_label_whose_logits_point_the_wrong_way_keeps_its_ranking() -> None:
    logits = np.linspace(-3, 3, 200, dtype=np.float32)[:, None].repeat(2, axis=1)
    labels = np.stack([logits[:, 0] > 0, logits[:, 1] < 0], axis=1)
    found = fit_calibration(logits, labels, method="platt", label_names=["a", "b"], min_positives=20)
    assert (np.diff(found.probabilities(logits, MULTI_LABEL), axis=0) >= 0).all()


def test_probabilities_without_a_fault_show_the_error_of_chance() -> None:
    logits, labels = drawn(4, rows=2000)
    p = softmax(logits)
    found = calibration_metrics(p, p, one_hot(labels, 3), SINGLE_LABEL)
    assert 0.005 < found["ece_by_chance"] < 0.04
    assert found["ece"] < 2 * found["ece_by_chance"]
    assert error_by_chance(np.ones(50)) == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 200))
def test_the_calibration_error_is_its_definition(seed: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    confidence, true = random.random(rows), random.random(rows) < 0.5
    confidence[0] = 1.0
    total = 0.0
    for index in range(BINS):
        low, high = index / BINS, (index + 1) / BINS
        inside = [i for i in range(rows) if low <= confidence[i] < high or (index == BINS - 1 and confidence[i] == 1)]
        if inside:
            total += len(inside) / rows * abs(np.mean(true[inside]) - np.mean(confidence[inside]))
    assert expected_calibration_error(reliability_bins(confidence, true)) == pytest.approx(total)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(2, 6))
def test_the_brier_score_is_scikit_learns(seed: int, rows: int, labels: int) -> None:
    random = np.random.default_rng(seed)
    p = softmax(random.normal(size=(rows, labels)).astype(np.float32))
    truth = random.integers(0, labels, rows)  # a label may be absent
    expected = brier_score_loss(truth, p, labels=np.arange(labels), scale_by_half=False)
    assert brier_score(p, one_hot(truth, labels), SINGLE_LABEL) == pytest.approx(expected)
    several = random.random((rows, labels)) < 0.3
    q = sigmoid(random.normal(size=(rows, labels)))
    expected = brier_score_loss(several.ravel(), q.ravel(), pos_label=True)
    assert brier_score(q, several, MULTI_LABEL) == pytest.approx(expected)


def test_the_scaling_stands_in_the_checkpoint_and_in_the_metrics(trained: Run) -> None:
    info = read_json(trained.checkpoint / "ftclf.json")
    assert info["calibration"]["method"] == "temperature"
    assert info["calibration"]["temperature"] > 0
    for split in ("validation", "test"):
        found = read_json(trained.metrics)[split]["calibration"]
        assert found["method"] == "temperature"
        assert sum(one["count"] for one in found["bins"]) == read_json(trained.metrics)[split]["rows"]


def test_a_scaling_of_the_other_task_is_refused(
    tiny_models: dict[str, Path], reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tiny_words(tiny_models["bert"], reviews, tmp_path / "run", "decision.calibration=platt")) == 2
    assert "got 'platt', allowed with dataset.task=single_label: auto, none, temperature" in capsys.readouterr().err


def claimed(rows: int, times: float, *, several: bool, seed: int = 0) -> tuple[Any, Any]:
    """Return logits that claim `times` too much, and labels drawn as the true ones say."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (rows, 4))
    if several:
        return (times * logits).astype(np.float32), random.random((rows, 4)) < sigmoid(logits)
    shares = softmax(logits).cumsum(axis=1)
    return (times * logits).astype(np.float32), (random.random((rows, 1)) > shares).sum(axis=1).clip(0, 3)


@pytest.mark.parametrize("several", [False, True])
def test_few_rows_are_scaled_where_that_helps_others(several: bool) -> None:
    settings: dict[str, Any] = {"label_names": list("abcd"), "min_positives": 5}
    asked = "platt" if several else "temperature"
    for seed in range(5):
        logits, labels = claimed(300, 4.0, several=several, seed=seed)
        assert fit_calibration(logits, labels, method="auto", **settings).method == asked
    kept = 0
    for seed in range(20):
        logits, labels = claimed(25, 1.0, several=several, seed=seed)
        kept += fit_calibration(logits, labels, method="auto", **settings).method == "none"
        assert fit_calibration(logits, labels, method=asked, **settings).method == asked
    assert kept >= 12
    logits, labels = claimed(2, 1.0, several=several)
    fit_calibration(logits, labels, method="auto", **settings)  # fewer than folds


def test_scaling_few_rows_by_cross_validation_is_no_worse_than_either_way() -> None:
    """The log loss of new rows over many sets of 25 validation rows, half of them of a model that claims too much."""
    loss = {"auto": 0.0, "none": 0.0, "temperature": 0.0}
    for seed in range(60):
        times = 1.0 if seed % 2 else 2.5
        logits, labels = claimed(25, times, several=False, seed=seed)
        others, truth = claimed(500, times, several=False, seed=1000 + seed)
        for method in loss:
            fitted = fit_calibration(logits, labels, method=method, label_names=list("abcd"), min_positives=5)
            loss[method] += -np.log(fitted.probabilities(others, SINGLE_LABEL)[np.arange(500), truth]).mean() / 60
    assert loss["auto"] < loss["none"] - 0.05
    assert loss["auto"] < loss["temperature"] + 0.01
