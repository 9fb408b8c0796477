"""Scaled dot-product attention over sections, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ftclf.fused.sections import Section, raised

VECTOR = 16  # keys: a softmax over fewer falls back to scalar code, ten times as slow


@dataclass
class Attention:
    """What the backward pass of one section's attention needs.

    Queries, keys and values are (rows, heads, length, size), keys and values padded to `VECTOR` where they are few.

    The weights are there without a fused kernel; the output and the logarithms of the sums with one.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    weights: Tensor | None = None
    used: Tensor | None = None
    mask: Tensor | None = None
    out: Tensor | None = None
    logsumexp: Tensor | None = None


def attend(qkv: Tensor, heads: int, section: Section, *, cut: int, fused_kernel: bool) -> tuple[Tensor, Attention]:
    """Return the context of a section, shape (tokens, width), from its queries, keys and values side by side.

    cut is the dropout rate of the attention weights in 1/256.
    """
    rows, length = section.rows, section.length
    q, k, v = qkv.view(rows, length, 3, heads, -1).permute(2, 0, 3, 1, 4).contiguous().unbind()
    if fused_kernel and not cut:
        mask = None if section.mask is None else section.mask.to(q.dtype)
        out, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default(q, k, v, attn_mask=mask)
        return _side_by_side(out), Attention(q, k, v, out=out, logsumexp=logsumexp)
    mask = section.mask
    if length < VECTOR:
        k, v = functional.pad(k, (0, 0, 0, VECTOR - length)), functional.pad(v, (0, 0, 0, VECTOR - length))
        mask = torch.zeros(rows, 1, 1, length) if mask is None else mask
        mask = functional.pad(mask, (0, VECTOR - length), value=torch.finfo(mask.dtype).min)
    scores = torch.bmm(q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)).view(rows, heads, length, -1)
    scale = q.shape[-1] ** -0.5
    wide = scores.float().mul_(scale) if mask is None else torch.add(mask, scores, alpha=scale)
    weights = torch.softmax(wide, -1)
    used, drawn = weights.to(q.dtype), None
    if cut:
        drawn = section.draw(used, cut).mul_(raised(cut))
        used = used * drawn
    context = torch.bmm(used.flatten(0, 1), v.flatten(0, 1)).view(q.shape)
    return _side_by_side(context), Attention(q, k, v, weights, used, drawn)


def attend_backward(g: Tensor, section: Section, kept: Attention) -> Tensor:
    """Return the gradient of queries, keys and values side by side, shape (tokens, 3 * width)."""
    rows, heads, length, size = kept.q.shape
    g = g.view(rows, length, heads, size).transpose(1, 2).contiguous()
    if kept.weights is None or kept.used is None:
        mask = None if section.mask is None else section.mask.to(g.dtype)
        grads = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default(
            g, kept.q, kept.k, kept.v, kept.out, kept.logsumexp, 0.0, False, attn_mask=mask
        )
        return _all_side_by_side(torch.stack(grads))
    q, k, v, g = (x.flatten(0, 1) for x in (kept.q, kept.k, kept.v, g))
    padded = k.shape[1]
    found = torch.empty(3, rows, heads, padded, size, dtype=q.dtype)
    dq, dk, dv = (x.flatten(0, 1) for x in found.unbind())
    if padded > length:
        dq = torch.empty_like(q)
    torch.bmm(kept.used.flatten(0, 1).transpose(1, 2), g, out=dv)
    dused = torch.bmm(g, v.transpose(1, 2)).view(kept.used.shape)
    if kept.mask is not None:
        dused = dused.mul_(kept.mask)
    weights = kept.weights
    dscores = torch._softmax_backward_data(dused.to(weights.dtype), weights, -1, weights.dtype)
    small = dscores.mul_(size**-0.5).to(q.dtype).flatten(0, 1)
    torch.bmm(small, k, out=dq)
    torch.bmm(small.transpose(1, 2), q, out=dk)
    if padded > length:
        found[0, :, :, :length] = dq.view(rows, heads, length, size)
    return _all_side_by_side(found[:, :, :, :length])


def _side_by_side(x: Tensor) -> Tensor:
    """From (rows, heads, length, size) to (tokens, width)."""
    rows, heads, length, size = x.shape
    return x.transpose(1, 2).reshape(rows * length, heads * size)


def _all_side_by_side(x: Tensor) -> Tensor:
    """From (3, rows, heads, length, size) to (tokens, 3 * width)."""
    three, rows, heads, length, size = x.shape
    return x.permute(1, 3, 0, 2, 4).reshape(rows * length, three * heads * size)
