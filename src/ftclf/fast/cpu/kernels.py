"""Kernels of oneDNN for sizes that come for the first time, made before the pass that needs them.

A kernel's description is half a megabyte that stays. Made in the middle of a pass it lies between tensors, and the
memory in between fits little afterwards: after a hundred steps that is some 80 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from ftclf.fast.cpu.attention import attend, attend_backward, with_padding
from ftclf.fast.cpu.block import Block
from ftclf.fast.cpu.linear import Product
from ftclf.fast.cpu.sections import RandomMasks, Section
from ftclf.system.memory import apart_from_steps

_met: set[Any] = set()


def make_kernels(
    blocks: list[Block], sections: Sequence[tuple[Section, Section]], dtype: torch.dtype, *, training: bool
) -> None:
    """Compute once, with zeros, what a pass computes in sizes that have not come before.

    Beside each section stands what leaves the last block of it.
    """
    tries = [
        trial
        for section, leaving in sections
        for block in (blocks[0], blocks[-1])
        for trial in _tries(block, section, leaving, dtype, training=training)
    ]
    new = {key: trial for key, trial in tries if key not in _met}
    if new:
        _met.update(new)
        with torch.no_grad(), apart_from_steps():
            for trial in new.values():
                trial()


def _tries(
    block: Block, section: Section, leaving: Section, dtype: torch.dtype, *, training: bool
) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Give each product and the attention of a block, with what their kernels depend on."""
    for product in block.products:
        of = leaving if block.query and product is not block.qkv else section
        ranks = (product.adapters.levels, product.adapters.rank) if product.adapters else ()
        key = (
            (product.inputs, sum(product.sizes)),
            *ranks,
            product.trained,
            of.room,
            dtype,
            training,
        )
        yield key, partial(_product, product, of, dtype, training=training)
    cut = block.cuts[0] if training else 0
    if not block.query and not (block.fused_kernel and not cut):
        key = (block.heads, block.qkv.inputs, *with_padding(section.rows, section.length), dtype)
        yield key, partial(_attention, block, section, dtype, cut=cut)


def _product(product: Product, section: Section, dtype: torch.dtype, *, training: bool) -> None:
    section = _alone(section)
    x = torch.zeros(section.room, product.inputs, dtype=dtype)
    y, saved = product.forward(x, section, training=training)
    product.backward(y, saved, wants_input=True)


def _attention(block: Block, section: Section, dtype: torch.dtype, *, cut: int) -> None:
    qkv = torch.zeros(section.rows * section.length, 3 * block.qkv.inputs, dtype=dtype)
    context, kept = attend([qkv], block.heads, _alone(section), cut=cut, fused_kernel=block.fused_kernel)
    attend_backward(context, section, kept)


def _alone(section: Section) -> Section:
    """Return the section with random masks that nothing else takes."""
    return replace(section, start=0, random=RandomMasks(0) if section.random else None)
