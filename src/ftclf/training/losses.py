"""Training losses, and where the output starts.

The Trainer's own loss for BERT and DistilBERT is multiplied by the accumulated batches (transformers issue 47688); a
sum divided by the items of the whole optimizer step is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ftclf.config import TrainingConfig
from ftclf.model.batches import IGNORED
from ftclf.model.head import output_parameters
from ftclf.model.network import Classifier
from ftclf.score.task import MULTI_LABEL, Task


class CrossEntropy:
    """Mean cross entropy over all rows of an optimizer step.

    With `rows` the sum is divided by that number instead: where steps hold more rows or fewer, each row counts alike.
    It is the mean of all steps, and need not be whole.
    """

    def __init__(self, label_smoothing: float, rows: float | None = None) -> None:
        self.label_smoothing, self.rows = label_smoothing, rows

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        total = functional.cross_entropy(
            outputs.logits.float(),
            labels,
            reduction="sum",
            label_smoothing=self.label_smoothing,
            ignore_index=IGNORED,
        )
        return total / (self.rows or (_known(labels).sum() if num_items_in_batch is None else num_items_in_batch))


class BinaryCrossEntropy:
    """Mean binary cross entropy over all rows and labels of an optimizer step; labels are 0 and 1, float.

    `rows` is as in CrossEntropy.
    """

    def __init__(self, rows: float | None = None) -> None:
        self.rows = rows

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        known = _known(labels)
        total = functional.binary_cross_entropy_with_logits(
            outputs.logits.float(), labels, weight=known.float(), reduction="sum"
        )
        if self.rows:
            return total / (self.rows * labels.shape[1])
        return total / (known.sum() if num_items_in_batch is None else num_items_in_batch)


def training_loss(task: Task, config: TrainingConfig, rows: float | None) -> CrossEntropy | BinaryCrossEntropy:
    """Return the loss that a task is trained by."""
    return BinaryCrossEntropy(rows) if task is MULTI_LABEL else CrossEntropy(config.label_smoothing, rows)


def _known(labels: Tensor) -> Tensor:
    return labels != IGNORED


def start_at(classifier: Classifier, bias: NDArray[np.float64]) -> None:
    """Set an output's bias that starts at random to what train says of each label alone, see `Task.prior`.

    Rare labels otherwise spend most of an epoch on learning that they are rare. (Lin et al. 2017, section 4.1)
    """
    for name in output_parameters(classifier.network):
        parameter = classifier.network.get_parameter(name)
        if parameter.ndim == 1 and name in classifier.random_keys:
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(bias))
