"""Scaled dot-product attention over sections, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ftclf.fused.sections import Section, masked, raised

LEAST = 16  # keys; fewer fall out of the vector code of softmax, ten times as slow
LENGTHS, ROWS = 8, 4  # lengths are padded to multiples of the one, numbers of rows to multiples of the other
LONG = 96  # tokens; where texts are as long as this, no rows are added


@dataclass
class Attention:
    """What the backward pass of one section's attention needs.

    Queries, keys and values are (rows, heads, length, size), padded but for a fused kernel.

    The weights are there without a fused kernel; the output and the logarithms of the sums with one.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    weights: Tensor | None = None
    used: Tensor | None = None
    mask: Tensor | None = None
    factor: float = 1.0  # of what the mask keeps
    out: Tensor | None = None
    logsumexp: Tensor | None = None


def attend(qkv: Tensor, heads: int, section: Section, *, cut: int, fused_kernel: bool) -> tuple[Tensor, Attention]:
    """Return the context of a section, shape (tokens, width), from its queries, keys and values side by side.

    cut is the dropout rate of the attention weights in 1/256.
    """
    rows, length = section.rows, section.length
    apart = qkv.view(rows, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
    if fused_kernel and not cut:
        q, k, v = apart.contiguous().unbind()
        mask = None if section.mask is None else section.mask.to(q.dtype)
        out, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default(q, k, v, attn_mask=mask)
        return _side_by_side(out), Attention(q, k, v, out=out, logsumexp=logsumexp)
    q, k, v = _padded(apart).unbind()
    mask = _padded_mask(section, q.shape)
    scores = torch.bmm(q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)).view(*q.shape[:3], -1)
    scale = q.shape[-1] ** -0.5
    wide = scores.float().mul_(scale) if mask is None else torch.add(mask, scores, alpha=scale)
    weights = torch.softmax(wide, -1)
    used, drawn = weights.to(q.dtype), None
    if cut:
        drawn = section.draw(used, cut)
        used = masked(used, drawn).mul_(raised(cut))
    context = torch.bmm(used.flatten(0, 1), v.flatten(0, 1)).view(q.shape)
    return _side_by_side(context[:rows, :, :length]), Attention(q, k, v, weights, used, drawn, raised(cut))


def attend_backward(g: Tensor, section: Section, kept: Attention) -> Tensor:
    """Return the gradient of queries, keys and values side by side, shape (tokens, 3 * width)."""
    rows, length, heads, size = section.rows, section.length, kept.q.shape[1], kept.q.shape[3]
    apart = g.view(rows, length, heads, size).transpose(1, 2)
    if kept.weights is None or kept.used is None:
        mask = None if section.mask is None else section.mask.to(g.dtype)
        grads = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default(
            apart.contiguous(), kept.q, kept.k, kept.v, kept.out, kept.logsumexp, 0.0, False, attn_mask=mask
        )
        return _all_side_by_side(torch.stack(grads))
    q, k, v, g = (x.flatten(0, 1) for x in (kept.q, kept.k, kept.v, _padded(apart)))
    found = torch.empty(3, *kept.q.shape, dtype=q.dtype)
    dq, dk, dv = (x.flatten(0, 1) for x in found.unbind())
    torch.bmm(kept.used.flatten(0, 1).transpose(1, 2), g, out=dv)
    dused = torch.bmm(g, v.transpose(1, 2)).view(kept.used.shape)
    if kept.mask is not None:
        dused = masked(dused, kept.mask).mul_(kept.factor)
    weights = kept.weights
    dscores = torch._softmax_backward_data(dused.to(weights.dtype), weights, -1, weights.dtype)
    small = dscores.mul_(size**-0.5).to(q.dtype).flatten(0, 1)
    torch.bmm(small, k, out=dq)
    torch.bmm(small.transpose(1, 2), q, out=dk)
    return _all_side_by_side(found[:, :rows, :, :length])


def _padded(x: Tensor) -> Tensor:
    """Return a copy of (..., rows, heads, length, size) with zeros up to fewer different shapes.

    Every shape costs the memory and the making of kernels of its own; a pass meets a hundred, padded some twenty. Long
    texts come in few rows, of which none is added.
    """
    *first, rows, heads, length, size = x.shape
    rows_there = -(-rows // ROWS) * ROWS if length < LONG else rows
    shape = (*first, rows_there, heads, max(LEAST, -(-length // LENGTHS) * LENGTHS), size)
    if shape == tuple(x.shape):
        return x.contiguous()
    room = x.new_zeros(shape)
    room[..., :rows, :, :length, :] = x
    return room


def _padded_mask(section: Section, shape: torch.Size) -> Tensor | None:
    """Return what is added to the scores of padded queries and keys; a padded row sees zeros."""
    (rows, _, length, _), mask = shape, section.mask
    if mask is None and length == section.length:
        return None
    room = torch.zeros(rows, 1, 1, length)
    if mask is not None:
        room[: section.rows, :, :, : section.length] = mask
    room[: section.rows, :, :, section.length :] = torch.finfo(room.dtype).min
    return room


def _side_by_side(x: Tensor) -> Tensor:
    """From (rows, heads, length, size) to (tokens, width)."""
    rows, heads, length, size = x.shape
    return x.transpose(1, 2).reshape(rows * length, heads * size)


def _all_side_by_side(x: Tensor) -> Tensor:
    """From (3, rows, heads, length, size) to (tokens, 3 * width)."""
    three, rows, heads, length, size = x.shape
    return x.permute(1, 3, 0, 2, 4).reshape(rows * length, three * heads * size)
