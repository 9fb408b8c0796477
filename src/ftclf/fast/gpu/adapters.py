"""The small products of adapters, for a GPU: one kernel each for all layers that read the same, of all trainings.

Factors lie as (trainings, layers, rank, inputs) and (trainings, layers, outputs, rank). Such a product takes a kernel
less time than to begin: so what is dropped, scaled and added around it is done where it is read or written.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ftclf.fast.gpu.dropout import stays
from ftclf.fast.gpu.packed import Draw

FEWEST = 16  # that the matrix unit takes
ROWS = 16  # of tokens that a program has
SUMMED = 1024  # tokens that a program sums the gradients of factors over


def enter(x: Tensor, down: Tensor, draw: Draw, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Return what each adapter reads of x, (rows, inputs), and its product with `down`.

    That is x dropped, by a place of its own for each layer, and scaled: (trainings, layers, each, inputs).
    """
    trainings, layers, rank, width = down.shape
    each = len(x) // trainings
    read, inner = x.new_empty(trainings, layers, each, width), x.new_empty(trainings, layers, each, rank)
    _narrow[(triton.cdiv(each, ROWS), layers, trainings)](
        *(x, x.stride(0), 0, down, width, 1, read, inner, scales, *draw.of(len(x)), rank),
        ENTERS=True,
        DROPS=draw.drops,
        WIDTH=width,
        **_sizes(rank),
    )
    return read, inner


def leave(inner: Tensor, up: Tensor, y: Tensor) -> None:
    """Add the products of `inner`, (trainings, layers, each, rank), with `up` to y, (rows, layers * outputs)."""
    trainings, layers, outputs, rank = up.shape
    each, sizes = inner.shape[2], _sizes(rank)
    grid = triton.cdiv(each, ROWS) * triton.cdiv(outputs, sizes["BLOCK"]), layers, trainings
    _widen[grid](inner, up, y, y.stride(0), each, rank, WIDTH=outputs, **sizes)


def return_to(g: Tensor, up: Tensor) -> Tensor:
    """Return the gradient of `inner` from that of y."""
    trainings, layers, outputs, rank = up.shape
    each = len(g) // trainings
    dinner = g.new_empty(trainings, layers, each, rank)
    _narrow[(triton.cdiv(each, ROWS), layers, trainings)](
        *(g, g.stride(0), outputs, up, 1, rank, g, dinner, g, g, 0, each, 0.0, rank),
        ENTERS=False,
        DROPS=False,
        WIDTH=outputs,
        **_sizes(rank),
    )
    return dinner


def of_input(dinner: Tensor, down: Tensor, draw: Draw, scales: Tensor) -> Tensor:
    """Return the gradient of x, (rows, inputs), from that of `inner`."""
    trainings, layers, rank, width = down.shape
    each, sizes = dinner.shape[2], _sizes(rank)
    dx = dinner.new_empty(trainings * each, width)
    grid = triton.cdiv(each, ROWS), triton.cdiv(width, sizes["BLOCK"]), trainings
    _input_gradient[grid](
        *(dinner, down, dx, scales, *draw.of(len(dx)), rank), LAYERS=layers, DROPS=draw.drops, WIDTH=width, **sizes
    )
    return dx


def of_factors(g: Tensor, read: Tensor, inner: Tensor, dinner: Tensor, outputs: int) -> tuple[Tensor, Tensor]:
    """Return the gradients of `down` and `up`."""
    trainings, layers, each, rank = inner.shape
    width, sizes = read.shape[3], _sizes(rank)
    summed = min(SUMMED, max(64, triton.next_power_of_2(each)))
    parts = triton.cdiv(each, summed)
    kind = g.dtype if parts == 1 else torch.float32
    ddown = torch.empty(parts, trainings, layers, rank, width, dtype=kind, device=g.device)
    dup = torch.empty(parts, trainings, layers, outputs, rank, dtype=kind, device=g.device)
    blocks = triton.cdiv(width, sizes["BLOCK"]) + triton.cdiv(outputs, sizes["BLOCK"])
    _factor_gradients[(blocks, layers * trainings, parts)](
        *(g, g.stride(0), read, inner, dinner, ddown, dup, each, rank, layers),
        INPUTS=width,
        OUTPUTS=outputs,
        SUMMED=summed,
        **{**sizes, "ROWS": 64},
    )
    if parts == 1:
        return ddown[0], dup[0]
    return ddown.sum(0).to(g.dtype), dup.sum(0).to(g.dtype)


