"""From logits to probabilities that mean something: scalings fitted on validation, and how far they are off.

Temperature scaling for one label a row (Guo et al. 2017), Platt scaling (Platt 1999) or isotonic regression (Zadrozny
and Elkan 2002) for each label where a row has several. All rise with the logit: with one label a row they change no
answer, with several they reorder no label's rows, though isotonic regression makes neighbours equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.config.settings import setting
from ftclf.errors import CheckpointError, short
from ftclf.metrics import Probabilities, sigmoid, softmax

Logits = NDArray[np.float32]
SCALINGS = {"single_label": ("none", "temperature"), "multi_label": ("none", "platt", "isotonic")}
STEEPEST = 1e9  # of slopes and offsets; a fit on a million rows that are perfectly apart stays below 1e6
BINS = 15


@dataclass
class Calibration:
    """A fitted scaling as plain json."""

    method: str = setting("none", "", choices=("none", "temperature", "platt", "isotonic"))
    temperature: float = setting(1.0, "softmax(logits / temperature)", low=1e-3, high=1e3)
    slopes: list[float] = field(default_factory=list)  # platt: sigmoid(slope * logit + offset), one a label
    offsets: list[float] = field(default_factory=list)
    steps: list[list[list[float]]] = field(
        default_factory=list
    )  # isotonic: logits and their probabilities, a label each
    guarded: list[str] = field(default_factory=list)  # labels with too few positives for a scaling of their own

    def probabilities(self, logits: Logits, task: str) -> Probabilities:
        """Return the probabilities of a task, shape (rows, labels), float64.

        Raises CheckpointError where logits or scaling are not such that probabilities come of them.
        """
        probabilities = self._scaled(logits, task)
        if not ((probabilities >= 0) & (probabilities <= 1)).all():  # NaN is neither
            raise CheckpointError(
                "calibration: a text gets a probability that is not between 0 and 1; "
                "put back the calibration that the checkpoint was saved with, or train again"
            )
        return probabilities

    def problem(self, task: str, label_names: list[str]) -> str:
        """Return why this is no scaling for these labels, or nothing; files may be edited."""
        allowed = SCALINGS[task]
        if self.method not in allowed:
            return f"calibration.method is {self.method}, allowed with {task}: {', '.join(allowed)}"
        if unknown := set(self.guarded) - set(label_names):
            return f"calibration.guarded names '{short(min(unknown))}', which is no label"
        if self.method == "platt":
            return self._problem_of_platt(len(label_names))
        if self.method == "isotonic":
            return self._problem_of_isotonic(len(label_names))
        return ""

    def _problem_of_platt(self, labels: int) -> str:
        if not len(self.slopes) == len(self.offsets) == labels:
            return f"calibration has {len(self.slopes)} slopes and {len(self.offsets)} offsets for {labels} labels"
        if not all(0 < slope <= STEEPEST for slope in self.slopes):
            return f"calibration.slopes are not all above 0 and at most {STEEPEST:g}"
        if not all(abs(offset) <= STEEPEST for offset in self.offsets):
            return f"calibration.offsets are not all between -{STEEPEST:g} and {STEEPEST:g}"
        return ""

    def _problem_of_isotonic(self, labels: int) -> str:
        if len(self.steps) != labels:
            return f"calibration has {len(self.steps)} steps for {labels} labels"
        if any(len(step) != 2 or len(step[0]) != len(step[1]) or not step[0] for step in self.steps):
            return "calibration has steps without as many values"
        if any((np.diff(line) < 0).any() for step in self.steps for line in step):
            return "calibration has steps that fall"
        if not all(values[0] >= 0 and values[-1] <= 1 for _, values in self.steps):
            return "calibration has steps to probabilities that are not between 0 and 1"
        return ""

    def _scaled(self, logits: Logits, task: str) -> Probabilities:
        wide = logits.astype(np.float64)
        match self.method:
            case "temperature":
                return softmax(wide / self.temperature)
            case "platt":
                return sigmoid(wide * self.slopes + self.offsets)
            case "isotonic":
                columns = [np.interp(column, step[0], step[1]) for column, step in zip(wide.T, self.steps, strict=True)]
                return np.stack(columns, axis=1)
            case _:
                return softmax(wide) if task == "single_label" else sigmoid(wide)


def fit_calibration(
    logits: Logits, labels: NDArray[Any], *, method: str, label_names: list[str], min_positives: int
) -> Calibration:
    """Fit a scaling on these rows (validation).

    `labels` are ids (rows,) or truth values (rows, labels). `auto` is temperature or platt. A label with fewer than
    `min_positives` rows with or without it is scaled as all labels together: its own scaling would be noise.
    """
    if method == "none":
        return Calibration()
    if labels.ndim == 1:
        return Calibration("temperature", temperature=fit_temperature(logits, labels))
    few = np.minimum(labels.sum(axis=0), (~labels).sum(axis=0)) < min_positives
    guarded = [name for name, is_few in zip(label_names, few, strict=True) if is_few]
    shared = fit_platt(logits.ravel(), labels.ravel()) or (1.0, 0.0)
    if method == "isotonic":
        steps = [
            _platt_steps(column, shared) if is_few else fit_isotonic(column, truth)
            for column, truth, is_few in zip(logits.T, labels.T, few, strict=True)
        ]
        return Calibration(method, steps=steps, guarded=guarded)
    own = [
        shared if is_few else fit_platt(column, truth) or shared
        for column, truth, is_few in zip(logits.T, labels.T, few, strict=True)
    ]
    return Calibration("platt", slopes=[a for a, _ in own], offsets=[b for _, b in own], guarded=guarded)


def fit_temperature(logits: Logits, labels: NDArray[np.int64]) -> float:
    """Return the temperature with the least log loss, between 0.05 and 20.

    Targets are smoothed by one wrong answer in n + 2, as Platt (1999) does: where every row is right, the log loss
    itself would fall without end as the temperature does.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    wide, error = logits.astype(np.float64), 1 / (len(labels) + 2)

    def loss(log_temperature: float) -> float:
        logs = log_softmax(wide / np.exp(log_temperature), axis=1)
        right = logs[np.arange(len(labels)), labels]
        wrong = (logs.sum(axis=1) - right) / (wide.shape[1] - 1)
        return -float(((1 - error) * right + error * wrong).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def fit_platt(logits: Logits, positive: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Return slope and offset of a logistic regression on the logit; None where it would not rise."""
    from sklearn.linear_model import LogisticRegression

    if positive.all() or not positive.any():
        return None
    # Hardly regularised: a few positives that are perfectly apart would have an endless slope otherwise.
    model = LogisticRegression(C=1e4).fit(logits.astype(np.float64)[:, None], positive)
    slope = float(model.coef_[0, 0])
    return (slope, float(model.intercept_[0])) if slope > 0 else None


def fit_isotonic(logits: Logits, positive: NDArray[np.bool_]) -> list[list[float]]:
    """Return the corners of the isotonic regression; never a probability of 0 or 1, which no number of rows shows."""
    from sklearn.isotonic import IsotonicRegression

    least = 1 / (len(positive) + 2)
    model = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
    model.fit(logits.astype(np.float64), positive.astype(np.float64))
    return [model.X_thresholds_.tolist(), model.y_thresholds_.tolist()]


def _platt_steps(logits: Logits, scaling: tuple[float, float]) -> list[list[float]]:
    corners = np.linspace(float(logits.min()), float(logits.max()), 50)
    return [corners.tolist(), sigmoid(corners * scaling[0] + scaling[1]).tolist()]


def calibration_metrics(
    raw: Probabilities, scaled: Probabilities, targets: NDArray[np.bool_], task: str
) -> dict[str, Any]:
    """Return expected calibration error, Brier score and reliability bins, after and before scaling.

    `ece_by_chance` is the error that probabilities without a fault would show on as many rows.

    One label a row: of the most probable label (Guo et al. 2017). Several: of every label of every row.
    """
    after, before = (reliability_bins(*_claims(one, targets, task)) for one in (scaled, raw))
    claimed, _ = _claims(scaled, targets, task)
    return {
        "ece": expected_calibration_error(after),
        "ece_by_chance": error_by_chance(claimed),
        "brier": brier_score(scaled, targets, task),
        "ece_before": expected_calibration_error(before),
        "brier_before": brier_score(raw, targets, task),
        "bins": after,
        "bins_before": before,
    }


def _claims(probabilities: Probabilities, targets: NDArray[np.bool_], task: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return every probability that is claimed, and whether it came true."""
    if task == "multi_label":
        return probabilities.ravel(), targets.ravel()
    best = probabilities.argmax(axis=1)
    rows = np.arange(len(best))
    return probabilities[rows, best], targets[rows, best]


def reliability_bins(confidence: NDArray[np.float64], true: NDArray[np.bool_]) -> list[dict[str, float]]:
    """Return count, mean confidence and share that came true in equal bins of confidence; empty ones are left out."""
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    return [
        {
            "low": index / BINS,
            "high": (index + 1) / BINS,
            "count": int(inside.sum()),
            "confidence": float(confidence[inside].mean()),
            "accuracy": float(true[inside].mean()),
        }
        for index in range(BINS)
        if (inside := place == index).any()
    ]


def expected_calibration_error(bins: list[dict[str, float]]) -> float:
    """Return the mean distance of confidence and accuracy over the bins, weighted by their rows."""
    rows = sum(one["count"] for one in bins)
    return float(sum(one["count"] * abs(one["confidence"] - one["accuracy"]) for one in bins) / rows)


def error_by_chance(claimed: NDArray[np.float64], *, draws: int = 20) -> float:
    """Return the mean calibration error where every claim comes true as often as it says: what chance makes of it."""
    random = np.random.default_rng(0)
    drawn = (random.random(len(claimed)) < claimed for _ in range(draws))
    return float(np.mean([expected_calibration_error(reliability_bins(claimed, true)) for true in drawn]))


def brier_score(probabilities: Probabilities, targets: NDArray[np.bool_], task: str) -> float:
    """Return the mean squared error: summed over a row's labels for one label a row, else its mean over labels."""
    squares = (probabilities - targets) ** 2
    return float(squares.mean() if task == "multi_label" else squares.sum(axis=1).mean())
