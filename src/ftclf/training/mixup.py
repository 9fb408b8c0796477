"""Mixup of pooled states: the head is trained on mixtures of two rows of a batch, and on their targets."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.distributions import Beta

from ftclf.model.head import output_parameters
from ftclf.system.errors import ConfigError
from ftclf.training.losses import TrainingLoss

WRAPPED = ".modules_to_save.default"  # what peft puts into the path of a module that it copies
LEAST_ALPHA = 1e-3  # all shares are 0 or 1 there, and torch has no number for smaller ones
COPIED_FROM = "original_module"


class MixedLoss:
    """A loss of mixed rows (Zhang et al. 2018; of hidden states, Verma et al. 2019).

    Before the output layer, a row's state x becomes s x + (1 - s) y, with y the state of another row of its batch and
    s of Beta(alpha, alpha), one for the batch; the loss is s times that with the targets of x, and (1 - s) times that
    with those of y. Numbers come from torch's generator, whose state a checkpoint holds. Evaluation mixes nothing.
    """

    def __init__(self, loss: TrainingLoss, output: torch.nn.Module, alpha: float) -> None:
        self.loss, self.shares = loss, Beta(max(alpha, LEAST_ALPHA), max(alpha, LEAST_ALPHA))
        self.share, self.order = 1.0, torch.arange(0)
        output.register_forward_pre_hook(self._mix)

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Any:
        as_they_are = self.loss(outputs, labels, num_items_in_batch)
        of_others = self.loss(outputs, labels[self.order.to(labels.device)], num_items_in_batch)
        return self.share * as_they_are + (1 - self.share) * of_others

    def _mix(self, module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if not module.training:
            return None
        states, *rest = inputs
        self.share, self.order = draw(self.shares, len(states))
        return (self.share * states + (1 - self.share) * states[self.order.to(states.device)], *rest)


def draw(shares: Beta, rows: int) -> tuple[float, Tensor]:
    """Return the share of a batch, and the row that each of its rows is mixed with."""
    return float(shares.sample()), torch.randperm(rows)


def output_of(network: Any, bare: Any) -> torch.nn.Module:
    """Return the output layer of a network, which peft may have wrapped; `bare` is the network without adapters."""
    names = {name.rpartition(".")[0] for name in output_parameters(bare)}
    modules = [
        module
        for path, module in network.named_modules()
        if COPIED_FROM not in path and any(f".{path.replace(WRAPPED, '')}".endswith(f".{name}") for name in names)
    ]
    if len(names) != 1 or not modules:
        raise ConfigError(f"training.mixup: {bare.config.model_type} has no output layer of its own; leave it out")
    return cast(torch.nn.Module, modules[-1])


def refuse_unpooled(network: Any, output: torch.nn.Module, inputs: dict[str, Tensor]) -> None:
    """Raise ConfigError for a network whose output layer gets more than one state of each row."""
    shapes: list[int] = []
    handle = output.register_forward_pre_hook(lambda _, given: shapes.append(given[0].ndim))
    before = network.training
    try:
        with torch.no_grad():
            network.eval()(**inputs)
    finally:
        handle.remove()
        network.train(before)
    if shapes != [2]:
        raise ConfigError(
            f"training.mixup: {network.config.model_type} labels every token before it chooses one, allowed: encoders "
            "that pool a text first; leave it out"
        )
