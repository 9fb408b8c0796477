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


def dropped(x: Tensor, draw: Draw, parts: int = 1, scales: Tensor | None = None) -> Tensor:
    """Return the same of (rows, width), unknown to autograd, for some parts: (trainings, parts, each, width).

    A part drops by a place of its own, from that of the draw on. Each training is multiplied by its own of `scales`.
    """
    (rows, width), trainings = x.shape, len(draw.seeds)
    y = x.new_empty(trainings, parts, rows // trainings, width)
    _dropped[(rows, parts)](
        x.contiguous(), y, x if scales is None else scales, *draw.of(rows), **_constants(draw, scales, width)
    )
    return y


def dropped_back(g: Tensor, draw: Draw, scales: Tensor | None = None) -> Tensor:
    """Return the gradient of what `dropped` was given, (rows, width), from that of what it returned."""
    trainings, parts, each, width = g.shape
    dx = g.new_empty(trainings * each, width)
    _dropped_back[(len(dx),)](
        g.contiguous(),
        dx,
        g if scales is None else scales,
        *draw.of(len(dx)),
        PARTS=parts,
        **_constants(draw, scales, width),
    )
    return dx


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, draw: Draw) -> Tensor:
        ctx.draw = draw
        return dropped(x.flatten(0, -2), draw).view(x.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        g = gradients[0]
        return dropped(g.flatten(0, -2), ctx.draw).view(g.shape), None


def _constants(draw: Draw, scales: Tensor | None, width: int) -> dict[str, Any]:
    return {"DROPS": draw.drops, "SCALES": scales is not None, "WIDTH": width, **row_options(width)}


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


@triton.jit
def _raised(seeds, place, scales, row, at, each, rate, DROPS: tl.constexpr, SCALES: tl.constexpr, WIDTH: tl.constexpr):
    """Return what each element of a row is multiplied by, and scaled."""
    factor = tl.full(at.shape, 1.0, tl.float32)
    if DROPS:
        factor = kept(seeds, place, row, at, each, rate, WIDTH)
    if SCALES:
        factor *= tl.load(scales + row // each)
    return factor


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
    WIDTH: tl.constexpr,
    SIZE: tl.constexpr,
):
    row, part, at = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.arange(0, SIZE)
    there, before = at < WIDTH, row // each * (tl.num_programs(1) - 1) + part  # parts of all before it
    factor = _raised(seeds, place + part, scales, row, at, each, rate, DROPS, SCALES, WIDTH)
    found = tl.load(x + row * WIDTH + at, there, 0.0).to(tl.float32) * factor
    tl.store(y + (row + before * each) * WIDTH + at, found.to(y.dtype.element_ty), there)


@triton.jit(do_not_specialize=["place"])
def _dropped_back(
    g,
    dx,
    scales,
    seeds,
    place,
    each,
    rate,
    PARTS: tl.constexpr,
    DROPS: tl.constexpr,
    SCALES: tl.constexpr,
    WIDTH: tl.constexpr,
    SIZE: tl.constexpr,
):
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, SIZE)
    there, found = at < WIDTH, tl.zeros([SIZE], tl.float32)
    for part in tl.static_range(PARTS):
        factor = _raised(seeds, place + part, scales, row, at, each, rate, DROPS, SCALES, WIDTH)
        before = row // each * (PARTS - 1) + part
        found += tl.load(g + (row + before * each) * WIDTH + at, there, 0.0).to(tl.float32) * factor
    tl.store(dx + row * WIDTH + at, found.to(dx.dtype.element_ty), there)
