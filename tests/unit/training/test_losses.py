"""Each loss against the formula of its paper, written out again, and its gradient by finite differences."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ftclf.config.settings import LOSS_TASKS, LOSSES
from ftclf.model.batches import IGNORED
from ftclf.score.calibration import Calibration
from ftclf.score.task import MULTI_LABEL, SINGLE_LABEL, Task
from ftclf.training.losses import TrainingLoss, training_loss

COUNTS, ROWS = np.array([60, 25, 10, 5]), 100
RANDOM = torch.Generator().manual_seed(3)
LOGITS = 2 * torch.randn(12, 4, generator=RANDOM, dtype=torch.float64)
IDS = torch.arange(12) % 4
SETS = (torch.rand(12, 4, generator=RANDOM) < 0.4).double()
SETS[0] = 0  # a row without labels
P, S = torch.softmax(LOGITS, dim=1).numpy(), torch.sigmoid(LOGITS).numpy()
Z, Y = LOGITS.numpy(), SETS.numpy()
LABELS = (np.arange(12), IDS.numpy())
EVERY = [
    (kind, task)
    for kind in LOSSES
    for task in (SINGLE_LABEL, MULTI_LABEL)
    if LOSS_TASKS.get(kind, task.name) == task.name
]
every_loss = pytest.mark.parametrize(("kind", "task"), EVERY, ids=lambda value: getattr(value, "name", value))


def loss_of(kind: str, task: Task, *, rows: float | None = None, **fields: Any) -> TrainingLoss:
    config = LOSSES[kind](kind=kind, **fields)
    return training_loss(config, task, COUNTS, train_rows=ROWS, rows_per_step=rows)


def value(kind: str, labels: torch.Tensor, **fields: Any) -> float:
    task = MULTI_LABEL if labels.ndim == 2 else SINGLE_LABEL
    return float(loss_of(kind, task, **fields)(SimpleNamespace(logits=LOGITS), labels))


def test_plain_is_torchs_own() -> None:
    assert value("plain", IDS) == pytest.approx(float(cross_entropy(LOGITS, IDS)))
    assert value("plain", SETS) == pytest.approx(float(binary_cross_entropy_with_logits(LOGITS, SETS)))


def test_label_smoothing_is_torchs_own() -> None:
    expected = cross_entropy(LOGITS, IDS, label_smoothing=0.2)
    assert value("label_smoothing", IDS, smoothing=0.2) == pytest.approx(float(expected))


@pytest.mark.parametrize("scheme", ["balanced", "sqrt", "effective"])
def test_weights_follow_their_scheme_and_are_1_on_average(scheme: str) -> None:
    raw = {
        "balanced": 1 / COUNTS,
        "sqrt": 1 / np.sqrt(COUNTS),
        "effective": (1 - 0.99) / (1 - 0.99**COUNTS),  # Cui et al. 2019, equation 2
    }[scheme]
    weights = raw * ROWS / (raw * COUNTS).sum()
    if scheme == "balanced":
        assert weights == pytest.approx(ROWS / (4 * COUNTS))  # scikit-learn's
    expected = -(weights[IDS.numpy()] * np.log(P[LABELS])).mean()
    assert value("weighted", IDS, scheme=scheme, effective_beta=0.99) == pytest.approx(expected)


@pytest.mark.parametrize("scheme", ["balanced", "sqrt"])
def test_several_labels_weigh_positives_against_negatives(scheme: str) -> None:
    odds = (ROWS - COUNTS) / COUNTS
    positive = odds if scheme == "balanced" else np.sqrt(odds)
    expected = -(positive * Y * np.log(S) + (1 - Y) * np.log(1 - S)).mean()
    assert value("weighted", SETS, scheme=scheme) == pytest.approx(expected)


def test_focal_is_of_lin_et_al() -> None:
    own = P[LABELS]
    assert value("focal", IDS, gamma=1.5) == pytest.approx((-((1 - own) ** 1.5) * np.log(own)).mean())
    true = np.where(Y == 1, S, 1 - S)
    alpha = np.where(Y == 1, 0.25, 0.75)
    focused = -((1 - true) ** 2) * np.log(true)
    assert value("focal", SETS, gamma=2.0) == pytest.approx(focused.mean())
    assert value("focal", SETS, gamma=2.0, positive_share=0.25) == pytest.approx((alpha * focused).mean())


def test_logit_adjustment_is_of_menon_et_al() -> None:
    shares = (COUNTS + 0.5) / (COUNTS + 0.5).sum()
    adjusted = np.exp(Z) * shares**0.7
    own = (adjusted / adjusted.sum(axis=1, keepdims=True))[LABELS]
    assert value("logit_adjusted", IDS, tau=0.7) == pytest.approx(-np.log(own).mean())


def test_ldam_is_of_cao_et_al() -> None:
    margins = COUNTS**-0.25
    margins = 0.5 * margins / margins.max()
    own = np.exp(3 * (Z - margins))[LABELS]
    others = np.exp(3 * Z).sum(axis=1) - np.exp(3 * Z)[LABELS]
    assert value("ldam", IDS, max_margin=0.5, scale=3.0) == pytest.approx(-np.log(own / (own + others)).mean())


@pytest.mark.parametrize("clip", [0.0, 0.05, 0.4])
def test_asymmetric_is_of_ridnik_et_al(clip: float) -> None:
    shifted = np.maximum(S - clip, 0)
    expected = -(Y * (1 - S) * np.log(S) + (1 - Y) * shifted**4 * np.log(1 - shifted)).mean()
    assert value("asymmetric", SETS, gamma_positive=1.0, gamma_negative=4.0, clip=clip) == pytest.approx(expected)


def test_distribution_balanced_is_of_wu_et_al() -> None:
    rarity = 1 / COUNTS
    of_row = np.where(Y.sum(axis=1) > 0, (Y * rarity).sum(axis=1), rarity.min())[:, None]
    weights = 0.1 + 1 / (1 + np.exp(-10 * (rarity / of_row - 0.2)))
    shift = -0.05 * np.log((COUNTS + 0.5) / (ROWS - COUNTS + 0.5))
    moved = Z - shift
    positive, negative = np.log1p(np.exp(-moved)), np.log1p(np.exp(5 * moved)) / 5
    expected = (weights * (Y * positive + (1 - Y) * negative)).mean()
    assert value("distribution_balanced", SETS) == pytest.approx(expected)


@every_loss
def test_gradients_are_those_of_finite_differences(kind: str, task: Task) -> None:
    loss, labels = loss_of(kind, task), SETS if task.several else IDS
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: loss(SimpleNamespace(logits=given), labels), logits)


@every_loss
def test_logits_without_bound_give_finite_losses_and_gradients(kind: str, task: Task) -> None:
    logits = torch.tensor([[200.0, -200.0, 0.0, 90.0], [-200.0, 200.0, 0.0, -90.0]], requires_grad=True)
    labels = torch.tensor([[1.0, 0, 0, 1], [1, 0, 1, 0]]) if task.several else torch.tensor([0, 0])
    for gamma in (0.5, 2.0):
        fields = {"gamma": gamma} if kind == "focal" else {"gamma_negative": gamma} if kind == "asymmetric" else {}
        loss = loss_of(kind, task, **fields)(SimpleNamespace(logits=logits), labels)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


@every_loss
def test_parts_of_a_step_add_up_and_filling_rows_cost_nothing(kind: str, task: Task) -> None:
    labels = SETS if task.several else IDS
    loss = loss_of(kind, task, rows=12)
    whole = float(loss(SimpleNamespace(logits=LOGITS), labels))
    parts = sum(float(loss(SimpleNamespace(logits=LOGITS[rows]), labels[rows])) for rows in (slice(0, 5), slice(5, 12)))
    assert parts == pytest.approx(whole)
    filled = torch.cat([labels, torch.full_like(labels[:3], IGNORED)])
    assert float(loss(SimpleNamespace(logits=torch.cat([LOGITS, LOGITS[:3]])), filled)) == pytest.approx(whole)


def test_a_label_without_training_rows_gives_finite_losses() -> None:
    counts = np.array([60, 0, 30, 10])
    for kind, task in EVERY:
        loss = training_loss(LOSSES[kind](kind=kind), task, counts, train_rows=ROWS, rows_per_step=None)
        assert torch.isfinite(loss(SimpleNamespace(logits=LOGITS), SETS if task.several else IDS)), kind


def test_a_logit_adjusted_output_starts_without_what_the_loss_adds() -> None:
    prior = np.array([0.3, -0.5, 0.1, 0.1])
    assert loss_of("plain", SINGLE_LABEL).start(prior).tolist() == prior.tolist()
    assert loss_of("logit_adjusted", SINGLE_LABEL).start(prior) == pytest.approx(np.log([0.25] * 4))


@pytest.mark.parametrize("kind", ["logit_adjusted", "weighted", "ldam", "plain"])
def test_a_temperature_pulls_towards_what_the_loss_makes_of_knowing_nothing(kind: str) -> None:
    """Towards the shares of the labels it would give the frequent ones back what the loss took from them."""
    loss = loss_of(kind, SINGLE_LABEL)
    shares = COUNTS / COUNTS.sum()
    start = torch.tensor(loss.start(np.log(shares)), requires_grad=True)
    ids = torch.arange(len(COUNTS)).repeat_interleave(torch.tensor(COUNTS))
    (gradient,) = torch.autograd.grad(loss(SimpleNamespace(logits=start.expand(len(ids), -1)), ids), start)
    assert kind == "ldam" or gradient.abs().max() < 0.01  # it has learned what there is to learn without the texts
    prior = loss.calibration_prior(np.log(shares))
    assert (prior <= 0).all()
    if kind in ("logit_adjusted", "ldam"):
        logits = np.random.default_rng(0).normal(size=(200, len(COUNTS))).astype(np.float32)
        scaling = Calibration("temperature", 3.0, prior.tolist())
        assert (scaling.probabilities(logits, SINGLE_LABEL).argmax(axis=1) == logits.argmax(axis=1)).all()


def test_weights_follow_the_rows_that_a_sampler_draws() -> None:
    """Else a rare row counts twice: it is drawn as often as others, and weighs more."""
    loss = training_loss(
        LOSSES["weighted"](kind="weighted"), SINGLE_LABEL, np.full(4, 25.0), train_rows=100, rows_per_step=None
    )
    plain = training_loss(
        LOSSES["plain"](kind="plain"), SINGLE_LABEL, np.full(4, 25), train_rows=100, rows_per_step=None
    )
    outputs = SimpleNamespace(logits=LOGITS)
    assert float(loss(outputs, IDS)) == pytest.approx(float(plain(outputs, IDS)))
