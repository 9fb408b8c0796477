"""Scaled dot-product attention over sections, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ftclf.fast.cpu.sections import Section, masked_, raised

LEAST = 16  # keys; fewer fall out of the vector code of softmax, ten times as slow
LENGTHS, ROWS = 8, 4  # lengths are padded to multiples of the one, numbers of rows to multiples of the other
LONG = 96  # tokens; where texts are as long as this, no rows are added


@dataclass
class Attention:
    """What the backward pass of one section's attention needs.

    Queries, keys and values are (rows * heads, length, size), padded, or (rows, heads, length, size) with a fused
    kernel. Their `parts` say how many of the three came side by side.

    The weights are there without a fused kernel; the output and the logarithms of the sums with one.
    """

    parts: tuple[int, ...]
    q: Tensor
    k: Tensor
    v: Tensor
    weights: Tensor | None = None
    used: Tensor | None = None
    mask: Tensor | None = None
    factor: float = 1.0  # of what the mask keeps
    out: Tensor | None = None
    logsumexp: Tensor | None = None


def attend(
    states: Sequence[Tensor], heads: int, section: Section, *, cut: int, fused_kernel: bool
) -> tuple[Tensor, Attention]:
    """Return the context of a section, shape (queries, width).

    `states` are queries, keys and values side by side, or the queries of the first token of each text, and the keys and
    values of all tokens. cut is the dropout rate of the attention weights in 1/256.
    """
    rows = section.rows
    parts = (3,) if len(states) == 1 else (1, 2)
    apart = [x.view(rows, -1, n, heads, x.shape[1] // n // heads) for x, n in zip(states, parts, strict=True)]
    apart = [x.permute(2, 0, 3, 1, 4) for x in apart]
    queries = apart[0].shape[3]
    if fused_kernel and not cut:
        q, k, v = (x for one in apart for x in one.contiguous().unbind())
        mask = None if section.mask is None else section.mask.to(q.dtype)
        out, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default(q, k, v, attn_mask=mask)
        return _side_by_side(out), Attention(parts, q, k, v, out=out, logsumexp=logsumexp)
    q, k, v = (x for one in apart for x in _padded(one, section.length).flatten(1, 2).unbind())
    mask = _padded_mask(section, k.shape[0] // heads, k.shape[1])
    scores, scale = _product(q, k.transpose(1, 2)), q.shape[-1] ** -0.5
    if mask is None:
        wide = scores.float().mul_(scale)
    else:
        wide = torch.add(mask, scores.view(-1, heads, *scores.shape[1:]), alpha=scale).view(scores.shape)
    weights = torch.softmax(wide, -1)
    used, drawn = weights.to(q.dtype, copy=cut > 0), None
    if cut:
        drawn = section.draw(used, cut)
        masked_(used, drawn).mul_(raised(cut))
    context = _product(used, v).view(-1, heads, *q.shape[1:])
    context = _side_by_side(context[:rows, :, :queries])
    return context, Attention(parts, q, k, v, weights, used, drawn, raised(cut))


def attend_backward(g: Tensor, section: Section, kept: Attention) -> list[Tensor]:
    """Return the gradients of what `attend` was given, from that of the context."""
    rows, size = section.rows, kept.q.shape[-1]
    heads = g.shape[1] // size
    apart = g.view(rows, -1, heads, size).transpose(1, 2)
    if kept.weights is None or kept.used is None:
        mask = None if section.mask is None else section.mask.to(g.dtype)
        grads = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default(
            apart.contiguous(), kept.q, kept.k, kept.v, kept.out, kept.logsumexp, 0.0, False, attn_mask=mask
        )
        return [_all_side_by_side(torch.stack(list(some))) for some in _by_parts(grads, kept.parts)]
    q, k, v, g = kept.q, kept.k, kept.v, _padded(apart, section.length).flatten(0, 1)
    rooms = [torch.empty(n, *like.shape, dtype=q.dtype) for n, like in zip(kept.parts, (q, k), strict=False)]
    dq, dk, dv = (x for room in rooms for x in room.unbind())
    _product(kept.used.transpose(1, 2), g, out=dv)
    dused = _product(g, v.transpose(1, 2))
    if kept.mask is not None:
        masked_(dused, kept.mask).mul_(kept.factor)
    weights = kept.weights
    dscores = torch._softmax_backward_data(dused.to(weights.dtype), weights, -1, weights.dtype)
    small = dscores.mul_(size**-0.5).to(q.dtype)
    _product(small, k, out=dq)
    _product(small.transpose(1, 2), q, out=dk)
    lengths = (apart.shape[2], section.length)
    apart_again = [room.view(len(room), -1, heads, *room.shape[2:]) for room in rooms]
    return [_all_side_by_side(x[:, :rows, :, :length]) for x, length in zip(apart_again, lengths, strict=False)]


def _product(a: Tensor, b: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Return the matrix products a @ b; those of a single query are sums, which need no kernel for each length."""
    if a.shape[2] == 1:
        return torch.mul(a, b, out=out)
    if a.shape[1] == 1:
        return torch.sum(a.transpose(1, 2) * b, 1, keepdim=True, out=out)
    return torch.bmm(a, b, out=out)


def _by_parts(grads: Sequence[Tensor], parts: tuple[int, ...]) -> list[Sequence[Tensor]]:
    return [grads] if len(parts) == 1 else [grads[:1], grads[1:]]


def _padded(x: Tensor, keys: int) -> Tensor:
    """Return a copy of (..., rows, heads, length, size) with zeros up to fewer different shapes.

    Every shape costs the memory and the making of kernels of its own; a pass meets a hundred, padded some twenty. Long
    texts come in few rows, of which none is added; neither is a token to a query that is the only one for its keys.
    """
    *first, rows, heads, length, size = x.shape
    rows_there, keys_there = with_padding(rows, keys)
    shape = (*first, rows_there, heads, keys_there if length == keys else length, size)
    if shape == tuple(x.shape):
        return x.contiguous()
    room = x.new_zeros(shape)
    room[..., :rows, :, :length, :] = x
    return room


def with_padding(rows: int, keys: int) -> tuple[int, int]:
    """Return the numbers of rows and keys that attention computes for so many."""
    return -(-rows // ROWS) * ROWS if keys < LONG else rows, max(LEAST, -(-keys // LENGTHS) * LENGTHS)


def _padded_mask(section: Section, rows: int, length: int) -> Tensor | None:
    """Return what is added to the scores of so many rows of padded keys; a padded row sees zeros."""
    mask = section.mask
    if mask is None and length == section.length:
        return None
    if section.padded_mask is not None:  # of a block before
        return section.padded_mask
    room = torch.zeros(rows, 1, 1, length)
    if mask is not None:
        room[: section.rows, :, :, : section.length] = mask
    room[: section.rows, :, :, section.length :] = torch.finfo(room.dtype).min
    section.padded_mask = room
    return room


def _side_by_side(x: Tensor) -> Tensor:
    """From (rows, heads, length, size) to (tokens, width)."""
    rows, heads, length, size = x.shape
    return x.transpose(1, 2).reshape(rows * length, heads * size)


def _all_side_by_side(x: Tensor) -> Tensor:
    """From (n, rows, heads, length, size) to (tokens, n * width)."""
    n, rows, heads, length, size = x.shape
    return x.permute(1, 3, 0, 2, 4).reshape(rows * length, n * heads * size)
