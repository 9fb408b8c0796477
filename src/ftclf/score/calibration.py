"""From logits to probabilities that mean something: scalings fitted on validation, and how far they are off.

Temperature scaling for one label per row (Guo et al. 2017), Platt scaling (Platt 1999) or isotonic regression (Zadrozny
and Elkan 2002) for each label where a row has several. The latter two rise with the logit and reorder no label's rows,
though isotonic regression makes neighbours equal.

A temperature usually pulls a network that claims too much towards equal probabilities. Here it pulls towards the shares
that the labels have in train: softmax((logits - log shares) / temperature + log shares). A row that the network knows
little about then gets a frequent label. (A temperature and a bias, as Alexandari et al. 2020 fit, with one number.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.config.settings import setting
from ftclf.data.label_sets import LabelSets
from ftclf.score.metrics import Given, Labels, sigmoid, sigmoid_of_negated, softmax
from ftclf.score.platt import SAMPLED, fit_all_labels, fit_each_label
from ftclf.score.probabilities import Dense, Probabilities, Scaling, chunks_of
from ftclf.score.task import Task, task_of
from ftclf.system.errors import CheckpointError, short

Logits = NDArray[np.float32]
STEEPEST = 1e9  # of slopes and offsets; a fit on a million rows that are perfectly apart stays below 1e6
BINS = 15
ENOUGH_ROWS, FOLDS = 2000, 10  # rows that a scaling is fitted on unasked; parts of fewer that it is tried on
# Of the temperature that a network needs which saw few rows many times, and of its logarithm: chosen on validation of
# 100 to 500 rows of GoEmotions, BBC News and the DBpedia sample.
USUAL, SPREAD = 4.0, 0.5
NEUTRAL = 1.0  # for linear models, which claim no more than they know after few rows
COLDEST, HOTTEST = 0.05, 20.0  # temperatures
MOST_STEPS, NEAR = 100, 1e-9  # of the search for it, and the share by which the last step moves it at most
MOST_DRAWN = 2**20  # claims: the error by chance of more is computed, not drawn


@dataclass
class Calibration:
    """A fitted scaling as plain json."""

    method: str = setting("none", "", choices=("none", "temperature", "platt", "isotonic"))
    temperature: float = setting(1.0, "softmax((logits - prior) / temperature + prior)", low=1e-3, high=1e3)
    prior: list[float] = field(default_factory=list)  # temperature: log of each label's share in train; none: 0
    slopes: list[float] = field(default_factory=list)  # platt: sigmoid(slope * logit + offset), one a label
    offsets: list[float] = field(default_factory=list)
    steps: list[list[list[float]]] = field(
        default_factory=list
    )  # isotonic: logits and their probabilities, a label each
    guarded: list[str] = field(default_factory=list)  # labels with too few positives for a scaling of their own

    def probabilities(self, logits: Logits, task: Task) -> Dense:
        """Return the probabilities of a task, shape (rows, labels), float64.

        Raises CheckpointError where logits or scaling are not such that probabilities come of them.
        """
        return self._scaling(task)(logits, slice(0, logits.shape[1]))

    def scaled(self, logits: Logits, task: Task, look: Callable[[], None] = lambda: None) -> Probabilities:
        """Return the probabilities of a task as they are asked for; `look` is called now and then."""
        return Probabilities(logits, self._scaling(task), look)

    def problem(self, task: Task, label_names: list[str]) -> str:
        """Return why this is no scaling for these labels, or nothing; files may be edited."""
        if self.method not in task.scalings:
            return f"calibration.method is {self.method}, allowed with {task.name}: {', '.join(task.scalings)}"
        if unknown := set(self.guarded) - set(label_names):
            return f"calibration.guarded names '{short(min(unknown))}', which is no label"
        if self.prior and (len(self.prior) != len(label_names) or not all(-100 <= share <= 0 for share in self.prior)):
            return f"calibration.prior is not a log share for each of {len(label_names)} labels"
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

    def _scaling(self, task: Task) -> Scaling:
        """Return the function that scales the logits of some rows and, with several labels per row, of some labels."""
        if self.method == "temperature":
            return _checked(partial(_by_temperature, self.temperature, np.array(self.prior or 0.0)))
        if self.method == "platt":
            return _checked(partial(_by_platt, -np.array(self.slopes), np.array(self.offsets)))
        if self.method == "isotonic":
            return _checked(partial(_by_steps, self.steps))
        return _checked(lambda logits, _: task.probabilities(logits))


def _checked(scaling: Scaling) -> Scaling:
    """Return a scaling that raises CheckpointError in the place of anything that is no probability."""

    def scaled(logits: Logits, labels: slice) -> Dense:
        probabilities = scaling(logits, labels)
        # NaN is neither.
        if probabilities.size and not (probabilities.min() >= 0 and probabilities.max() <= 1):
            raise CheckpointError(
                "calibration: a text gets a probability that is not between 0 and 1; "
                "put back the calibration that the checkpoint was saved with, or train again"
            )
        return probabilities

    return scaled


def _by_temperature(temperature: float, prior: NDArray[np.float64], logits: Logits, _: slice) -> Dense:
    wide = logits - prior
    wide /= temperature
    wide += prior
    return softmax(wide)


def _by_platt(negated: NDArray[np.float64], offsets: NDArray[np.float64], logits: Logits, labels: slice) -> Dense:
    """Scale by negated slopes, since the sigmoid takes negated logits: one pass less over all of them."""
    wide = logits.astype(np.float64)
    wide *= negated[labels]
    wide -= offsets[labels]
    return sigmoid_of_negated(wide)


def _by_steps(steps: list[list[list[float]]], logits: Logits, labels: slice) -> Dense:
    columns = [np.interp(column, step[0], step[1]) for column, step in zip(logits.T, steps[labels], strict=True)]
    return np.stack(columns, axis=1)


def fit_calibration(
    logits: Logits,
    labels: NDArray[Any],
    *,
    method: str,
    label_names: list[str],
    min_positives: int,
    prior: NDArray[np.float64] | None = None,
    usual: float = USUAL,
) -> Calibration:
    """Fit a scaling on these rows (validation).

    `labels` are ids (rows,) or truth values (rows, labels). `prior` are the log shares of the labels in train, where
    each row has one, `usual` is the temperature that few rows are mixed with. `auto` is temperature or platt, or none
    where few rows show by cross-validation that it would not help. A label with fewer than `min_positives` rows with or
    without it is scaled as all labels together: its own scaling would be noise.
    """
    task, shares = task_of(labels), [] if prior is None else prior.tolist()
    fits: dict[str, Callable[[Logits, NDArray[Any]], Calibration]] = {
        "none": lambda *_: Calibration(),
        "temperature": lambda logits, ids: Calibration(
            "temperature", fit_temperature(logits, ids, prior, usual), prior=shares
        ),
        "platt": partial(_fit_platt, label_names=label_names, min_positives=min_positives),
        "isotonic": partial(_fit_isotonic, label_names=label_names, min_positives=min_positives),
    }
    fit = fits[task.usual_scaling if method == "auto" else method]
    if method == "auto" and len(labels) < ENOUGH_ROWS and not _helps(fit, logits, labels, task):
        return Calibration()
    return fit(logits, labels)


def _few(targets: LabelSets, min_positives: int) -> NDArray[np.bool_]:
    """Return the labels that too few rows have, or miss, for a scaling of their own, (labels,)."""
    return np.minimum(targets.per_label, len(targets) - targets.per_label) < min_positives


def _named(label_names: list[str], labels: NDArray[np.bool_]) -> list[str]:
    return [name for name, named in zip(label_names, labels, strict=True) if named]


def _fit_platt(logits: Logits, truth: NDArray[Any], *, label_names: list[str], min_positives: int) -> Calibration:
    targets = LabelSets.of(truth)
    few, shared = _few(targets, min_positives), fit_all_labels(logits, targets) or (1.0, 0.0)
    pairs = [scaling or shared for scaling in fit_each_label(logits, targets, ~few, shared)]
    slopes, offsets = [a for a, _ in pairs], [b for _, b in pairs]
    return Calibration("platt", slopes=slopes, offsets=offsets, guarded=_named(label_names, few))


def _fit_isotonic(logits: Logits, truth: NDArray[Any], *, label_names: list[str], min_positives: int) -> Calibration:
    targets = LabelSets.of(truth)
    few, shared = _few(targets, min_positives), fit_all_labels(logits, targets) or (1.0, 0.0)
    steps = [
        _platt_steps(column, shared) if is_few else fit_isotonic(column, positive)
        for column, positive, is_few in zip(logits.T, truth.T, few, strict=True)
    ]
    return Calibration("isotonic", steps=steps, guarded=_named(label_names, few))


def _helps(
    fit: Callable[[Logits, NDArray[Any]], Calibration], logits: Logits, labels: NDArray[Any], task: Task
) -> bool:
    """Return whether scalings that are fitted on other rows lower the log loss of each fold of the rows."""
    fold = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    plain = scaled = 0.0
    for number in range(min(FOLDS, len(labels))):
        rest, held = fold != number, fold == number
        if not rest.any():
            return False
        fitted, targets = fit(logits[rest], labels[rest]), LabelSets.of(labels[held], logits.shape[1])
        plain += float(task.row_losses(Calibration().scaled(logits[held], task), targets).sum())
        scaled += float(task.row_losses(fitted.scaled(logits[held], task), targets).sum())
    return scaled < plain


def fit_scaling_of_all(logits: Logits, labels: NDArray[Any], prior: NDArray[np.float64]) -> Calibration:
    """Fit one scaling of all labels: a temperature, or one slope and offset with several labels per row.

    Of more than a million logits every nth row counts: it is one number or two, and training waits for them.
    """
    step, names = -(-logits.size // SAMPLED), logits.shape[1]
    logits, labels = logits[::step], labels[::step]
    if task_of(labels).usual_scaling == "temperature":
        return Calibration("temperature", fit_temperature(logits, labels, prior), prior.tolist())
    slope, offset = fit_all_labels(logits, LabelSets.of(labels, names)) or (1.0, 0.0)
    return Calibration("platt", slopes=[slope] * names, offsets=[offset] * names)


def fit_temperature(
    logits: Logits, labels: NDArray[np.int64], prior: NDArray[np.float64] | None = None, usual: float = USUAL
) -> float:
    """Return the temperature that is most probable after these rows, between 0.05 and 20.

    Before them its logarithm is normally distributed around that of a usual one: ten rows that happen to be all right
    would ask for a temperature of 0, and ten that happen to be wrong for one that makes all rows alike.
    """
    rows, weight = np.arange(len(labels)), 1 / (SPREAD**2 * len(labels))
    prior = np.zeros(logits.shape[1]) if prior is None else prior
    wanted = logits[rows, labels].astype(np.float64) - prior[labels]
    low, high, sharpness = 1 / HOTTEST, 1 / COLDEST, 1.0  # of the inverse of the temperature the loss is convex
    for _ in range(MOST_STEPS):
        expected, spread = _moments(logits, sharpness, prior)
        off = np.log(sharpness * usual)
        slope = float((expected - wanted).mean() + weight * off / sharpness)
        curve = float(spread.mean() + weight * (1 - off) / sharpness**2)
        low, high = (low, sharpness) if slope > 0 else (sharpness, high)
        step = sharpness - slope / curve if curve > 0 else sharpness
        if not low < step < high:  # a bound that was not tried yet, or the middle
            end = max(step, 1 / HOTTEST) if step <= low else min(step, 1 / COLDEST)
            step = end if end in (1 / HOTTEST, 1 / COLDEST) else (low * high) ** 0.5
        if abs(step - sharpness) < NEAR * sharpness:
            break
        sharpness = step
    return 1 / sharpness


def _moments(
    logits: Logits, sharpness: float, prior: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of what each row's logits add to the prior, weighted by their probabilities.

    Both have the shape (rows,).
    """
    mean, spread = np.empty(len(logits)), np.empty(len(logits))
    for rows, part in chunks_of(logits):
        added = part - prior
        highest = added.max(axis=1, keepdims=True)
        below = added - highest
        weight = np.exp(below * sharpness + (prior - prior.max()))
        total, first = weight.sum(axis=1), np.einsum("ij,ij->i", weight, below)
        weight *= below
        second = np.einsum("ij,ij->i", weight, below)
        mean[rows] = highest[:, 0] + first / total
        spread[rows] = second / total - (first / total) ** 2
    return mean, spread


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


