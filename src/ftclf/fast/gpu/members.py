"""What a training brings to steps on a GPU, and the steps of one training or of several that are made as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ftclf.fast.cpu import share_frozen_weights
from ftclf.fast.gpu.blocks import PackedEncoder
from ftclf.fast.gpu.packed import SEEDS, joined
from ftclf.fast.gpu.recorded import Batch, Launched, RecordedSteps
from ftclf.fast.gpu.updates import KernelUpdate, TorchUpdate
from ftclf.fast.gpu.weights import LowPrecisionWeights


@dataclass(frozen=True, eq=False)
class Member:
    """A training: its network, whose batches may be packed, its loss of a batch, and its optimizer."""

    network: nn.Module
    loss_of: Callable[[Batch], Any]
    optimizer: torch.optim.Optimizer
    max_norm: float
    packs: bool
    dtype: torch.dtype
    device: torch.device


def steps_of(members: Sequence[Member]) -> RecordedSteps:
    """Return the steps of one training, or of several whose batches are packed, and which share what is frozen."""
    first = members[0]
    if not first.packs:
        return _padded_steps(first)
    share_frozen_weights([member.network for member in members])
    encoder = PackedEncoder([member.network for member in members], first.dtype)
    weights = LowPrecisionWeights(encoder.layers_outside, first.dtype, encoder.products)

    def losses_of(inputs: Batch) -> list[Tensor]:
        with encoder.in_place(inputs.pop(SEEDS)):
            return [member.loss_of(encoder.inputs_of(number, inputs)) for number, member in enumerate(members)]

    update = KernelUpdate([member.optimizer for member in members], first.max_norm, weights)
    return RecordedSteps(losses_of, update, first.device, len(members))


def _padded_steps(one: Member) -> RecordedSteps:
    layers = [layer for layer in one.network.modules() if isinstance(layer, nn.Linear)]
    weights = None if one.dtype == torch.float32 else LowPrecisionWeights(layers, one.dtype)
    update = TorchUpdate(one.optimizer, one.max_norm, weights)
    return RecordedSteps(lambda inputs: [one.loss_of(inputs)], update, one.device)


@dataclass(frozen=True)
class Offer:
    """What a training brings to a step, and what is called with its part of it."""

    member: Member
    batch: Batch
    launched: Callable[[Launched], None]


class JointSteps:
    """The steps of trainings that meet at each: one batch of all. They are made anew when one has left."""

    def __init__(self) -> None:
        self.stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # of all: what one reads is written
        self.members: list[Member] = []
        self.steps: RecordedSteps | None = None

    def forget(self) -> None:
        """Let go of the trainings and their steps, when one has left; the stream has come to its end."""
        self.steps, self.members = None, []

    def launch(self, offers: dict[int, Offer]) -> dict[int, None]:
        """Train what every training has brought, by their seats."""
        members = [offer.member for offer in offers.values()]
        if members != self.members or self.steps is None:
            self.forget()  # before the new ones take memory
            self.steps, self.members = steps_of(members), members
        launched = self.steps.launch(joined([offer.batch for offer in offers.values()]))
        for offer, one in zip(offers.values(), launched, strict=True):
            offer.launched(one)
        return {}