def _sizes(rank: int) -> dict[str, Any]:
    size = max(FEWEST, triton.next_power_of_2(rank))
    return {"RANK": size, "ROWS": ROWS, "BLOCK": max(16, min(128, 16384 // size)), "num_warps": 4}


@triton.jit
def _raised(seeds, place, training, rows, at, rate, scale, DROPS: tl.constexpr, WIDTH: tl.constexpr):
    """Return what each element of some rows of a training is multiplied by, where it is dropped and scaled."""
    factor = tl.full([rows.shape[0], at.shape[0]], 1.0, tl.float32)
    if DROPS:
        factor = stays(tl.load(seeds + training) + place, rows[:, None] * WIDTH + at[None, :], rate)
    return factor * scale


@triton.jit(do_not_specialize=["place"])
def _narrow(
    x,
    pitch,
    apart,
    weight,
    rank_step,
    width_step,
    read,
    inner,
    scales,
    seeds,
    place,
    each,
    rate,
    rank,
    ENTERS: tl.constexpr,
    DROPS: tl.constexpr,
    WIDTH: tl.constexpr,
    RANK: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Store the products of rows with a narrow weight: of x, where they enter, or of each layer's columns."""
    layer, training = tl.program_id(1), tl.program_id(2)
    rows, column = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, RANK)
    there, part = rows < each, (training * tl.num_programs(1) + layer).to(tl.int64)
    from_row = (training.to(tl.int64) * each + rows)[:, None] * pitch + layer * apart
    found = tl.zeros([ROWS, RANK], tl.float32)
    for start in range(0, WIDTH, BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = there[:, None] & (at < WIDTH)[None, :]
        y = tl.load(x + from_row + at[None, :], inside, 0.0)
        if ENTERS:
            factor = _raised(seeds, place + layer, training, rows, at, rate, tl.load(scales + training), DROPS, WIDTH)
            y = (y.to(tl.float32) * factor).to(x.dtype.element_ty)
            tl.store(read + (part * each + rows)[:, None] * WIDTH + at[None, :], y, inside)
        places = part * rank * WIDTH + column[None, :] * rank_step + at[:, None] * width_step
        known = (column < rank)[None, :] & (at < WIDTH)[:, None]
        found += tl.dot(y, tl.load(weight + places, known, 0.0))
    places, known = (part * each + rows)[:, None] * rank + column[None, :], there[:, None] & (column < rank)[None, :]
    tl.store(inner + places, found.to(inner.dtype.element_ty), known)


@triton.jit
def _widen(
    inner, up, y, pitch, each, rank, WIDTH: tl.constexpr, RANK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """Add the products of narrow rows with a factor to each layer's columns of y."""
    layer, training = tl.program_id(1), tl.program_id(2)
    blocks: tl.constexpr = (WIDTH + BLOCK - 1) // BLOCK
    rows = tl.program_id(0) // blocks * ROWS + tl.arange(0, ROWS)
    at, column = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK), tl.arange(0, RANK)
    there, part = rows < each, (training * tl.num_programs(1) + layer).to(tl.int64)
    known, inside = (column < rank)[None, :], there[:, None] & (at < WIDTH)[None, :]
    low = tl.load(inner + (part * each + rows)[:, None] * rank + column[None, :], there[:, None] & known, 0.0)
    factor = tl.load(up + (part * WIDTH + at)[:, None] * rank + column[None, :], (at < WIDTH)[:, None] & known, 0.0)
    places = (training.to(tl.int64) * each + rows)[:, None] * pitch + layer * WIDTH + at[None, :]
    found = tl.load(y + places, inside, 0.0).to(tl.float32) + tl.dot(low, tl.trans(factor))
    tl.store(y + places, found.to(y.dtype.element_ty), inside)


@triton.jit(do_not_specialize=["place"])
def _input_gradient(
    dinner,
    down,
    dx,
    scales,
    seeds,
    place,
    each,
    rate,
    rank,
    LAYERS: tl.constexpr,
    DROPS: tl.constexpr,
    WIDTH: tl.constexpr,
    RANK: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    training = tl.program_id(2)
    rows, column = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, RANK)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, inside = rows < each, at < WIDTH
    known, scale = column < rank, tl.load(scales + training)
    found = tl.zeros([ROWS, BLOCK], tl.float32)
    for layer in tl.static_range(LAYERS):
        part = (training * LAYERS + layer).to(tl.int64)
        g = tl.load(dinner + (part * each + rows)[:, None] * rank + column, there[:, None] & known[None, :], 0.0)
        places = (part * rank + column)[:, None] * WIDTH + at[None, :]
        one = tl.dot(g, tl.load(down + places, known[:, None] & inside[None, :], 0.0))
        found += one * _raised(seeds, place + layer, training, rows, at, rate, scale, DROPS, WIDTH)
    places = (training.to(tl.int64) * each + rows)[:, None] * WIDTH + at[None, :]
    tl.store(dx + places, found.to(dx.dtype.element_ty), there[:, None] & inside[None, :])


@triton.jit
def _factor_gradients(
    g,
    pitch,
    read,
    inner,
    dinner,
    ddown,
    dup,
    each,
    rank,
    layers,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    SUMMED: tl.constexpr,
    RANK: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Store sums over rows: of `read` times `dinner` for some of the inputs, or of g times `inner` for some outputs."""
    block, part = tl.program_id(0), tl.program_id(1).to(tl.int64)
    column, known = tl.arange(0, RANK), tl.arange(0, RANK) < rank
    inward: tl.constexpr = (INPUTS + BLOCK - 1) // BLOCK
    first = tl.program_id(2) * SUMMED  # a multiple of ROWS
    to = (tl.program_id(2).to(tl.int64) * tl.num_programs(1) + part) * rank
    found = tl.zeros([BLOCK, RANK], tl.float32)
    if block < inward:
        at = block * BLOCK + tl.arange(0, BLOCK)
        for start in range(0, SUMMED, ROWS):
            there = (first + start + tl.arange(0, ROWS) < each)[:, None]
            rows = part * each + first + start + tl.arange(0, ROWS)
            wide = tl.load(read + rows[:, None] * INPUTS + at[None, :], there & (at < INPUTS)[None, :], 0.0)
            narrow = tl.load(dinner + rows[:, None] * rank + column[None, :], there & known[None, :], 0.0)
            found += tl.dot(tl.trans(wide), narrow)
        places, inside = to * INPUTS + column[None, :] * INPUTS + at[:, None], (at < INPUTS)[:, None] & known[None, :]
        tl.store(ddown + places, found.to(ddown.dtype.element_ty), inside)
    else:
        at = (block - inward) * BLOCK + tl.arange(0, BLOCK)
        training, layer = part // layers, part % layers
        for start in range(0, SUMMED, ROWS):
            rows = first + start + tl.arange(0, ROWS)
            there = (rows < each)[:, None]
            places = (training * each + rows)[:, None] * pitch + layer * OUTPUTS + at[None, :]
            wide = tl.load(g + places, there & (at < OUTPUTS)[None, :], 0.0)
            narrow = tl.load(inner + (part * each + rows)[:, None] * rank + column, there & known[None, :], 0.0)
            found += tl.dot(tl.trans(wide), narrow)
        places, inside = to * OUTPUTS + at[:, None] * rank + column[None, :], (at < OUTPUTS)[:, None] & known[None, :]
        tl.store(dup + places, found.to(dup.dtype.element_ty), inside)
