"""What lies between the products of a block, in one kernel each, for a GPU: dropout, sum and norm; bias and GELU.

Backward, some programs go through all rows in turn: each sums what its rows give to the parameters.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ftclf.fast.gpu.dropout import kept, row_options
from ftclf.fast.gpu.packed import Draw

PROGRAMS = 512  # that share the rows in backward
ROWS, COLUMNS = 256, 16  # that a program sums at once


def add_norm(
    h: Tensor, bias: Tensor, x: Tensor, weight: Tensor, shift: Tensor, draw: Draw, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Return layer_norm(dropout(h + bias) + x), in the type of x and in that of h.

    h and x have the shape (tokens, width), the others (width,). Sums are in float32. (Ba et al. 2016)
    """
    found: tuple[Tensor, Tensor] = _AddNorm.apply(h, bias, x, weight, shift, draw, epsilon)
    return found


def gelu(h: Tensor, bias: Tensor) -> Tensor:
    """Return gelu(h + bias) in the type of h, by the error function. (Hendrycks and Gimpel 2016)"""
    return _Gelu.apply(h, bias)  # type: ignore[no-any-return]


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, h: Tensor, bias: Tensor, x: Tensor, weight: Tensor, shift: Tensor, draw: Draw, epsilon: float
    ) -> tuple[Tensor, Tensor]:
        h, x = h.contiguous(), x.contiguous()
        rows, width = h.shape
        wide, low = torch.empty_like(x), torch.empty_like(h)
        moments = torch.empty(rows, 2, device=h.device)
        ctx.options = {**row_options(width), "DROPS": draw.drops}
        ctx.draw = draw.of(rows)
        _norm_forward[(rows,)](
            h, bias, x, weight, shift, wide, low, moments, *ctx.draw, epsilon, WIDTH=width, **ctx.options
        )
        ctx.save_for_backward(h, bias, x, weight, moments)
        ctx.set_materialize_grads(False)
        return wide, low

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        h, bias, x, weight, moments = ctx.saved_tensors
        dwide, dlow = (None if one is None else one.contiguous() for one in gradients)
        rows, width = h.shape
        dh, dx = torch.empty_like(h), torch.empty_like(x)
        summed = any(ctx.needs_input_grad[place] for place in (1, 3, 4))
        programs = min(PROGRAMS, rows) if summed else rows
        sums = torch.empty(programs if summed else 1, 3 * width, device=h.device)
        _norm_backward[(programs,)](
            *(h, bias, x, weight, moments, moments if dwide is None else dwide, h if dlow is None else dlow),
            *(dh, dx, sums, rows, *ctx.draw),
            HAS_WIDE=dwide is not None,
            HAS_LOW=dlow is not None,
            SUMS=summed,
            WIDTH=width,
            **ctx.options,
        )
        if not summed:
            return dh, None, dx, None, None, None, None
        both, dbias = sum_rows(sums, 2 * width, bias.dtype)
        return dh, dbias, dx, both[:width], both[width:], None, None


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, bias: Tensor) -> Tensor:
        h = h.contiguous()
        y = torch.empty_like(h)
        size, parts, warps = _cut(h.shape[1])
        _gelu_forward[(len(h), parts)](h, bias, y, WIDTH=h.shape[1], SIZE=size, num_warps=warps)
        ctx.save_for_backward(h, bias)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        h, bias = ctx.saved_tensors
        rows, width = h.shape
        dh, summed = torch.empty_like(h), ctx.needs_input_grad[1]
        programs = min(PROGRAMS, rows) if summed else rows
        sums = torch.empty(programs if summed else 1, width, device=h.device)
        (size, parts, warps), g = _cut(width), gradients[0].contiguous()
        _gelu_backward[(programs, parts)](
            h, bias, g, dh, sums, rows, SUMS=summed, WIDTH=width, SIZE=size, num_warps=warps
        )
        return dh, sum_rows(sums, 0, bias.dtype)[1] if summed else None


