"""Dropout that draws a byte instead of a float for each element: on a CPU the draw costs more than the product.

torch's `bernoulli_` takes 15 % of a MiniLM step on two cores; a byte mask takes 2 %. The rate is rounded to 1/256
(0.1 becomes 26/256) and the scale follows it exactly, so that expectations hold. Draws come from torch's own
generator: seeded, saved and resumed with it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ByteDropout(nn.Module):
    """Drop elements at the rate p, a multiple of 1/256, in training mode."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.cut = round(p * 256)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.cut == 0:
            return x
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        keep = words.view(torch.uint8)[: x.numel()].view(x.shape) >= self.cut
        return x * keep.to(x.dtype).mul_(256 / (256 - self.cut))

    def extra_repr(self) -> str:
        return f"p={self.cut}/256"


def cut_of(dropout: nn.Module) -> int:
    """Return the rate of a dropout layer in 1/256; 0 for a layer that passes everything on."""
    return round(float(getattr(dropout, "p", 0.0)) * 256)


def use_byte_dropout(network: nn.Module) -> None:
    """Replace every nn.Dropout of a network that is trained on a CPU."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Dropout and child.p < 1:
                parent._modules[name] = ByteDropout(child.p).train(child.training)
