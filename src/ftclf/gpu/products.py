"""Products with the weights of linear layers, and with their adapters, in as few kernels as there can be."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

WHOLE = slice(None)


@dataclass(frozen=True)
class Copy:
    """A parameter, and the rows of a tensor of another type that stand for it in a step."""

    source: nn.Parameter
    leaf: nn.Parameter
    rows: slice


class Product:
    """Linear layers that read the same, as one: their weights end to end, in the type that products are computed in.

    `weight`, `bias` and the adapters' are copies; `copies` says of what.
    """

    def __init__(self, layers: list[Any], dtype: torch.dtype) -> None:
        bases = [getattr(layer, "base_layer", layer) for layer in layers]
        ends = [sum(base.out_features for base in bases[:count]) for count in range(len(bases) + 1)]
        self.parts = [slice(start, end) for start, end in pairwise(ends)]
        self.copies: list[Copy] = []
        self.weight, self.bias = (
            self._copied([getattr(base, name) for base in bases], dtype) for name in ("weight", "bias")
        )
        self.adapters: list[Adapter] = []
        for layer, part in zip(layers, self.parts, strict=True):
            if hasattr(layer, "lora_A"):
                (name,) = layer.active_adapters
                down, up = (self._copied([one[name].weight], dtype) for one in (layer.lora_A, layer.lora_B))
                self.adapters.append(Adapter(part, down, up, layer.scaling[name], layer.lora_dropout[name]))

    def __call__(self, x: Tensor, *, bias: Tensor | None = None) -> Tensor:
        """Return the layers' outputs for x, (tokens, inputs), side by side, with a bias if one is given."""
        if not self.adapters:
            return functional.linear(x, self.weight, bias)
        factors = [factor for one in self.adapters for factor in (one.down, one.up)]
        places = [(one.part, one.scale, one.rate) for one in self.adapters]
        return _Adapted.apply(x, self.weight, bias, places, *factors)  # type: ignore[no-any-return,no-untyped-call]

    def _copied(self, sources: list[nn.Parameter], dtype: torch.dtype) -> nn.Parameter:
        trained = any(source.requires_grad for source in sources)
        leaf = nn.Parameter(torch.cat([source.detach() for source in sources]).to(dtype), requires_grad=trained)
        rows = self.parts if len(sources) > 1 else [WHOLE]
        self.copies += [Copy(source, leaf, part) for source, part in zip(sources, rows, strict=True)]
        return leaf


@dataclass(frozen=True)
class Adapter:
    """Two small products beside some columns of the outputs."""

    part: slice
    down: Tensor
    up: Tensor
    scale: float
    dropout: Any

    @property
    def rate(self) -> float:
        return float(getattr(self.dropout, "p", 0.0)) if self.dropout.training else 0.0


class _Adapted(torch.autograd.Function):
    """x @ weight.T + bias, frozen, and scale * dropout(x) @ down.T @ up.T in the columns of each adapter.

    (Hu et al. 2021)
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        places: list[tuple[slice, float, float]],
        *factors: Tensor,
    ) -> Tensor:
        y = functional.linear(x, weight, bias)
        saved: list[Tensor | None] = []
        for (part, scale, rate), down, up in zip(places, factors[::2], factors[1::2], strict=True):
            dropped, mask = torch.native_dropout(x, rate, True) if rate else (x, None)
            inner = dropped @ down.t()
            y[:, part].addmm_(inner, up.t(), alpha=scale)
            saved += [dropped, mask, inner]
        ctx.save_for_backward(weight, *factors, *saved)
        ctx.places = places
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        weight, *rest = ctx.saved_tensors
        count, g = 2 * len(ctx.places), gradients[0]
        factors, saved = rest[:count], rest[count:]
        dx: Tensor | None = None
        found = []
        for index, (part, scale, rate) in enumerate(ctx.places):
            (down, up), (dropped, mask, inner) = factors[2 * index :][:2], saved[3 * index :][:3]
            mine = g[:, part]
            dinner = torch.addmm(inner, mine, up, beta=0, alpha=scale)
            found += [dinner.t() @ dropped, torch.addmm(up, mine.t(), inner, beta=0, alpha=scale)]
            if ctx.needs_input_grad[0]:
                one = dinner @ down
                if mask is not None:
                    one = torch.ops.aten.native_dropout_backward(one, mask, 1 / (1 - rate))
                dx = one if dx is None else dx.add_(one)
        if dx is not None:
            dx.addmm_(g, weight)
        return dx, None, None, None, *found
