"""Products with the weights of linear layers, and with their adapters, in as few kernels as there can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ftclf.fast.gpu.packed import Draw


@dataclass(frozen=True)
class Copy:
    """A parameter, and the part of a tensor of another type that stands for it in a step."""

    source: nn.Parameter
    leaf: nn.Parameter
    place: Any = ...  # within the leaf

    def part(self) -> Tensor:
        """Return what stands for the parameter, in its shape."""
        return self.leaf.data[self.place]

    def gradient(self) -> Tensor | None:
        """Return the gradient of it, if there is one."""
        return None if self.leaf.grad is None else self.leaf.grad[self.place]


class Product:
    """Linear layers that read the same, as one: their weights end to end, in the type that products are computed in.

    `layers` are those of each training. All have the base of the first, and adapters of their own. `weight`, `bias` and
    the adapters' are copies; `copies` says of what.
    """

    def __init__(self, layers: Sequence[Sequence[Any]], dtype: torch.dtype) -> None:
        bases = [getattr(layer, "base_layer", layer) for layer in layers[0]]
        ends = [sum(base.out_features for base in bases[:count]) for count in range(len(bases) + 1)]
        parts = [slice(start, end) for start, end in pairwise(ends)]
        self.copies: list[Copy] = []
        self.weight, self.bias = (
            self._copied([getattr(base, name) for base in bases], parts, dtype) for name in ("weight", "bias")
        )
        adapted = [number for number, layer in enumerate(layers[0]) if hasattr(layer, "lora_A")]
        groups = [(0, len(parts))] if len(adapted) == len(parts) else [(one, one + 1) for one in adapted]
        self.adapters = [
            Adapter(first, slice(ends[first], ends[end]), [own[first:end] for own in layers], dtype)
            for first, end in groups
        ]
        self.copies += [copy for adapter in self.adapters for copy in adapter.copies]

    def __call__(self, x: Tensor, seeds: Tensor, place: int, *, bias: Tensor | None = None) -> Tensor:
        """Return the layers' outputs for x, (tokens, inputs), side by side, with a bias if one is given.

        The trainings have as many tokens each. Adapters drop by `seeds`, in places from `place` on.
        """
        if not self.adapters:
            return functional.linear(x, self.weight, bias)
        factors = [factor for one in self.adapters for factor in (one.down, one.up)]
        places = [(one.columns, one.scales, Draw(one.rate, seeds, place + one.first)) for one in self.adapters]
        return _Adapted.apply(x, self.weight, bias, places, *factors)  # type: ignore[no-any-return,no-untyped-call]

    def _copied(self, sources: list[nn.Parameter], parts: list[slice], dtype: torch.dtype) -> nn.Parameter:
        trained = any(source.requires_grad for source in sources)
        leaf = nn.Parameter(torch.cat([source.detach() for source in sources]).to(dtype), requires_grad=trained)
        self.copies += [Copy(source, leaf, part) for source, part in zip(sources, parts, strict=True)]
        return leaf


class Adapter:
    """Two small products of each training beside some columns of the outputs, for one layer or for some of one width.

    `down`, (trainings, layers, rank, inputs), and `up`, (trainings, layers, outputs, rank), are of the largest rank.
    What a smaller one has beyond its own is zero and stays so. `first` is the number of the first of the layers.
    """

    def __init__(self, first: int, columns: slice, layers: Sequence[Sequence[Any]], dtype: torch.dtype) -> None:
        self.first, self.columns = first, columns
        (name,) = layers[0][0].active_adapters
        pairs = [[(one.lora_A[name].weight, one.lora_B[name].weight) for one in own] for own in layers]
        rank, (down, up) = max(len(own[0][0]) for own in pairs), pairs[0][0]
        self.down, self.up = (
            nn.Parameter(
                torch.zeros(len(layers), len(layers[0]), *shape, dtype=dtype, device=down.device),
                requires_grad=down.requires_grad,
            )
            for shape in ((rank, down.shape[1]), (len(up), rank))
        )
        self.copies: list[Copy] = []
        for training, own in enumerate(pairs):
            for layer, (down, up) in enumerate(own):
                ranks = slice(len(down))
                self.copies.append(Copy(down, self.down, (training, layer, ranks)))
                self.copies.append(Copy(up, self.up, (training, layer, slice(None), ranks)))
        for copy in self.copies:
            copy.part().copy_(copy.source.detach())
        self.scales = torch.tensor([float(own[0].scaling[name]) for own in layers], device=down.device)
        self.dropout = layers[0][0].lora_dropout[name]

    @property
    def rate(self) -> float:
        return float(getattr(self.dropout, "p", 0.0)) if self.dropout.training else 0.0


class _Adapted(torch.autograd.Function):
    """x @ weight.T + bias, frozen, and scale * dropout(x) @ down.T @ up.T in the columns of each adapter.

    Inputs are scaled where they are dropped: each training has a scale of its own. (Hu et al. 2021)
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        places: list[tuple[slice, Tensor, Draw]],
        *factors: Tensor,
    ) -> Tensor:
        from ftclf.fast.gpu.adapters import enter, leave

        y = functional.linear(x, weight, bias)
        saved: list[Tensor] = []
        for (columns, scales, draw), down, up in zip(places, factors[::2], factors[1::2], strict=True):
            read, inner = enter(x, down, draw, scales)
            leave(inner, up, y[:, columns])
            saved += [read, inner]
        ctx.save_for_backward(weight, *factors, *saved)
        ctx.places = places
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        from ftclf.fast.gpu.adapters import of_factors, of_input, return_to

        weight, *rest = ctx.saved_tensors
        count = 2 * len(ctx.places)
        factors, saved = rest[:count], rest[count:]
        g = gradients[0].contiguous()
        dx: Tensor | None = None
        found: list[Tensor] = []
        for index, (columns, scales, draw) in enumerate(ctx.places):
            (down, up), (read, inner) = factors[2 * index :][:2], saved[2 * index :][:2]
            own = g[:, columns]
            dinner = return_to(own, up)
            found += of_factors(own, read, inner, dinner, up.shape[2])
            if ctx.needs_input_grad[0]:
                one = of_input(dinner, down, draw, scales)
                dx = one if dx is None else dx.add_(one)
        if dx is not None:
            dx.addmm_(g, weight)
        return dx, None, None, None, *found
