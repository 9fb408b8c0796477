"""A Trainer that hands its steps to a GPU as a recording, where they can be recorded."""

from __future__ import annotations

import functools
import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from ftclf.config import TrainingConfig
from ftclf.fast.cpu import can_fuse
from ftclf.fast.gpu.packed import RATES, SEEDS
from ftclf.fast.gpu.recorded import AHEAD, RecordedSteps, can_record, computing_in
from ftclf.fast.gpu.steps import Training, steps_of
from ftclf.fast.gpu.trial import packs
from ftclf.model.compute import Compute
from ftclf.system.console import warn
from ftclf.system.errors import DivergedError
from ftclf.training.stoppable import ResumableTrainer


class RecordingTrainer(ResumableTrainer):
    """Trainer that launches whole steps at once, and looks at their losses when a few more are under way.

    What comes before a step and after it is the Trainer's, which is told the losses where it logs or saves.
    """

    compute: Compute
    records = packs = False
    recorded: RecordedSteps | None = None
    losses = 0.0  # that the Trainer has not been told
    norm = 0.0  # of the last gradients

    def choose_steps(self, config: TrainingConfig) -> None:
        """Settle whether steps are recorded, and their batches packed."""
        device, precision, known = self.compute.device, self.compute.precision, can_fuse(self.network)
        self.records = known and can_record(config, device, precision)
        if known and config.compile and can_record(replace(config, compile=False), device, precision):
            warn("training.compile: a step that is compiled is not recorded, and slower; leave it out")
        self.packs = self.records and packs(self.network, device, self.compute.dtype, training=True)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        with self._stream():
            return super().train(*args, **kwargs)

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        number = self.state.global_step + 1
        if not self.records:
            loss = super().training_step(model, inputs, *args, **kwargs)
            refuse_infinite("loss", loss.item(), number)
            return loss
        if self.recorded is None:
            self.recorded = self._start_recording(model)
        model.train()
        if self.packs:
            inputs = inputs | {SEEDS: torch.randint(2**63 - 1, (1,))}
        rates = [group["lr"] for group in self.optimizer.param_groups]  # type: ignore[union-attr]
        self.recorded.step(inputs | {RATES: torch.tensor(rates, dtype=torch.float32)}, number)
        self.stepped(number)
        self.check_steps(AHEAD if number < self.state.max_steps else 0)
        return self.nothing

    @functools.cached_property
    def nothing(self) -> torch.Tensor:
        """What the Trainer adds up instead of each loss, without waiting for it."""
        return torch.zeros_like(self._tr_loss)

    def stepped(self, number: int) -> None:
        """Look at the weights of a step, which is launched and may not be made: nothing."""

    def check_steps(self, ahead: int = 0) -> None:
        """Wait until so many steps are on their way at most, and stop where one has not been finite.

        Its number is told, though some more were begun.
        """
        for number, loss, norm in self.recorded.checked(ahead) if self.recorded else ():
            refuse_infinite("loss", loss, number)
            refuse_infinite("gradient's norm", norm, number)
            self.losses, self.norm = self.losses + loss, norm
        if ahead == 0 and self.losses:
            self._tr_loss += self.losses
            self.losses = 0.0

    def _maybe_log_save_evaluate(self, tr_loss: Any, grad_norm: Any, *rest: Any, **named: Any) -> None:
        if self.recorded and (self.control.should_log or self.control.should_evaluate or self.control.should_save):
            self.check_steps()
            grad_norm = self.norm
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, *rest, **named)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self.check_steps()
        super()._save_checkpoint(*args, **kwargs)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        super()._run_epoch(*args, **kwargs)
        self.check_steps()

    def _stream(self) -> AbstractContextManager[None]:
        """Return what the device computes the training in."""
        if not self.records:
            return nullcontext()
        return computing_in(torch.cuda.Stream())  # type: ignore[no-untyped-call]

    def _start_recording(self, model: Any) -> RecordedSteps:
        """Build what records a step."""
        return steps_of(
            Training(
                self.network,
                functools.partial(self.compute_loss, model),
                _without_steps(self.optimizer),
                self.args.max_grad_norm,
                self.packs,
                self.compute.dtype,
                self.args.device,
            )
        )

    def _clip_grad_norm(self, model: Any) -> Any:
        return self.norm if self.recorded else super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Stop before a step whose gradient is not finite; fp16 has such steps now and then, and skips them itself."""
        if self.recorded:  # the step is made
            return self.norm
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        if self.compute.precision != "fp16":
            refuse_infinite("gradient's norm", float(norm), self.state.global_step + 1)
        return norm

    def _get_num_items_in_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Count nothing where steps are recorded, which the count would wait for: the loss counts its rows."""
        return None if self.records else super()._get_num_items_in_batch(*args, **kwargs)


def _without_steps(wrapper: Any) -> torch.optim.Optimizer:
    """Return the optimizer within accelerate's wrapper, whose own `step` does nothing from now on.

    The Trainer calls that one after each step, which is made by then. Accelerate's looks on the disk for a package.
    """
    wrapper.step = functools.wraps(wrapper.step)(lambda *_: None)
    wrapper._opt_called = True  # the schedule warns of steps that it has not seen
    return wrapper.optimizer  # type: ignore[no-any-return]


def refuse_infinite(what: str, value: float, step: int) -> None:
    """Raise DivergedError for a number of a step that is not finite."""
    if not math.isfinite(value):
        raise DivergedError(
            f"training: the {what} is {value} in step {step}; lower training.learning_rate or raise training.warmup"
        )
