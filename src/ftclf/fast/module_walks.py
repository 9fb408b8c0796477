"""Walks over a network's modules that change nothing.

The Trainer walks through them three times a step; with LoRA there are 500, and all that computes waits.
"""

from __future__ import annotations

import types
from typing import Any

from torch import nn


def spare_walks(network: nn.Module) -> None:
    """Let `train` and `eval` do nothing where they were the last to be called, and `zero_grad` know the parameters.

    Call it when the modules are in place, and set the mode of the whole network alone from then on. What mode it is in
    is not asked: peft wraps a network that evaluates in a module that trains.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    walk, last = network.train, None

    def train(self: Any, mode: bool = True) -> Any:
        nonlocal last
        if mode is not last:
            walk(mode)
            last = mode
        return self

    def zero_grad(self: Any) -> None:
        for parameter in trained:
            parameter.grad = None

    network.train = types.MethodType(train, network)  # type: ignore[method-assign]
    network.zero_grad = types.MethodType(zero_grad, network)  # type: ignore[method-assign]
