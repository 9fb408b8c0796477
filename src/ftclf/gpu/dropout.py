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

from ftclf.gpu.packed import Draw


def dropout(x: Tensor, draw: Draw) -> Tensor:
    """Return x, (..., width), without what is dropped; what stays is raised so that the mean stays."""
    return _Dropout.apply(x, draw) if draw.drops else x  # type: ignore[no-any-return]


def dropped(x: Tensor, draw: Draw, scales: Tensor | None = None, onto: Tensor | None = None) -> Tensor:
    """Return the same, unknown to autograd; times what each training has of `scales`, and added to `onto` in place."""
    x = x.contiguous()
    y, width = torch.empty_like(x) if onto is None else onto, x.shape[-1]
    rows = x.numel() // width
    constants = {"DROPS": draw.drops, "SCALES": scales is not None, "ADDS": onto is not None, "WIDTH": width}
    _dropped[(rows,)](x, y, x if scales is None else scales, *draw.of(rows), **constants, **row_options(width))
    return y


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, draw: Draw) -> Tensor:
        ctx.draw = draw
        return dropped(x, draw)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return dropped(gradients[0], ctx.draw), None


def row_options(width: int) -> dict[str, Any]:
    """Return the options of a kernel whose programs take whole rows."""
    size = triton.next_power_of_2(width)
    return {"SIZE": size, "num_warps": max(1, min(8, size // 256))}


@triton.jit
def kept(seeds, place, row, at, each, rate, WIDTH: tl.constexpr):
    """Return what each element of a row is multiplied by: 0, or what makes up for those that are 0."""
    training = row // each
    drawn = tl.rand(tl.load(seeds + training) + place, (row - training * each) * WIDTH + at)
    return tl.where(drawn < rate, 0.0, 1 / (1 - rate))


@triton.jit(do_not_specialize=["place"])
def _dropped(
    x,
    y,
    scales,
    seeds,
    place,
    each,
    rate,
    DROPS: tl.constexpr,
    SCALES: tl.constexpr,
    ADDS: tl.constexpr,
    WIDTH: tl.constexpr,
    SIZE: tl.constexpr,
):
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, SIZE)
    there = at < WIDTH
    found = tl.load(x + row * WIDTH + at, there, 0.0).to(tl.float32)
    if DROPS:
        found *= kept(seeds, place, row, at, each, rate, WIDTH)
    if SCALES:
        found *= tl.load(scales + row // each)
    if ADDS:
        found += tl.load(y + row * WIDTH + at, there, 0.0).to(tl.float32)
    tl.store(y + row * WIDTH + at, found.to(y.dtype.element_ty), there)