def calibration_metrics(raw: Given, scaled: Given, targets: Labels, task: Task) -> dict[str, Any]:
    """Return expected calibration error, Brier score and reliability bins, after and before scaling.

    `ece_by_chance` is the error that probabilities without a fault would show on as many rows.

    One label a row: of the most probable label (Guo et al. 2017). Several: of every label of every row.
    """
    after, before = (_Claims.of(Probabilities.of(given), LabelSets.of(targets), task) for given in (scaled, raw))
    return {
        "ece": expected_calibration_error(after.bins()),
        "ece_by_chance": after.error_by_chance(),
        "brier": after.brier,
        "ece_before": expected_calibration_error(before.bins()),
        "brier_before": before.brier,
        "bins": after.bins(),
        "bins_before": before.bins(),
    }


@dataclass
class _Claims:
    """Probabilities that are claimed and whether they came true, summed in bins of confidence."""

    sums: NDArray[np.float64]  # (4, BINS): how many, confidence, how many came true, variance of that if all is right
    brier: float
    claimed: NDArray[np.float64] | None  # every claim, or None if they are too many

    @classmethod
    def of(cls, given: Probabilities, targets: LabelSets, task: Task) -> _Claims:
        rows, labels = given.shape
        per_row = task.claims_per_row(labels)
        sums, squares, each = np.zeros((4, BINS)), 0.0, []
        few = rows * per_row <= MOST_DRAWN
        for some, part in given.chunks():
            sets = targets.part(some)
            squares += float(np.vdot(part, part) - 2 * part[sets.rows, sets.ids].sum()) + len(sets.ids)
            claimed, true = task.claims(part, sets)
            sums += _binned(claimed, true)
            each += [claimed] if few else []
        brier = max(0.0, squares) / (rows * per_row)
        return cls(sums, brier, np.concatenate(each) if few else None)

    def bins(self) -> list[dict[str, float]]:
        return _means(self.sums)

    def error_by_chance(self) -> float:
        """Return the calibration error of faultless claims: drawn, or of many claims computed.

        The number that come true in a bin is then normal, and its mean distance from the mean is known.
        """
        if self.claimed is not None:
            return error_by_chance(self.claimed)
        return float(np.sqrt(2 / np.pi * self.sums[3]).sum() / self.sums[0].sum())


