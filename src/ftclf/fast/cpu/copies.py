"""Weights in the type that a pass computes in: as they stand, or in the layout of oneDNN's products.

A product brings a weight into that layout by itself, each time: 4 to 6 % of it, and a fifth with a single text. Weights
that are not trained are kept in it; the results are the same bits.
"""

from __future__ import annotations

import platform
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

ops: Any = torch.ops.mkldnn
TOKENS = 320  # that the layout is chosen for; it is the same for others


class Plain:
    """A layer's weight and bias."""

    both = True

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """Return x @ weight.T + bias."""
        return functional.linear(x, self.weight, self.bias)

    def backward(self, g: Tensor) -> Tensor:
        """Return g @ weight."""
        return g @ self.weight


class Packed:
    """The same, packed; `both`: for gradients too, whose products are with the transposed weight."""

    def __init__(self, weight: Tensor, bias: Tensor, *, both: bool) -> None:
        self.bias, self.both = bias, both
        self._forward = ops._reorder_linear_weight(weight, TOKENS)
        self._backward = ops._reorder_linear_weight(weight.t(), TOKENS) if both else None

    def forward(self, x: Tensor) -> Tensor:
        return ops._linear_pointwise(x, self._forward, self.bias, "none", [], "")  # type: ignore[no-any-return]

    def backward(self, g: Tensor) -> Tensor:
        return ops._linear_pointwise(g, self._backward, None, "none", [], "")  # type: ignore[no-any-return]


@cache
def can_pack_weights(dtype: torch.dtype) -> bool:
    """Return whether this machine's products in this type have a layout of their own."""
    return (
        dtype == torch.bfloat16
        and platform.machine() in ("x86_64", "AMD64")
        and all(hasattr(ops, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))
        and ops._is_mkldnn_bf16_supported()
    )