def sum_rows(x: Tensor, split: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the sums of the columns of x, (rows, columns) in float32: those before `split`, the others in a type.

    Some hundred rows and a few thousand columns take torch three times as long.
    """
    rows, columns = x.shape
    first, second = torch.empty(split, device=x.device), torch.empty(columns - split, dtype=dtype, device=x.device)
    _sum_rows[(triton.cdiv(columns, COLUMNS),)](
        x, first, second, rows, columns, split, ROWS=ROWS, COLUMNS=COLUMNS, num_warps=8
    )
    return first, second


def _cut(width: int) -> tuple[int, int, int]:
    """Return the size of the parts that a row is cut into, as full as can be, their number, and the warps for one."""
    size = next((size for size in (1024, 512, 256) if width % size == 0), triton.next_power_of_2(width))
    return size, triton.cdiv(width, size), max(1, min(8, size // 256))


@triton.jit
def _sum_of_both(h, bias, x, seeds, place, row, at, there, each, rate, WIDTH: tl.constexpr, DROPS: tl.constexpr):
    """Return dropout(h + bias) + x of one row, and what dropout multiplied by."""
    branch = tl.load(h + row * WIDTH + at, there, 0.0).to(tl.float32) + tl.load(bias + at, there, 0.0).to(tl.float32)
    factor = tl.full(branch.shape, 1.0, tl.float32)
    if DROPS:
        factor = kept(seeds, place, row, at, each, rate, WIDTH)
    return branch * factor + tl.load(x + row * WIDTH + at, there, 0.0).to(tl.float32), factor


@triton.jit(do_not_specialize=["place"])
def _norm_forward(
    h,
    bias,
    x,
    weight,
    shift,
    wide,
    low,
    moments,
    seeds,
    place,
    each,
    rate,
    epsilon,
    WIDTH: tl.constexpr,
    SIZE: tl.constexpr,
    DROPS: tl.constexpr,
):
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, SIZE)
    there = at < WIDTH
    both, _ = _sum_of_both(h, bias, x, seeds, place, row, at, there, each, rate, WIDTH, DROPS)
    mean = tl.sum(both, 0) / WIDTH
    apart = tl.where(there, both - mean, 0.0)
    inverse = 1 / tl.sqrt(tl.sum(apart * apart, 0) / WIDTH + epsilon)
    y = apart * inverse * tl.load(weight + at, there, 0.0) + tl.load(shift + at, there, 0.0)
    tl.store(wide + row * WIDTH + at, y.to(wide.dtype.element_ty), there)
    tl.store(low + row * WIDTH + at, y.to(low.dtype.element_ty), there)
    tl.store(moments + 2 * row, mean)
    tl.store(moments + 2 * row + 1, inverse)


@triton.jit(do_not_specialize=["place"])
def _norm_backward(
    h,
    bias,
    x,
    weight,
    moments,
    dwide,
    dlow,
    dh,
    dx,
    sums,
    rows,
    seeds,
    place,
    each,
    rate,
    HAS_WIDE: tl.constexpr,
    HAS_LOW: tl.constexpr,
    SUMS: tl.constexpr,
    WIDTH: tl.constexpr,
    SIZE: tl.constexpr,
    DROPS: tl.constexpr,
):
    at = tl.arange(0, SIZE)
    there = at < WIDTH
    factor = tl.load(weight + at, there, 0.0).to(tl.float32)
    dweight, dshift, dbias = (
        tl.zeros([SIZE], tl.float32),
        tl.zeros([SIZE], tl.float32),
        tl.zeros([SIZE], tl.float32),
    )
    row = tl.program_id(0).to(tl.int64)
    while row < rows:
        both, raised = _sum_of_both(h, bias, x, seeds, place, row, at, there, each, rate, WIDTH, DROPS)
        inverse = tl.load(moments + 2 * row + 1)
        normed = tl.where(there, (both - tl.load(moments + 2 * row)) * inverse, 0.0)
        g = tl.zeros([SIZE], tl.float32)
        if HAS_WIDE:
            g += tl.load(dwide + row * WIDTH + at, there, 0.0).to(tl.float32)
        if HAS_LOW:
            g += tl.load(dlow + row * WIDTH + at, there, 0.0).to(tl.float32)
        dweight += g * normed
        dshift += g
        g *= factor
        g = inverse * (g - tl.sum(g, 0) / WIDTH - normed * (tl.sum(g * normed, 0) / WIDTH))
        tl.store(dx + row * WIDTH + at, g.to(dx.dtype.element_ty), there)
        g *= raised
        dbias += tl.where(there, g, 0.0)
        tl.store(dh + row * WIDTH + at, g.to(dh.dtype.element_ty), there)
        row += tl.num_programs(0)
    if SUMS:
        mine = sums + tl.program_id(0) * 3 * WIDTH + at
        tl.store(mine, dweight, there)
        tl.store(mine + WIDTH, dshift, there)
        tl.store(mine + 2 * WIDTH, dbias, there)


@triton.jit
def _normal(u):
    """Return how much of the normal distribution lies below u, and its density there.

    Both from one exponential; the error is 1.5e-7 at most. (Abramowitz and Stegun 1964, 7.1.26)
    """
    x = tl.abs(u) * 0.7071067811865476
    t = 1 / (1 + 0.3275911 * x)
    power = tl.exp(-x * x)
    sum_of_four = -0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))
    beyond = 0.5 * t * (0.254829592 + t * sum_of_four) * power
    return tl.where(u < 0, beyond, 1 - beyond), 0.3989422804014327 * power


@triton.jit
def _gelu_forward(h, bias, y, WIDTH: tl.constexpr, SIZE: tl.constexpr):
    row, at = tl.program_id(0).to(tl.int64), tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    there = at < WIDTH
    u = tl.load(h + row * WIDTH + at, there, 0.0).to(tl.float32) + tl.load(bias + at, there, 0.0).to(tl.float32)
    below, _ = _normal(u)
    tl.store(y + row * WIDTH + at, (u * below).to(y.dtype.element_ty), there)


@triton.jit
def _gelu_backward(h, bias, dy, dh, sums, rows, SUMS: tl.constexpr, WIDTH: tl.constexpr, SIZE: tl.constexpr):
    at = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    there = at < WIDTH
    shift = tl.load(bias + at, there, 0.0).to(tl.float32)
    dbias = tl.zeros([SIZE], tl.float32)
    row = tl.program_id(0).to(tl.int64)
    while row < rows:
        u = tl.load(h + row * WIDTH + at, there, 0.0).to(tl.float32) + shift
        below, density = _normal(u)
        g = tl.load(dy + row * WIDTH + at, there, 0.0).to(tl.float32) * (below + u * density)
        dbias += g
        tl.store(dh + row * WIDTH + at, g.to(dh.dtype.element_ty), there)
        row += tl.num_programs(0)
    if SUMS:
        tl.store(sums + tl.program_id(0) * WIDTH + at, dbias, there)


@triton.jit
def _sum_rows(x, first, second, rows, columns, split, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    at, row = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS), tl.arange(0, ROWS)
    found = tl.zeros([COLUMNS], tl.float32)
    start = 0
    while start < rows:
        places = (start + row).to(tl.int64)[:, None] * columns + at[None, :]
        there = (start + row < rows)[:, None] & (at < columns)[None, :]
        found += tl.sum(tl.load(x + places, there, 0.0), 0)
        start += ROWS
    tl.store(first + at, found, at < split)
    tl.store(second + at - split, found.to(second.dtype.element_ty), (at >= split) & (at < columns))