def _binned(claimed: NDArray[np.float64], true: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sums of the bins, (4, BINS)."""
    high = claimed[claimed >= 1 / BINS]  # few of many labels; the first bin takes the rest of the sums
    place = _bin(high)
    count, confident, squares = (
        np.bincount(place, weights, BINS).astype(np.float64) for weights in (None, high, high * high)
    )  # bincount of no rows gives integers
    count[0] += len(claimed) - len(high)
    confident[0] += claimed.sum() - high.sum()
    squares[0] += np.vdot(claimed, claimed) - np.vdot(high, high)
    return np.stack([count, confident, np.bincount(_bin(claimed[true]), minlength=BINS), confident - squares])


def _bin(claimed: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.minimum((claimed * BINS).astype(np.int64), BINS - 1)


def _means(sums: NDArray[np.float64]) -> list[dict[str, float]]:
    return [
        {
            "low": index / BINS,
            "high": (index + 1) / BINS,
            "count": int(count),
            "confidence": float(confident / count),
            "accuracy": float(true / count),
        }
        for index, (count, confident, true, _) in enumerate(sums.T)
        if count
    ]


def reliability_bins(confidence: NDArray[np.float64], true: NDArray[np.bool_]) -> list[dict[str, float]]:
    """Return count, mean confidence and share that came true in equal bins of confidence; empty ones are left out."""
    return _means(_binned(confidence, np.flatnonzero(true)))


def expected_calibration_error(bins: list[dict[str, float]]) -> float:
    """Return the mean distance of confidence and accuracy over the bins, weighted by their rows."""
    rows = sum(one["count"] for one in bins)
    return float(sum(one["count"] * abs(one["confidence"] - one["accuracy"]) for one in bins) / rows)


def error_by_chance(claimed: NDArray[np.float64], *, draws: int = 20) -> float:
    """Return the mean calibration error where every claim comes true as often as it says: what chance makes of it."""
    random = np.random.default_rng(0)
    drawn = (random.random(len(claimed)) < claimed for _ in range(draws))
    return float(np.mean([expected_calibration_error(reliability_bins(claimed, true)) for true in drawn]))


def brier_score(probabilities: Given, targets: Labels, task: Task) -> float:
    """Return the mean squared error: summed over a row's labels for one label a row, else its mean over labels."""
    return _Claims.of(Probabilities.of(probabilities), LabelSets.of(targets), task).brier
