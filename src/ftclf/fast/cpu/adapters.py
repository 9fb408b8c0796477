"""The low-rank adapters on one product, as a pass computes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ftclf.fast.cpu.dropout import cut_of
from ftclf.fast.cpu.sections import raised


class Adapter(NamedTuple):
    """A low-rank update of one of the layers, (rank, inputs) and (outputs, rank), and its place in the stack."""

    down: nn.Parameter
    up: nn.Parameter
    level: int
    ranks: slice
    outputs: slice


@dataclass
class Adapters:
    """All adapters on one product; their input is dropped out once, for all of them.

    They are computed as a stack of `levels` adapters of the same shape: as many as there are layers if those have as
    many outputs and ranks each; else one, in which they stand corner to corner with zeros around.
    """

    parts: list[Adapter]
    levels: int
    rank: int  # of a level
    cut: int  # dropout rate in 1/256
    scale: float
    downs: Tensor = field(default_factory=partial(torch.empty, 0))  # (levels * rank, inputs), as a pass computes
    ups: Tensor = field(default_factory=partial(torch.empty, 0))  # (levels, rank, outputs of a level), times the factor
    up: Tensor = field(default_factory=partial(torch.empty, 0))  # its first level, a view
    up_back: Tensor = field(default_factory=partial(torch.empty, 0))  # the transpose of all, or of the only one: a view
    copies: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # the place in `downs` of each part, and in `ups`

    def factor(self, *, training: bool) -> float:
        """Return what `up @ down` of the masked input is multiplied by."""
        return self.scale * raised(self.cut) if training else self.scale

    def add_to(self, y: Tensor, hidden: Tensor) -> None:
        """Add to y, (tokens, outputs), what all `up` make of (tokens, levels * rank)."""
        if self.levels == 1:
            y.addmm_(hidden, self.up)
        else:
            self._stacked(y).baddbmm_(self._stacked(hidden), self.ups)

    def back(self, g: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of `hidden`, and of all `up`, from that of what `add_to` added."""
        if self.levels == 1:
            return torch.mm(g, self.up_back), torch.mm(hidden.t(), g)
        own = self._stacked(g)
        dhidden = torch.bmm(own, self.up_back).transpose(0, 1).flatten(1)
        return dhidden, torch.bmm(self._stacked(hidden).transpose(1, 2), own)

    def _stacked(self, x: Tensor) -> Tensor:
        """Return (tokens, levels * n) as (levels, tokens, n), a view."""
        return x.view(len(x), self.levels, -1).transpose(0, 1)

    def make_room(self, inputs: int, outputs: int, dtype: torch.dtype) -> None:
        """Make room for the copies that a pass computes with."""
        self.downs = torch.empty(self.levels * self.rank, inputs, dtype=dtype)
        self.ups = torch.zeros(self.levels, self.rank, outputs // self.levels, dtype=dtype)
        self.up = self.ups[0]
        self.up_back = self.up.t() if self.levels == 1 else self.ups.transpose(1, 2)
        self.copies = [
            (self.down_of(part, self.downs), self.ups[part.level, part.ranks, part.outputs].t()) for part in self.parts
        ]

    def down_of(self, part: Adapter, downs: Tensor) -> Tensor:
        """Return a part's rows of what belongs to all `down`, (levels * rank, inputs)."""
        start = part.level * self.rank
        return downs[start + part.ranks.start : start + part.ranks.stop]

    def gradients(self, downs: Tensor, ups: Tensor) -> dict[nn.Parameter, Tensor]:
        """Return the gradients of all parts from those of all `down` and of all `up` side by side, as one row each."""
        downs = downs.view(self.levels * self.rank, -1)
        ups = ups.view(self.levels, self.rank, -1).transpose(1, 2).contiguous()
        grads: dict[nn.Parameter, Tensor] = {}
        for part in self.parts:
            grads[part.down] = self.down_of(part, downs)
            grads[part.up] = ups[part.level, part.outputs, part.ranks].contiguous()
        return grads


def adapters_of(layers: list[nn.Module], sizes: list[int]) -> Adapters | None:
    """Read peft's adapters off the layers of a product."""
    wrapped: list[Any] = [layer for layer in layers if hasattr(layer, "lora_A")]
    if not wrapped:
        return None
    (name,) = wrapped[0].active_adapters
    pairs = [(layer.lora_A[name].weight, layer.lora_B[name].weight) for layer in wrapped]
    alike = len(wrapped) == len(layers) and len({(len(down), len(up)) for down, up in pairs}) == 1
    parts, rank, ends = [], 0, dict(zip(layers, accumulate(sizes), strict=True))
    for level, (layer, (down, up)) in enumerate(zip(wrapped, pairs, strict=True)):
        if alike:
            parts.append(Adapter(down, up, level, slice(0, len(down)), slice(0, len(up))))
        else:
            outputs = slice(ends[layer] - len(up), ends[layer])
            parts.append(Adapter(down, up, 0, slice(rank, rank + len(down)), outputs))
        rank += len(down)
    levels = len(parts) if alike else 1
    cut, scale = cut_of(wrapped[-1].lora_dropout[name]), float(wrapped[-1].scaling[name])
    return Adapters(parts, levels, rank // levels, cut, scale)
