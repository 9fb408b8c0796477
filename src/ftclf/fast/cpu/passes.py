"""One batch on its way through the blocks, its rows shared out over the cores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from ftclf.fast.cpu.block import Activations, Block
from ftclf.fast.cpu.kernels import make_kernels
from ftclf.fast.cpu.linear import Gradients, Saved, gradients_of_adapters, summed
from ftclf.fast.cpu.sections import RandomMasks, Section, filled, first_tokens, in_rooms
from ftclf.fast.cpu.workers import in_parallel

SHARE = 128  # tokens of a section at least


@dataclass
class Pass:
    """How one batch goes through the blocks: each share is a list of sections that one core computes."""

    blocks: list[Block]
    shares: list[list[Section]]
    dtype: torch.dtype
    training: bool

    @property
    def workers(self) -> int:
        return len(self.shares)

    @property
    def leaving(self) -> list[list[Section]]:
        """The shares of what comes out of the last block: of all tokens, or of the first of each text."""
        if not self.blocks[-1].query:
            return self.shares
        sections = sorted((section for share in self.shares for section in share), key=lambda section: section.start)
        firsts = dict(zip((s.start for s in sections), first_tokens(sections), strict=True))
        return [[firsts[section.start] for section in share] for share in self.shares]

    def forward(self, x: Tensor, *, keep: bool) -> tuple[Tensor, list[list[Activations]]]:
        """Return the last block's output, (`leaving` tokens, width), and what `backward` needs if it is to be kept."""
        self._prepare()
        # float32 has no such kernels; an evaluation has its own room, and a share of many is of many sizes
        if keep and self.dtype != torch.float32 and all(len(sections) == 1 for sections in self.shares):
            alone = [(section, leaving) for (section,), (leaving,) in zip(self.shares, self.leaving, strict=True)]
            make_kernels(self.blocks, alone, self.dtype, training=self.training)
        done = in_parallel(
            [partial(self._forward_share, x, sections, keep=keep) for sections in self.shares], self.workers
        )
        return _put_back([y for y, _ in done], self.leaving), [kept for _, kept in done]

    def backward(
        self, g: Tensor, kept: list[list[Activations]], *, wants_input: bool
    ) -> tuple[Tensor | None, Gradients]:
        """Return the gradient of x, or None, and those of all trained parameters, in their types.

        The cores go through the blocks first, each with its share; weights are then shared out, each with all rows.
        """
        shares = list(zip(self.leaving, self.shares, kept, strict=True))
        done = in_parallel(
            [partial(self._backward_share, g, *share, wants_input=wants_input) for share in shares], self.workers
        )
        grads = summed([norms for _, norms, _ in done])
        products = [product for block in reversed(self.blocks) for product in block.products]
        saved = [list(shares) for shares in zip(*(saved for _, _, saved in done), strict=True)]
        tasks = [
            partial(product.gradients, shares)
            for product, shares in zip(products, saved, strict=True)
            if product.trained
        ]
        for found in in_parallel(tasks, self.workers):
            grads |= found
        grads |= gradients_of_adapters(products, saved, training=self.training)
        inputs = [dx for dx, _, _ in done if dx is not None]
        return (_put_back(inputs, self.shares) if wants_input else None), grads

    def _prepare(self) -> None:
        with torch.no_grad():
            todo = [
                one
                for block in self.blocks
                for product in block.products
                for one in product.prepare(self.dtype, training=self.training)
            ]
            if not todo:
                return
            scaled = [copy for copy in todo if copy.factor != 1]
            plain = [copy for copy in todo if copy.factor == 1]
            sources = [copy.source for copy in plain]
            if scaled:
                sources += torch._foreach_mul([copy.source for copy in scaled], [copy.factor for copy in scaled])
            torch._foreach_copy_([copy.target for copy in [*plain, *scaled]], sources)

    def _forward_share(self, x: Tensor, sections: list[Section], *, keep: bool) -> tuple[Tensor, list[Activations]]:
        x, sections = _taken(x, sections), in_rooms(sections)
        kept = []
        for block in self.blocks:
            x, activations = block.forward(x, sections, self.dtype, training=self.training)
            if keep:
                kept.append(activations)
        return x, kept

    def _backward_share(
        self,
        g: Tensor | None,
        leaving: list[Section],
        sections: list[Section],
        kept: list[Activations],
        *,
        wants_input: bool,
    ) -> tuple[Tensor | None, Gradients, list[Saved]]:
        assert g is not None
        g, sections = _taken(g, leaving), in_rooms(sections)
        grads: Gradients = {}
        products: list[Saved] = []
        for index in reversed(range(len(self.blocks))):
            assert g is not None
            one, wants = kept.pop(), wants_input or index > 0  # freed but for what the weights' gradients need
            g, norms = self.blocks[index].backward(g, one, sections, wants_input=wants)
            grads |= norms
            products += one.products
        return g, grads, products


def sections_of(rows: int, length: int, mask: Tensor | None, most: int, *, training: bool) -> list[Section]:
    """Cut a padded batch into so many sections, or fewer if it is small, with random bytes for each in training."""
    shares = max(1, min(most, rows, rows * length // SHARE))
    bounds = [rows * share // shares for share in range(shares + 1)]
    seeds = torch.randint(2**62, (shares,)).tolist() if training else [None] * shares
    return [
        Section(
            0,
            start * length,
            stop - start,
            length,
            None if mask is None else mask[start:stop],
            [] if seed is None else [(stop - start, RandomMasks(seed))],
        )
        for start, stop, seed in zip(bounds[:-1], bounds[1:], seeds, strict=True)
    ]


def shared_out(sections: list[Section], workers: int) -> list[list[Section]]:
    """Return a share of the sections for each worker, or for fewer if they are few."""
    workers = min(workers, len(sections))
    bounds = [len(sections) * worker // workers for worker in range(workers + 1)]
    return [sections[start:stop] for start, stop in pairwise(bounds)]


def _taken(x: Tensor, sections: list[Section]) -> Tensor:
    """Return the tokens of the sections one after the other, each in its room."""
    return filled([x[section.tokens] for section in sections], sections)


def _put_back(parts: list[Tensor], shares: list[list[Section]]) -> Tensor:
    """Return the tokens of all shares where they belong."""
    total = max(section.tokens.stop for sections in shares for section in sections)
    if len(parts) == 1 and len(shares[0]) == 1:
        return parts[0][:total]
    out = parts[0].new_empty(total, parts[0].shape[1])
    for part, sections in zip(parts, shares, strict=True):
        for section, there in zip(sections, in_rooms(sections), strict=True):
            out[section.tokens] = part[there.tokens]
    return out
