"""Products with the weights of linear layers, and with their adapters, in as few kernels as there can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ftclf.gpu.packed import Draw


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
        self.adapters = [
            Adapter(part, same, dtype)
            for part, same in zip(parts, zip(*layers, strict=True), strict=True)
            if hasattr(same[0], "lora_A")
        ]
        self.copies += [copy for adapter in self.adapters for copy in adapter.copies]

    def __call__(self, x: Tensor, seeds: Tensor, place: int, *, bias: Tensor | None = None) -> Tensor:
        """Return the layers' outputs for x, (tokens, inputs), side by side, with a bias if one is given.

        The trainings have as many tokens each. Adapters drop by `seeds`, in places from `place` on.
        """
        if not self.adapters:
            return functional.linear(x, self.weight, bias)
        factors = [factor for one in self.adapters for factor in (one.down, one.up)]
        draws = [Draw(one.rate, seeds, place + number) for number, one in enumerate(self.adapters)]
        places = [(one.part, one.scales, draw) for one, draw in zip(self.adapters, draws, strict=True)]
        return _Adapted.apply(x, self.weight, bias, places, *factors)  # type: ignore[no-any-return,no-untyped-call]

    def _copied(self, sources: list[nn.Parameter], parts: list[slice], dtype: torch.dtype) -> nn.Parameter:
        trained = any(source.requires_grad for source in sources)
        leaf = nn.Parameter(torch.cat([source.detach() for source in sources]).to(dtype), requires_grad=trained)
        self.copies += [Copy(source, leaf, part) for source, part in zip(sources, parts, strict=True)]
        return leaf


class Adapter:
    """Two small products of each training beside some columns of the outputs.

    `down`, (trainings, rank, inputs), and `up`, (trainings, columns, rank), are of the largest rank. What a smaller one
    has beyond its own is zero and stays so.
    """

    def __init__(self, part: slice, layers: Sequence[Any], dtype: torch.dtype) -> None:
        self.part = part
        names = [layer.active_adapters[0] for layer in layers]
        named = list(zip(layers, names, strict=True))
        pairs = [(layer.lora_A[name].weight, layer.lora_B[name].weight) for layer, name in named]
        rank = max(len(down) for down, _ in pairs)
        (down, up), trained = pairs[0], pairs[0][0].requires_grad
        self.down, self.up = (
            nn.Parameter(torch.zeros(len(pairs), *shape, dtype=dtype, device=down.device), requires_grad=trained)
            for shape in ((rank, down.shape[1]), (len(up), rank))
        )
        self.copies: list[Copy] = []
        for number, (down, up) in enumerate(pairs):
            own = slice(len(down))
            self.copies += [Copy(down, self.down, (number, own)), Copy(up, self.up, (number, slice(None), own))]
        for copy in self.copies:
            copy.part().copy_(copy.source.detach())
        self.scales = torch.tensor([float(layer.scaling[name]) for layer, name in named], device=down.device)
        self.dropout = layers[0].lora_dropout[names[0]]

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
        from ftclf.gpu.dropout import dropped

        y = functional.linear(x, weight, bias)
        trainings = len(factors[0])
        saved: list[Tensor] = []
        for (part, scales, draw), down, up in zip(places, factors[::2], factors[1::2], strict=True):
            stays = dropped(x, draw, scales).view(trainings, -1, x.shape[1])
            inner = _product(stays, down.mT)
            _add_product(y.view(trainings, -1, y.shape[1])[:, :, part], inner, up.mT)
            saved += [stays, inner]
        ctx.save_for_backward(weight, *factors, *saved)
        ctx.places = places
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        from ftclf.gpu.dropout import dropped

        weight, *rest = ctx.saved_tensors
        count = 2 * len(ctx.places)
        factors, saved = rest[:count], rest[count:]
        g, trainings = gradients[0].contiguous(), len(factors[0])
        dx: Tensor | None = None
        found = []
        for index, (part, scales, draw) in enumerate(ctx.places):
            (down, up), (stays, inner) = factors[2 * index :][:2], saved[2 * index :][:2]
            mine = g.view(trainings, -1, g.shape[1])[:, :, part]
            dinner = _product(mine, up)
            found += [_product(dinner.mT, stays), _product(mine.mT, inner)]
            if ctx.needs_input_grad[0]:
                dx = dropped(_product(dinner, down).view(len(g), -1), draw, scales, dx)
        if dx is not None:
            dx.addmm_(g, weight)
        return dx, None, None, None, *found


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return a @ b of each training."""
    return torch.mm(a[0], b[0])[None] if len(a) == 1 else torch.bmm(a, b)


def _add_product(y: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a @ b of each training to y."""
    if len(a) == 1:
        y[0].addmm_(a[0], b[0])
    else:
        y.baddbmm_(a, b)
