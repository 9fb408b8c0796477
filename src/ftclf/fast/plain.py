"""The plain engine: transformers, its Trainer and torch, nothing else. Every other engine must agree with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftclf.config import TrainingConfig
from ftclf.model.batches import model_inputs
from ftclf.model.compute import Compute
from ftclf.model.lazy_weight import LazyWeight
from ftclf.model.tokens import Tokens

AHEAD = 8  # steps of an engine that may be on their way while the next is made ready
Batch = dict[str, Any]  # tensors, and numbers that are part of its shape


class StepResult(NamedTuple):
    """Loss and gradient norm of a training step that an engine has made."""

    number: int
    loss: float
    norm: float


class PlainEngine:
    """How one network is trained. The Trainer calls these methods; each default is what transformers does."""

    name = "plain"
    makes_steps = False  # whether `step` replaces the Trainer's step, and `finished` tells its results
    lazy_weight: LazyWeight | None = None

    def __init__(self, network: Any, compute: Compute, training: TrainingConfig) -> None:
        self.network, self.compute, self.training = network, compute, training

    def place(self) -> None:
        """Move the network to its device; call it when layers and adapters are in place."""
        self.network.to(self.compute.device)
        if self.training.compile:
            compile_network(self.network, self.compute.device)

    def collate(self, tokens: Tokens, rows: NDArray[np.int64], labels: NDArray[Any]) -> Batch:
        """Return a padded batch in the CPU's memory: ids and mask (rows, tokens), labels (rows,) or (rows, labels)."""
        chosen = torch.from_numpy(labels[rows])
        return {**model_inputs(tokens, rows, "cpu"), "labels": chosen.float() if chosen.ndim == 2 else chosen}

    def take_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Prepare for the steps of an optimizer that was just built."""

    def step(self, loss_of: Callable[[Batch], Any], batch: Batch, optimizer: Any, number: int) -> None:
        """Train one batch without waiting for it; only where `makes_steps`."""
        raise NotImplementedError

    def finished(self, ahead: int) -> list[StepResult]:
        """Wait until at most `ahead` steps are on their way; return the results of those that ended."""
        return []

    def clip(self, optimizer: Any, max_norm: float) -> Tensor | None:
        """Return the norm of all gradients, with the step set to clip them; None: the Trainer clips."""
        return None

    def training_context(self) -> AbstractContextManager[None]:
        """Return the context of a whole training."""
        return nullcontext()

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Keep weights as they are stored while the Trainer saves a resumable checkpoint."""
        yield

    def save(self, folder: Path) -> None:
        """Write what a resumed training needs beside the Trainer's own state."""

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises for a file that is not of this network."""


def compile_network(network: Any, device: str) -> None:
    """Compile a network in place, so that no parameter is renamed.

    On CUDA block by block where all blocks are alike: one graph is enough for all of them.
    """
    from ftclf.fast.encoder_parts import can_fuse, encoder_of

    if device == "cuda" and can_fuse(network):
        for block in encoder_of(network).layer:
            block.compile(dynamic=True)
    else:
        network.compile(dynamic=True)
