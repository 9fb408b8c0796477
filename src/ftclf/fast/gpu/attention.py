"""Attention of short texts that lie end to end, for a GPU: a text's whole attention matrix in one block, per head.

Kernels for long texts cut them into blocks of 128 tokens: where a text has 20, they compute 40 times what is needed.
Longer texts go to them.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ftclf.fast.gpu.dropout import stays
from ftclf.fast.gpu.elementwise import sum_rows
from ftclf.fast.gpu.packed import MOST_ATTENDED, Draw

LARGEST = tl.constexpr(MOST_ATTENDED)
NARROWEST, WIDEST = 16, 128  # a head that the matrix unit takes


def can_attend(width: int) -> bool:
    """Return whether the kernels know heads of this width."""
    return NARROWEST <= width <= WIDEST and width & (width - 1) == 0


def attend(x: Tensor, bounds: Tensor, longest: int, draw: Draw, bias: Tensor | None = None) -> Tensor:
    """Return dropout(softmax(query @ key.T / sqrt(width))) @ value within each text.

    x has the shape (tokens, 3, heads, width), of queries, keys and values; the answer (tokens, heads, width). Text i
    has the tokens from `bounds[i]` to `bounds[i + 1]`, `longest` at most, and every token is of a text. `bias` has been
    added to x already, and gets its gradient here; not where texts are longer than `MOST_ATTENDED`, for which
    the seeds are not used either. (Vaswani et al. 2017; the probabilities are computed again in backward, as Dao et
    al. 2022 do)
    """
    if longest > MOST_ATTENDED:
        query, key, value = x.unbind(1)
        flash = torch.ops.aten._flash_attention_forward
        return flash(query, key, value, bounds, bounds, longest, longest, draw.rate, False, False)[0]  # type: ignore[no-any-return]
    return _Attention.apply(x, bias, bounds, longest, draw)  # type: ignore[no-any-return]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, bounds: Tensor, longest: int, draw: Draw) -> Tensor:
        x = x.contiguous()
        tokens, _, heads, width = x.shape
        y = x.new_empty(tokens, heads, width)
        ctx.grid, ctx.options = (len(bounds) - 1, heads), _options(longest, width, draw)
        ctx.numbers = *draw.of(len(bounds) - 1), width**-0.5
        ctx.type = None if bias is None else bias.dtype
        _forward[ctx.grid](x, y, bounds, *ctx.numbers, **ctx.options)
        ctx.save_for_backward(x, bounds)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, bounds = ctx.saved_tensors
        dx, summed = torch.empty_like(x), ctx.needs_input_grad[1]
        sums = torch.empty(len(bounds) - 1 if summed else 1, x[0].numel(), device=x.device)
        g = gradients[0].contiguous()
        _backward[ctx.grid](x, g, dx, sums, bounds, *ctx.numbers, SUMS=summed, **ctx.options)
        return dx, sum_rows(sums, 0, ctx.type)[1] if summed else None, None, None, None


def _options(longest: int, width: int, draw: Draw) -> dict[str, Any]:
    size = max(16, 1 << (longest - 1).bit_length())
    return {"WIDTH": width, "SIZE": size, "DROPS": draw.drops, "num_warps": {16: 1, 32: 2, 64: 4, 128: 8}[size]}


@triton.jit
def _places(start, length, which, parts, WIDTH: tl.constexpr, SIZE: tl.constexpr):
    """Return where the rows of a text lie, of one head and of one part of each token, and which of them there are."""
    row, column = tl.arange(0, SIZE)[:, None], tl.arange(0, WIDTH)[None, :]
    head, heads = tl.program_id(1), tl.num_programs(1)
    return (((start + row).to(tl.int64) * parts + which) * heads + head) * WIDTH + column, row < length


@triton.jit
def _part(x, start, length, which, WIDTH: tl.constexpr, SIZE: tl.constexpr):
    at, there = _places(start, length, which, 3, WIDTH, SIZE)
    return tl.load(x + at, there, 0.0)


@triton.jit
def _store_part(x, part, start, length, which, WIDTH: tl.constexpr, SIZE: tl.constexpr):
    at, there = _places(start, length, which, 3, WIDTH, SIZE)
    tl.store(x + at, part.to(x.dtype.element_ty), there)


@triton.jit
def _probabilities(q, k, scale, length, SIZE: tl.constexpr):
    scores = tl.dot(q, tl.trans(k)) * scale
    scores = tl.where(tl.arange(0, SIZE)[None, :] < length, scores, float("-inf"))
    weights = tl.exp(scores - tl.max(scores, 1)[:, None])
    return weights / tl.sum(weights, 1)[:, None]


@triton.jit
def _kept(seeds, place, each, rate, SIZE: tl.constexpr):
    """Return what each probability is multiplied by, whatever SIZE is: 0, or what makes up for those that are 0."""
    training = tl.program_id(0) // each
    matrix = (tl.program_id(0) - training * each) * tl.num_programs(1) + tl.program_id(1)
    row, column = tl.arange(0, SIZE)[:, None], tl.arange(0, SIZE)[None, :]
    element = (matrix * LARGEST + row) * LARGEST + column
    return stays(tl.load(seeds + training) + place, element, rate)


@triton.jit(do_not_specialize=["place"])
def _forward(
    x, y, bounds, seeds, place, each, rate, scale, WIDTH: tl.constexpr, SIZE: tl.constexpr, DROPS: tl.constexpr
):
    start = tl.load(bounds + tl.program_id(0))
    length = tl.load(bounds + tl.program_id(0) + 1) - start
    if length > 0:
        q, k = _part(x, start, length, 0, WIDTH, SIZE), _part(x, start, length, 1, WIDTH, SIZE)
        v = _part(x, start, length, 2, WIDTH, SIZE)
        weights = _probabilities(q, k, scale, length, SIZE)
        if DROPS:
            weights *= _kept(seeds, place, each, rate, SIZE)
        at_y, there = _places(start, length, 0, 1, WIDTH, SIZE)
        tl.store(y + at_y, tl.dot(weights.to(v.dtype), v).to(v.dtype), there)


@triton.jit(do_not_specialize=["place"])
def _backward(
    x,
    dy,
    dx,
    sums,
    bounds,
    seeds,
    place,
    each,
    rate,
    scale,
    SUMS: tl.constexpr,
    WIDTH: tl.constexpr,
    SIZE: tl.constexpr,
    DROPS: tl.constexpr,
):
    start = tl.load(bounds + tl.program_id(0))
    length = tl.load(bounds + tl.program_id(0) + 1) - start
    if length > 0:
        q, k = _part(x, start, length, 0, WIDTH, SIZE), _part(x, start, length, 1, WIDTH, SIZE)
        v = _part(x, start, length, 2, WIDTH, SIZE)
        at_y, there = _places(start, length, 0, 1, WIDTH, SIZE)
        g = tl.load(dy + at_y, there, 0.0)
        weights = _probabilities(q, k, scale, length, SIZE)
        dweights = tl.dot(g, tl.trans(v))
        dropped = weights
        if DROPS:
            kept = _kept(seeds, place, each, rate, SIZE)
            dweights *= kept
            dropped = weights * kept
        dscores = weights * (dweights - tl.sum(dweights * weights, 1)[:, None]) * scale
        dscores = dscores.to(q.dtype)
        dq, dk = tl.dot(dscores, k), tl.dot(tl.trans(dscores), q)
        dv = tl.dot(tl.trans(dropped.to(g.dtype)), g)
        _store_part(dx, dq, start, length, 0, WIDTH, SIZE)
        _store_part(dx, dk, start, length, 1, WIDTH, SIZE)
        _store_part(dx, dv, start, length, 2, WIDTH, SIZE)
        if SUMS:
            _store_sums(sums, tl.sum(dq, 0), tl.sum(dk, 0), tl.sum(dv, 0), WIDTH)
    elif SUMS:
        nothing = tl.zeros([WIDTH], tl.float32)
        _store_sums(sums, nothing, nothing, nothing, WIDTH)


@triton.jit
def _store_sums(sums, dq, dk, dv, WIDTH: tl.constexpr):
    """Store what one head of a text gives to the biases of queries, keys and values."""
    head, heads = tl.program_id(1), tl.num_programs(1)
    at = sums + (tl.program_id(0) * 3 * heads + head) * WIDTH + tl.arange(0, WIDTH)
    tl.store(at, dq)
    tl.store(at + heads * WIDTH, dk)
    tl.store(at + 2 * heads * WIDTH, dv)
