"""The engine for CUDA: whole training steps, recorded once per shape of batch and replayed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ftclf.config import TrainingConfig
from ftclf.fast.gpu.packed import RATES, SEEDS, first_position, pack
from ftclf.fast.gpu.recorded import RecordedSteps, computing_in
from ftclf.fast.gpu.shapes import filled_up
from ftclf.fast.gpu.steps import Training, steps_of
from ftclf.fast.gpu.trial import packs
from ftclf.fast.module_walks import spare_walks
from ftclf.fast.plain import Batch, PlainEngine, StepResult
from ftclf.model.compute import Compute
from ftclf.model.tokens import Tokens


class GraphEngine(PlainEngine):
    """Steps that are launched at once, of packed batches where the kernels for them agree with torch."""

    name = "cuda_graphs"
    makes_steps = True
    packs = False
    steps: RecordedSteps | None = None

    def __init__(self, network: Any, compute: Compute, training: TrainingConfig, longest: int) -> None:
        super().__init__(network, compute, training)
        self.longest = longest

    def place(self) -> None:
        self.network.to(self.compute.device)
        self.packs = packs(self.network, self.compute.device, self.compute.dtype, training=True)

    def collate(self, tokens: Tokens, rows: NDArray[np.int64], labels: NDArray[Any]) -> Batch:
        if self.packs:
            return pack(tokens, rows, first_position(self.network), labels)
        return filled_up(super().collate(tokens, rows, labels), tokens.pad_id, self.longest)

    def take_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        spare_walks(self.network)

    def step(self, loss_of: Callable[[Batch], Any], batch: Batch, optimizer: Any, number: int) -> None:
        if self.steps is None:
            training = Training(
                self.network,
                loss_of,
                _without_steps(optimizer),
                self.training.max_grad_norm,
                self.packs,
                self.compute.dtype,
                next(self.network.parameters()).device,
            )
            self.steps = steps_of(training)
        if self.packs:
            batch = batch | {SEEDS: torch.randint(2**63 - 1, (1,))}
        rates = [group["lr"] for group in optimizer.param_groups]
        self.steps.step(batch | {RATES: torch.tensor(rates, dtype=torch.float32)}, number)

    def finished(self, ahead: int) -> list[StepResult]:
        return [StepResult(*done) for done in self.steps.checked(ahead)] if self.steps else []

    def training_context(self) -> AbstractContextManager[None]:
        return computing_in(torch.cuda.Stream())  # type: ignore[no-untyped-call]


def _without_steps(wrapper: Any) -> torch.optim.Optimizer:
    """Return the optimizer within accelerate's wrapper, whose own `step` does nothing from now on.

    The Trainer calls that one after each step, which is made by then. Accelerate's looks on the disk for a package.
    """
    wrapper.step = functools.wraps(wrapper.step)(lambda *_: None)
    wrapper._opt_called = True  # the schedule warns of steps that it has not seen
    return wrapper.optimizer  # type: ignore[no-any-return]
