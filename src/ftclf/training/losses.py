"""Training losses, and where the output starts.

The Trainer's own loss for BERT and DistilBERT is multiplied by the accumulated batches (transformers issue 47688); a
sum divided by the items of the whole optimizer step is not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ftclf.config import LossConfig
from ftclf.model.batches import IGNORED
from ftclf.model.head import output_parameters
from ftclf.model.network import Classifier
from ftclf.score.task import Task

TINY = 1e-12  # a power of 0 has no gradient below an exponent of 1


class TrainingLoss(ABC):
    """Mean of a loss over all rows of an optimizer step; called by the Trainer with a batch's outputs and labels.

    Labels are ids (rows,), or 0 and 1 as floats (rows, labels); IGNORED where a row only fills up a batch. `counts` are
    the rows of each label in an epoch, as the sampler draws them, (labels,), `train_rows` all of them. With
    `rows_per_step` sums are divided by that number: where steps hold more rows or fewer, each row counts alike. It is
    the mean of all steps, and need not be whole. Where it is None, the rows of the step are counted.
    """

    def __init__(self, config: Any, counts: NDArray[Any], train_rows: int, rows_per_step: float | None) -> None:
        self.config, self.rows_per_step, self.train_rows = config, rows_per_step, train_rows
        self.counts = counts.astype(np.float64)
        self._kept: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Any:
        logits, known = outputs.logits, labels != IGNORED
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        total = self.total(logits, labels, known)
        if self.rows_per_step:
            return total / (self.rows_per_step * (labels.shape[1] if labels.ndim == 2 else 1))
        return total / (known.sum() if num_items_in_batch is None else num_items_in_batch)

    @abstractmethod
    def total(self, logits: Tensor, labels: Tensor, known: Tensor) -> Any:
        """Return the sum of the loss over the labels that are known; all have the batch's shape."""

    def start(self, prior: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the bias at which an output starts, (labels,): what it learns that knows the labels' shares alone.

        `prior` are the logits of these shares, see `Task.prior`.
        """
        return prior

    def calibration_prior(self, prior: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what temperature scaling pulls towards: anything else would undo what the loss does."""
        return self.start(prior)

    def constant(self, name: str, values: Callable[[], NDArray[np.float64]], like: Tensor) -> Tensor:
        """Return numbers per label on the device of a tensor; computed once, before a GPU records steps."""
        key = (name, like.device, like.dtype)
        if key not in self._kept:
            self._kept[key] = torch.from_numpy(values()).to(like)
        return self._kept[key]


class SoftmaxLoss(TrainingLoss):
    """One label per row: cross entropy, with what the kinds of loss do to logits, targets and weights."""

    def total(self, logits: Tensor, labels: Tensor, known: Tensor) -> Any:
        kind, config = self.config.kind, self.config
        if kind == "logit_adjusted":  # Menon et al. 2021, equation 10
            logits = logits + config.tau * self.constant("shares", self._log_shares, logits)
        if kind == "ldam":  # Cao et al. 2019, equations 12 and 13
            margins = self.constant("margins", self._margins, logits)
            own = torch.zeros_like(logits).scatter_(1, labels.clamp(min=0)[:, None], 1.0)
            logits = config.scale * (logits - own * margins)
        if kind == "focal":  # Lin et al. 2017, equation 4
            losses = functional.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED)
            return ((1 - torch.exp(-losses)).clamp(min=TINY) ** config.gamma * losses).sum()
        weight = self.constant("weights", self._weights, logits) if kind == "weighted" else None
        smoothing = config.smoothing if kind == "label_smoothing" else 0.0
        return functional.cross_entropy(
            logits, labels, weight, reduction="sum", label_smoothing=smoothing, ignore_index=IGNORED
        )

    def start(self, prior: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.config.kind == "logit_adjusted":
            return _log_softmax(prior * (1 - self.config.tau))
        if self.config.kind == "ldam":
            return _log_softmax(prior / self.config.scale)
        return _log_softmax(prior + np.log(self._weights())) if self.config.kind == "weighted" else prior

    def calibration_prior(self, prior: NDArray[np.float64]) -> NDArray[np.float64]:
        # Its logits are to be scaled up as a whole; a prior that is scaled with them would be taken out of them.
        return _log_softmax(0 * prior) if self.config.kind == "ldam" else self.start(prior)

    def _log_shares(self) -> NDArray[np.float64]:
        return np.asarray(np.log((self.counts + 0.5) / (self.counts + 0.5).sum()))

    def _margins(self) -> NDArray[np.float64]:
        margins = np.maximum(self.counts, 1) ** -0.25
        return np.asarray(self.config.max_margin * margins / margins.max())

    def _weights(self) -> NDArray[np.float64]:
        """Return weights whose mean over the training rows is 1: the learning rate stays what it is."""
        weights = _rarity(self.counts, self.config)
        return np.asarray(weights * self.counts.sum() / (weights * self.counts).sum())


class SigmoidLoss(TrainingLoss):
    """Several labels per row: binary cross entropy, with what the kinds of loss do to its two terms."""

    def total(self, logits: Tensor, labels: Tensor, known: Tensor) -> Any:
        labels, weight = labels.clamp(min=0), known.to(logits)
        if self.config.kind == "weighted":
            positive = self.constant("weights", self._positive_weights, logits)
            return functional.binary_cross_entropy_with_logits(
                logits, labels, weight, pos_weight=positive, reduction="sum"
            )
        losses = {"focal": self._focal, "asymmetric": self._asymmetric, "distribution_balanced": self._balanced}
        if self.config.kind in losses:
            return (losses[self.config.kind](logits, labels) * weight).sum()
        return functional.binary_cross_entropy_with_logits(logits, labels, weight, reduction="sum")

    def start(self, prior: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(prior + np.log(self._positive_weights())) if self.config.kind == "weighted" else prior

    def _positive_weights(self) -> NDArray[np.float64]:
        """Return the weight of a positive row of each label where a negative one weighs 1."""
        return np.asarray(_rarity(self.counts, self.config) / _rarity(self.train_rows - self.counts, self.config))

    def _focal(self, logits: Tensor, labels: Tensor) -> Any:
        """Lin et al. 2017, equation 5."""
        losses = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        losses = (1 - torch.exp(-losses)).clamp(min=TINY) ** self.config.gamma * losses
        if self.config.positive_share is None:
            return losses
        return losses * (self.config.positive_share * labels + (1 - self.config.positive_share) * (1 - labels))

    def _asymmetric(self, logits: Tensor, labels: Tensor) -> Any:
        """Ridnik et al. 2021, equations 4 to 6."""
        p = torch.sigmoid(logits)
        shifted = (p - self.config.clip).clamp(min=0)
        positive = (1 - p).clamp(min=TINY) ** self.config.gamma_positive * functional.logsigmoid(logits)
        log_rest = functional.logsigmoid(-logits) if self.config.clip == 0 else torch.log1p(-shifted)
        negative = shifted.clamp(min=TINY) ** self.config.gamma_negative * log_rest
        return -(labels * positive + (1 - labels) * negative)

    def _balanced(self, logits: Tensor, labels: Tensor) -> Any:
        """Wu et al. 2020, equations 4 to 8; a row without labels counts as one of the most frequent label."""
        config, scale = self.config, self.config.negative_scale
        rarity = self.constant("rarity", lambda: 1 / np.maximum(self.counts, 1), logits)
        of_row = (labels * rarity).sum(dim=1, keepdim=True)
        ratio = rarity / torch.where(of_row > 0, of_row, rarity.min())
        weights = config.least_weight + torch.sigmoid(config.steepness * (ratio - config.middle))
        shift = self.constant("shift", self._shift, logits)
        z = logits - shift
        return weights * (labels * functional.softplus(-z) + (1 - labels) * functional.softplus(scale * z) / scale)

    def _shift(self) -> NDArray[np.float64]:
        odds = (self.counts + 0.5) / (self.train_rows - self.counts + 0.5)
        return np.asarray(-self.config.kappa * np.log(odds))


def training_loss(
    config: LossConfig, task: Task, counts: NDArray[Any], *, train_rows: int, rows_per_step: float | None
) -> TrainingLoss:
    """Return the loss that a task is trained by."""
    return (SigmoidLoss if task.several else SoftmaxLoss)(config, counts, train_rows, rows_per_step)


def _rarity(counts: NDArray[np.float64], config: Any) -> NDArray[np.float64]:
    """Return a weight for labels that falls with their rows (Cui et al. 2019 for `effective`)."""
    rows = np.maximum(counts, 1)
    if config.scheme == "effective":
        beta = max(config.effective_beta, TINY)
        return np.asarray((1 - beta) / -np.expm1(rows * np.log(beta)))
    return np.asarray(rows ** (-0.5 if config.scheme == "sqrt" else -1.0))


def _log_softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values - np.logaddexp.reduce(values))


def set_output_bias(classifier: Classifier, bias: NDArray[np.float64]) -> None:
    """Set an output's bias that starts at random to what train says of each label alone, see `Task.prior`.

    Rare labels otherwise spend most of an epoch on learning that they are rare. (Lin et al. 2017, section 4.1)
    """
    for name in output_parameters(classifier.network):
        parameter = classifier.network.get_parameter(name)
        if parameter.ndim == 1 and name in classifier.random_keys:
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(bias))
