"""Dropout whose draws follow from seeds that come with the batch, in kernels of a GPU.

So a recorded step needs no generator, and each of several trainings, whose rows lie end to end, drops what it would
drop alone.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ftclf.fast.gpu.packed import Draw


def dropout(x: Tensor, draw: Draw) -> Tensor:
    """Return x, (..., width), without what is dropped; what stays is raised so that the mean stays."""
    return _Dropout.apply(x, draw) if draw.drops else x  # type: ignore[no-any-return]


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, draw: Draw) -> Tensor:
        ctx.draw = draw
        return _product(x, draw)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _product(gradients[0], ctx.draw), None


def _product(x: Tensor, draw: Draw) -> Tensor:
    """Return x times 0, or what makes up for it."""
    x, width = x.contiguous(), x.shape[-1]
    y, rows = torch.empty_like(x), x.numel() // width
    _dropped[(rows,)](x, y, *draw.of(rows), WIDTH=width, **row_options(width))
    return y


def row_options(width: int) -> dict[str, Any]:
    """Return the options of a kernel whose programs take whole rows."""
    size = triton.next_power_of_2(width)
    return {"SIZE": size, "num_warps": max(1, min(8, size // 256))}


@triton.jit
def kept(seeds, place, row, at, each, rate, WIDTH: tl.constexpr):
    """Return what each element of a row is multiplied by: 0, or what makes up for those that are 0."""
    training = row // each
    return stays(tl.load(seeds + training) + place, (row - training * each).to(tl.int32) * WIDTH + at, rate)


@triton.jit
def stays(seed, element, rate):
    """Return what elements of these numbers are multiplied by.

    Seven rounds of Philox pass all tests of BigCrush. (Salmon et al. 2011)
    """
    return tl.where(tl.rand(seed, element, 7) < rate, 0.0, 1 / (1 - rate))


@triton.jit(do_not_specialize=["place"])
def _dropped(x, y, seeds, place, each, rate, WIDTH: tl.constexpr, SIZE: tl.constexpr):
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, SIZE)
    there = at < WIDTH
    found = tl.load(x + row * WIDTH + at, there, 0.0).to(tl.float32) * kept(seeds, place, row, at, each, rate, WIDTH)
    tl.store(y + row * WIDTH + at, found.to(y.dtype.element_ty), there)
