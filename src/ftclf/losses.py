"""The training loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional


class CrossEntropy:
    """Mean cross entropy over all rows of an optimizer step.

    The Trainer's own loss for BERT and DistilBERT is multiplied by the accumulated batches (transformers issue 47688);
    a sum divided by the rows of the whole step is not.
    """

    def __init__(self, label_smoothing: float) -> None:
        self.label_smoothing = label_smoothing

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        total = functional.cross_entropy(
            outputs.logits.float(), labels, reduction="sum", label_smoothing=self.label_smoothing
        )
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)
