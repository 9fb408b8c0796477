"""Kernels that go through all tensors of an optimizer at once, by their addresses."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

TYPES = {torch.bfloat16: tl.bfloat16, torch.float32: tl.float32}


def sum_of_squares(table: Any, layout: Any, low: torch.dtype) -> Tensor:
    """Return the sum of the squares of all gradients, in float32; `low` is the type of those that have a copy."""
    sums = torch.empty(layout.programs, device=table.there.device)
    _squares[(layout.programs,)](
        table.there, layout.tensors, layout.chunks, sums, ALIGNED=table.aligned, LOW=TYPES[low], CHUNK=layout.CHUNK
    )
    return sums.sum()


def step(
    table: Any,
    layout: Any,
    low: torch.dtype,
    rates: Tensor,
    decays: Tensor,
    betas: Tensor,
    powers: Tensor,
    norm: Tensor,
    limit: float,
    epsilon: float,
) -> None:
    """Make a step of AdamW (Loshchilov and Hutter 2019), with gradients divided by what their norm exceeds `limit` by.

    `rates` and `decays` are those of the groups, `powers` the betas to the power of the step's number. Copies of the
    weights are written in the type `low`.
    """
    _step[(layout.programs,)](
        *(table.there, layout.tensors, layout.chunks, rates, decays, betas, powers, norm, limit, epsilon),
        ALIGNED=table.aligned,
        LOW=TYPES[low],
        CHUNK=layout.CHUNK,
        num_warps=8,
    )


@triton.jit
def _tensor(row, which: tl.constexpr, TYPE: tl.constexpr, ALIGNED: tl.constexpr):
    """Return the address of a tensor that a row of the table names."""
    found = tl.load(row + which).to(tl.pointer_type(TYPE))
    if ALIGNED:
        found = tl.multiple_of(found, 16)
    return found


@triton.jit
def _squares_of(gradient, at, there, MASKED: tl.constexpr):
    if MASKED:
        g = tl.load(gradient + at, there, 0.0).to(tl.float32)
    else:
        g = tl.load(gradient + at).to(tl.float32)
    return tl.sum(g * g, 0)


@triton.jit
def _squares(table, tensors, chunks, sums, ALIGNED: tl.constexpr, LOW: tl.constexpr, CHUNK: tl.constexpr):
    program = tl.program_id(0)
    row = table + tl.load(tensors + program) * 7
    start = tl.load(chunks + program).to(tl.int64) * CHUNK
    at, size = start + tl.arange(0, CHUNK), tl.load(row + 5)
    found = 0.0
    if tl.load(row + 1) != 0:
        whole = start + CHUNK <= size  # loads without a mask are wide
        if tl.load(row + 4) != 0:
            low = _tensor(row, 1, LOW, ALIGNED)
            if whole:
                found = _squares_of(low, at, at < size, False)
            else:
                found = _squares_of(low, at, at < size, True)
        else:
            wide = _tensor(row, 1, tl.float32, ALIGNED)
            if whole:
                found = _squares_of(wide, at, at < size, False)
            else:
                found = _squares_of(wide, at, at < size, True)
    tl.store(sums + program, found)


@triton.jit
def _update(
    row,
    at,
    there,
    factor,
    rate,
    decay,
    rest1,
    rest2,
    first,
    second,
    epsilon,
    TYPE: tl.constexpr,
    HAS_COPY: tl.constexpr,
    MASKED: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """Make the step of one chunk, whose gradient is of a type, and whose copy is if it has one."""
    weight = _tensor(row, 0, tl.float32, ALIGNED) + at
    gradient = _tensor(row, 1, TYPE, ALIGNED) + at
    mean = _tensor(row, 2, tl.float32, ALIGNED) + at
    square = _tensor(row, 3, tl.float32, ALIGNED) + at
    if MASKED:
        g, w = tl.load(gradient, there, 0.0).to(tl.float32), tl.load(weight, there, 0.0)
        m, v = tl.load(mean, there, 0.0), tl.load(square, there, 0.0)
    else:
        g, w = tl.load(gradient).to(tl.float32), tl.load(weight)
        m, v = tl.load(mean), tl.load(square)
    g *= factor
    m += rest1 * (g - m)
    v += rest2 * (g * g - v)
    w = w * (1 - rate * decay) - rate / first * m / (tl.sqrt(v) / tl.sqrt(second) + epsilon)
    if MASKED:
        tl.store(weight, w, there)
        tl.store(mean, m, there)
        tl.store(square, v, there)
        if HAS_COPY:
            tl.store(_tensor(row, 4, TYPE, ALIGNED) + at, w.to(TYPE), there)
    else:
        tl.store(weight, w)
        tl.store(mean, m)
        tl.store(square, v)
        if HAS_COPY:
            tl.store(_tensor(row, 4, TYPE, ALIGNED) + at, w.to(TYPE))


@triton.jit
def _step(
    table,
    tensors,
    chunks,
    rates,
    decays,
    betas,
    powers,
    norm,
    limit,
    epsilon,
    ALIGNED: tl.constexpr,
    LOW: tl.constexpr,
    CHUNK: tl.constexpr,
):
    program = tl.program_id(0)
    row = table + tl.load(tensors + program) * 7
    start = tl.load(chunks + program).to(tl.int64) * CHUNK
    at, size, group = start + tl.arange(0, CHUNK), tl.load(row + 5), tl.load(row + 6)
    if tl.load(row + 1) != 0:
        factor = 1 / tl.maximum((tl.load(norm) + 1e-6) / limit, 1.0)
        rate, decay = tl.load(rates + group), tl.load(decays + group)
        rest1, rest2 = (1 - tl.load(betas)).to(tl.float32), (1 - tl.load(betas + 1)).to(tl.float32)
        first, second = (1 - tl.load(powers)).to(tl.float32), (1 - tl.load(powers + 1)).to(tl.float32)
        there, whole = at < size, start + CHUNK <= size  # what is loaded without a mask is loaded wide
        if tl.load(row + 4) != 0:
            if whole:
                _update(
                    row, at, there, factor, rate, decay, rest1, rest2, first, second, epsilon, LOW, True, False, ALIGNED
                )
            else:
                _update(
                    row, at, there, factor, rate, decay, rest1, rest2, first, second, epsilon, LOW, True, True, ALIGNED
                )
        else:
            if whole:
                _update(
                    row,
                    at,
                    there,
                    factor,
                    rate,
                    decay,
                    rest1,
                    rest2,
                    first,
                    second,
                    epsilon,
                    tl.float32,
                    False,
                    False,
                    ALIGNED,
                )
            else:
                _update(
                    row,
                    at,
                    there,
                    factor,
                    rate,
                    decay,
                    rest1,
                    rest2,
                    first,
                    second,
                    epsilon,
                    tl.float32,
                    False,
                    True,
                    ALIGNED,
                )
