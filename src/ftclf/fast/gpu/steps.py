"""The steps of a training on a GPU: what it brings to them, and how they are recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ftclf.fast.gpu.blocks import PackedEncoder
from ftclf.fast.gpu.packed import SEEDS
from ftclf.fast.gpu.recorded import RecordedSteps
from ftclf.fast.gpu.updates import KernelUpdate, TorchUpdate
from ftclf.fast.gpu.weights import LowPrecisionWeights
from ftclf.fast.plain import Batch


@dataclass(frozen=True, eq=False)
class Training:
    """A network, whose batches may be packed, its loss of a batch, and its optimizer."""

    network: nn.Module
    loss_of: Callable[[Batch], Any]
    optimizer: torch.optim.Optimizer
    max_norm: float
    packs: bool
    dtype: torch.dtype
    device: torch.device


def steps_of(training: Training) -> RecordedSteps:
    """Return the steps of a training."""
    if not training.packs:
        return _padded_steps(training)
    encoder = PackedEncoder(training.network, training.dtype)
    weights = LowPrecisionWeights(encoder.layers_outside, training.dtype, encoder.products)

    def loss_of(inputs: Batch) -> Tensor:
        with encoder.in_place(inputs.pop(SEEDS)):
            return training.loss_of(inputs)  # type: ignore[no-any-return]

    update = KernelUpdate([training.optimizer], training.max_norm, weights)
    return RecordedSteps(loss_of, update, training.device)


def _padded_steps(training: Training) -> RecordedSteps:
    layers = [layer for layer in training.network.modules() if isinstance(layer, nn.Linear)]
    weights = None if training.dtype == torch.float32 else LowPrecisionWeights(layers, training.dtype)
    update = TorchUpdate(training.optimizer, training.max_norm, weights)
    return RecordedSteps(training.loss_of, update, training.device)
