"""The blocks of BERT's and DistilBERT's encoders on packed batches, from a few large kernels."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from ftclf.fast.encoder_parts import dropouts_outside, encoder_of, layers_outside, parts_of
from ftclf.fast.gpu.packed import BOUNDS, LONGEST, MOST_ATTENDED, Draw
from ftclf.fast.gpu.products import Product
from ftclf.model.architectures import BlockParts

NO_MASK = "ftclf_packed"  # an attention that transformers makes no mask for


class Block:
    """One block: its products and norms, by what they do, and its dropouts: of the attention, and before each norm."""

    PLACES = 15  # where it may drop: three dropouts, and three adapters of each product

    def __init__(self, layer: nn.Module, parts: BlockParts, dtype: torch.dtype) -> None:
        part: Callable[[str], Any] = layer.get_submodule
        self.norms = part(parts.attention_norm), part(parts.output_norm)
        self.dropouts = [None if name is None else part(name) for name in parts.dropouts]
        self.inward = Product([[part(parts.query), part(parts.key), part(parts.value)]], dtype)
        self.outward, self.up, self.down = (
            Product([[part(name)]], dtype) for name in (parts.projection, parts.up, parts.down)
        )

    @property
    def products(self) -> list[Product]:
        return [self.inward, self.outward, self.up, self.down]

    def forward(
        self, x: Pair, heads: int, bounds: Tensor, longest: int, firsts: Tensor | None, seeds: Tensor, place: int
    ) -> Pair:
        """Return the block's output; with `firsts`, the places of the texts' first tokens, that of these alone.

        What is dropped follows from `seeds`, in PLACES places from `place` on.
        """
        from ftclf.fast.gpu.attention import attend
        from ftclf.fast.gpu.elementwise import add_norm, gelu

        draws = [Draw(_rate(one), seeds, place + number) for number, one in enumerate(self.dropouts)]
        inward, outward, up, down = range(place + len(draws), place + self.PLACES, 3)
        bias, alone = self.inward.bias, longest > MOST_ATTENDED  # else attention gives the bias its gradient
        y = self.inward(x.low, seeds, inward, bias=bias if alone else bias.detach()).view(len(x.low), 3, heads, -1)
        y = attend(y, bounds, longest, draws[0], None if alone else bias).flatten(1)
        wide = x.wide
        if firsts is not None:
            y, wide = y.index_select(0, firsts), wide.index_select(0, firsts)

        def normed(h: Tensor, bias: Tensor, residual: Tensor, norm: nn.LayerNorm, draw: Draw) -> Pair:
            return Pair(*add_norm(h, bias, residual, norm.weight, norm.bias, draw, norm.eps))

        x = normed(self.outward(y, seeds, outward), self.outward.bias, wide, self.norms[0], draws[1])
        h = gelu(self.up(x.low, seeds, up), self.up.bias)
        return normed(self.down(h, seeds, down), self.down.bias, x.wide, self.norms[1], draws[2])


def _rate(dropout: Any) -> float:
    return float(getattr(dropout, "p", 0.0)) if dropout is not None and dropout.training else 0.0


@dataclass(frozen=True)
class Pair:
    """Tokens, (tokens, width), in float32, in which they are added, and in the type of products."""

    wide: Tensor
    low: Tensor


class PackedEncoder:
    """The blocks of a network's encoder, which take packed batches while `in_place`."""

    USES = 2  # of a dropout outside the blocks: heads have one layer of it for two places

    def __init__(self, network: Any, dtype: torch.dtype) -> None:
        self.network, self.dtype, self.config = network, dtype, network.config
        parts = parts_of(self.config)
        self.blocks = [Block(layer, parts, dtype) for layer in encoder_of(network).layer]
        self.no_seeds = torch.zeros(1, dtype=torch.int64, device=self.blocks[0].inward.weight.device)

    @property
    def products(self) -> list[Product]:
        return [product for block in self.blocks for product in block.products]

    @property
    def layers_outside(self) -> list[nn.Linear]:
        return layers_outside(self.network)

    @contextmanager
    def in_place(self, seeds: Tensor | None = None) -> Iterator[None]:
        """Let the network pass its batch through the blocks. What is dropped follows from the seed, (1,), int64."""
        seeds = self.no_seeds if seeds is None else seeds
        before = self.config._attn_implementation
        forwards = [*self._forwards(seeds)]
        self.config._attn_implementation = NO_MASK
        for module, forward in forwards:
            module.forward = forward
        try:
            yield
        finally:
            self.config._attn_implementation = before
            for module, _ in forwards:
                del module.forward

    def _forwards(self, seeds: Tensor) -> Iterator[tuple[Any, Callable[..., Any]]]:
        """Yield what modules of the network compute instead of their own."""
        yield encoder_of(self.network), functools.partial(self._forward, seeds)
        for layer, module in enumerate(dropouts_outside(self.network)):
            places = itertools.count(self.first_place(len(self.blocks)) + layer * self.USES)
            yield module, functools.partial(_dropout, module, seeds, places)

    def first_place(self, block: int) -> int:
        """Return the number of the first place where a block may drop; what drops outside them comes last."""
        return block * Block.PLACES

    def _forward(
        self, seeds: Tensor, hidden_states: Tensor, *_: Any, **options: Any
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        firsts = self._passed(hidden_states, options[BOUNDS], options[LONGEST], seeds)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=firsts[:, None])

    def _passed(self, states: Tensor, bounds: Tensor, longest: int, seeds: Tensor) -> Tensor:
        """Return what the last block gives of the first token of each text."""
        wide = states.flatten(0, 1).float()
        x = Pair(wide, wide.to(self.dtype))
        firsts = bounds[:-1].long().clamp(max=len(wide) - 1)  # where a text without tokens reads
        for number, block in enumerate(self.blocks):
            chosen = firsts if block is self.blocks[-1] else None
            place = self.first_place(number)
            x = block.forward(x, self.config.num_attention_heads, bounds, longest, chosen, seeds, place)
        return x.wide


def _dropout(module: nn.Module, seeds: Tensor, places: Iterator[int], x: Tensor) -> Tensor:
    from ftclf.fast.gpu.dropout import dropout

    return dropout(x, Draw(_rate(module), seeds, next(places)))
