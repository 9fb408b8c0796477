"""Kernels that go through all tensors of an optimizer at once, by their addresses."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


def sums_of_squares(table: Any, layout: Any, low: torch.dtype) -> Tensor:
    """Return the sum of the squares of each program's gradients; `low` is the type of those that have a copy."""
    sums = torch.empty(layout.programs, device=table.there.device)
    _squares[(layout.programs,)](
        table.there,
        layout.tensors,
        layout.pieces,
        layout.span,
        sums,
        ALIGNED=table.aligned,
        LOW=_type(low),
        CHUNK=layout.CHUNK,
        COLUMNS=table.COLUMNS,
        num_warps=8,
    )
    return sums


def step(
    table: Any,
    layout: Any,
    low: torch.dtype,
    rates: Tensor,
    decays: Tensor,
    betas: Tensor,
    powers: Tensor,
    norms: Tensor,
    limit: float,
    epsilon: float,
) -> None:
    """Make a step of AdamW (Loshchilov and Hutter 2019), with gradients divided by what their norm exceeds `limit` by.

    `rates` and `decays` are those of the groups, `norms` and `powers` those of the trainings: of all gradients, and the
    betas to the power of the step's number, (trainings, 2). Copies of the weights are written in the type `low`.
    """
    _step[(layout.programs,)](
        *(table.there, layout.tensors, layout.pieces, layout.span, rates, decays, betas, powers, norms, limit, epsilon),
        ALIGNED=table.aligned,
        LOW=_type(low),
        CHUNK=layout.CHUNK,
        COLUMNS=table.COLUMNS,
        num_warps=8,
    )


def _type(dtype: torch.dtype) -> Any:
    """Return triton's name of a type."""
    return getattr(tl, str(dtype).removeprefix("torch."))


@triton.jit
def _tensor(row, which: tl.constexpr, TYPE: tl.constexpr, ALIGNED: tl.constexpr):
    """Return the address of a tensor that a row of the table names."""
    found = tl.load(row + which).to(tl.pointer_type(TYPE))
    if ALIGNED:
        found = tl.multiple_of(found, 16)
    return found


@triton.jit
def _within_copy(row, at):
    """Return where elements lie in a copy and its gradient, whose rows may be apart."""
    width, pitch = tl.load(row + 8).to(tl.int32), tl.load(row + 9).to(tl.int32)
    return at // width * pitch + at % width


@triton.jit
def _load(address, at, there, MASKED: tl.constexpr):
    """Return elements in float32. What is loaded without a mask is loaded wide."""
    if MASKED:
        found = tl.load(address + at, there, 0.0)
    else:
        found = tl.load(address + at)
    return found.to(tl.float32)


@triton.jit
def _store(address, at, x, there, MASKED: tl.constexpr):
    x = x.to(address.dtype.element_ty)
    if MASKED:
        tl.store(address + at, x, there)
    else:
        tl.store(address + at, x)


@triton.jit
def _piece(pieces, span, size):
    """Return where this program's elements of its tensor begin and end."""
    start = tl.load(pieces + tl.program_id(0)) * span
    return start, tl.minimum(start + span, size)


@triton.jit
def _squares(
    table,
    tensors,
    pieces,
    span,
    sums,
    ALIGNED: tl.constexpr,
    LOW: tl.constexpr,
    CHUNK: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = table + tl.load(tensors + tl.program_id(0)) * COLUMNS
    start, end = _piece(pieces, span, tl.load(row + 5).to(tl.int32))
    low, in_rows = tl.load(row + 4) != 0, tl.load(row + 8) != tl.load(row + 9)
    found = tl.zeros([CHUNK], tl.float32)
    if tl.load(row + 1) != 0:
        while start < end:
            at = start + tl.arange(0, CHUNK)
            g = tl.zeros([CHUNK], tl.float32)
            if low:
                if in_rows | (start + CHUNK > end):
                    g = _load(_tensor(row, 1, LOW, ALIGNED), _within_copy(row, at), at < end, True)
                else:
                    g = _load(_tensor(row, 1, LOW, ALIGNED), at, at < end, False)
            else:
                if start + CHUNK > end:
                    g = _load(_tensor(row, 1, tl.float32, ALIGNED), at, at < end, True)
                else:
                    g = _load(_tensor(row, 1, tl.float32, ALIGNED), at, at < end, False)
            found += g * g
            start += CHUNK
    tl.store(sums + tl.program_id(0), tl.sum(found, 0))


@triton.jit
def _update(
    row, at, there, numbers, TYPE: tl.constexpr, COPIED: tl.constexpr, MASKED: tl.constexpr, ALIGNED: tl.constexpr
):
    """Make the step of one chunk, whose gradient is of a type, and whose copy is if it has one."""
    factor, rate, decay, rest1, rest2, first, second, epsilon = numbers
    weight, mean = _tensor(row, 0, tl.float32, ALIGNED), _tensor(row, 2, tl.float32, ALIGNED)
    square = _tensor(row, 3, tl.float32, ALIGNED)
    low_at = at
    if COPIED and MASKED:
        low_at = _within_copy(row, at)
    g = _load(_tensor(row, 1, TYPE, ALIGNED), low_at, there, MASKED) * factor
    w, m, v = _load(weight, at, there, MASKED), _load(mean, at, there, MASKED), _load(square, at, there, MASKED)
    m += rest1 * (g - m)
    v += rest2 * (g * g - v)
    w = w * (1 - rate * decay) - rate / first * m / (tl.sqrt(v) / tl.sqrt(second) + epsilon)
    _store(weight, at, w, there, MASKED)
    _store(mean, at, m, there, MASKED)
    _store(square, at, v, there, MASKED)
    if COPIED:
        _store(_tensor(row, 4, TYPE, ALIGNED), low_at, w, there, MASKED)


@triton.jit
def _step(
    table,
    tensors,
    pieces,
    span,
    rates,
    decays,
    betas,
    powers,
    norms,
    limit,
    epsilon,
    ALIGNED: tl.constexpr,
    LOW: tl.constexpr,
    CHUNK: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = table + tl.load(tensors + tl.program_id(0)) * COLUMNS
    start, end = _piece(pieces, span, tl.load(row + 5).to(tl.int32))
    low, in_rows = tl.load(row + 4) != 0, tl.load(row + 8) != tl.load(row + 9)
    if tl.load(row + 1) != 0:
        group, training = tl.load(row + 6), tl.load(row + 7)
        factor, mine = 1 / tl.maximum((tl.load(norms + training) + 1e-6) / limit, 1.0), powers + 2 * training
        rest1, rest2 = (1 - tl.load(betas)).to(tl.float32), (1 - tl.load(betas + 1)).to(tl.float32)
        first, second = (1 - tl.load(mine)).to(tl.float32), (1 - tl.load(mine + 1)).to(tl.float32)
        rate, decay = tl.load(rates + group), tl.load(decays + group)
        numbers = (factor, rate, decay, rest1, rest2, first, second, epsilon)
        while start < end:
            at = start + tl.arange(0, CHUNK)
            if low:
                if in_rows | (start + CHUNK > end):
                    _update(row, at, at < end, numbers, LOW, True, True, ALIGNED)
                else:
                    _update(row, at, at < end, numbers, LOW, True, False, ALIGNED)
            else:
                if start + CHUNK > end:
                    _update(row, at, at < end, numbers, tl.float32, False, True, ALIGNED)
                else:
                    _update(row, at, at < end, numbers, tl.float32, False, False, ALIGNED)
            start += CHUNK
