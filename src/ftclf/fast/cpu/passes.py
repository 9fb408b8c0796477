"""One batch on its way through the blocks, its rows shared out over the cores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ftclf.fast.cpu.block import Activations, Block
from ftclf.fast.cpu.kernels import make_kernels
from ftclf.fast.cpu.linear import Gradients, Saved, gradients_of_adapters, summed
from ftclf.fast.cpu.sections import RandomMasks, Section
from ftclf.fast.cpu.workers import in_parallel

SHARE = 128  # tokens of a section at least


@dataclass
class Pass:
    """How one batch goes through the blocks: one core computes each of its sections."""

    blocks: list[Block]
    sections: list[Section]
    dtype: torch.dtype
    training: bool

    @property
    def workers(self) -> int:
        return len(self.sections)

    @property
    def leaving(self) -> list[Section]:
        """The sections of what comes out of the last block: of all tokens, or of the first of each text."""
        return [section.firsts for section in self.sections] if self.blocks[-1].query else self.sections

    def forward(self, x: Tensor, *, keep: bool) -> tuple[Tensor, list[list[Activations]]]:
        """Return the last block's output, (`leaving` tokens, width), and what `backward` needs if it is to be kept."""
        self._prepare()
        if keep and self.dtype != torch.float32:  # which has no such kernels; an evaluation has its own room
            both = list(zip(self.sections, self.leaving, strict=True))
            make_kernels(self.blocks, both, self.dtype, training=self.training)
        done = in_parallel(
            [partial(self._forward_section, x, section, keep=keep) for section in self.sections], self.workers
        )
        return _put_back([y for y, _ in done], self.leaving), [kept for _, kept in done]

    def backward(
        self, g: Tensor, kept: list[list[Activations]], *, wants_input: bool
    ) -> tuple[Tensor | None, Gradients]:
        """Return the gradient of x, or None, and those of all trained parameters, in their types.

        The cores go through the blocks first, each with its section; weights are then shared out, each with all rows.
        """
        each = list(zip(self.leaving, self.sections, kept, strict=True))
        done = in_parallel(
            [partial(self._backward_section, g, *one, wants_input=wants_input) for one in each], self.workers
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
        return (_put_back(inputs, self.sections) if wants_input else None), grads

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

    def _forward_section(self, x: Tensor, section: Section, *, keep: bool) -> tuple[Tensor, list[Activations]]:
        x, section = section.filled(x[section.tokens]), replace(section, start=0)
        kept = []
        for block in self.blocks:
            x, activations = block.forward(x, section, self.dtype, training=self.training)
            if keep:
                kept.append(activations)
        return x, kept

    def _backward_section(
        self,
        g: Tensor | None,
        leaving: Section,
        section: Section,
        kept: list[Activations],
        *,
        wants_input: bool,
    ) -> tuple[Tensor | None, Gradients, list[Saved]]:
        assert g is not None
        g, section = leaving.filled(g[leaving.tokens]), replace(section, start=0)
        grads: Gradients = {}
        products: list[Saved] = []
        for index in reversed(range(len(self.blocks))):
            assert g is not None
            one, wants = kept.pop(), wants_input or index > 0  # freed but for what the weights' gradients need
            g, norms = self.blocks[index].backward(g, one, section, wants_input=wants)
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
            start * length,
            stop - start,
            length,
            None if mask is None else mask[start:stop],
            None if seed is None else RandomMasks(seed),
        )
        for start, stop, seed in zip(bounds[:-1], bounds[1:], seeds, strict=True)
    ]


def _put_back(parts: list[Tensor], sections: list[Section]) -> Tensor:
    """Return the tokens of all sections where they belong."""
    total = sections[-1].tokens.stop
    if len(parts) == 1:
        return parts[0][:total]
    out = parts[0].new_empty(total, parts[0].shape[1])
    for part, section in zip(parts, sections, strict=True):
        out[section.tokens] = part[: section.rows * section.length]
    return out
