"""The weights of linear layers in the type that products are computed in, all copied at once before a step.

Autocast casts them one by one in the forward pass, and each gradient in the backward pass: two small kernels a tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Copy:
    """A parameter, where it lies, and its copy."""

    module: nn.Module
    name: str
    source: nn.Parameter
    copy: nn.Parameter


class LowPrecisionWeights:
    """Copies of a network's linear weights; those that do not train are made once."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        self.copies = [
            Copy(module, name, weight, nn.Parameter(weight.detach().to(dtype), requires_grad=weight.requires_grad))
            for module in network.modules()
            if isinstance(module, nn.Linear)
            for name, weight in module.named_parameters(recurse=False)
        ]
        self.trained = [one for one in self.copies if one.source.requires_grad]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network compute with fresh copies, and give their gradients to the weights at the end."""
        if self.trained:
            torch._foreach_copy_([one.copy.data for one in self.trained], [one.source.data for one in self.trained])
        for one in self.copies:
            one.module._parameters[one.name] = one.copy
        try:
            yield
        finally:
            for one in self.copies:
                one.module._parameters[one.name] = one.source
        self._hand_over()

    def _hand_over(self) -> None:
        found = [(one.source, one.copy, one.copy.grad) for one in self.trained if one.copy.grad is not None]
        targets: list[Tensor] = []
        for source, copy, _ in found:
            source.grad, copy.grad = torch.empty_like(source), None
            targets.append(source.grad)
        if found:
            torch._foreach_copy_(targets, [gradient for *_, gradient in found])
