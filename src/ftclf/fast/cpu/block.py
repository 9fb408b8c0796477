"""One encoder block: attention and feed-forward, each added to its input and normalised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ftclf.fast.cpu.attention import Attention, attend, attend_backward
from ftclf.fast.cpu.linear import Gradients, Product, Saved
from ftclf.fast.cpu.sections import Section, masked_, raised


class Norm(NamedTuple):
    """What the backward pass of dropout, sum and layer norm needs."""

    summed: Tensor
    mean: Tensor
    deviation: Tensor
    mask: Tensor | None
    factor: float  # of what the mask keeps


@dataclass
class Activations:
    """What the backward pass of one share of a block needs; products in the order of `Block.products`."""

    products: list[Saved]
    attention: Attention
    first: Norm
    before_gelu: Tensor
    second: Norm


@dataclass
class Block:
    """A block's layers. `cuts` are dropout rates in 1/256: of attention weights, after attention and feed-forward.

    With queries of its own a block gives the first token of each text and no other: it is all that a classifier reads
    of the last one.
    """

    query: Product | None  # None: the next has it too
    qkv: Product
    out: Product
    first_norm: Any
    up: Product
    down: Product
    second_norm: Any
    heads: int
    cuts: tuple[int, int, int]
    fused_kernel: bool

    @property
    def products(self) -> list[Product]:
        return [*([self.query] if self.query else []), self.qkv, self.out, self.up, self.down]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters of the block."""
        norms = [self.first_norm.weight, self.first_norm.bias, self.second_norm.weight, self.second_norm.bias]
        return [*norms, *(parameter for product in self.products for parameter in product.parameters)]

    def forward(self, x: Tensor, section: Section, dtype: torch.dtype, *, training: bool) -> tuple[Tensor, Activations]:
        """Return the block's output, shape (tokens, width). Sums and norms are in x's type, products in dtype."""
        cuts = self.cuts if training else (0, 0, 0)
        qkv, saved_qkv = self.qkv.forward(x.to(dtype), section, training=training)
        states, products, leaving = [qkv[section.tokens]], [saved_qkv], section
        if self.query:
            leaving = section.firsts
            x = leaving.filled(_firsts(x, section))
            query, saved_query = self.query.forward(x.to(dtype), leaving, training=training)
            states.insert(0, query[leaving.tokens])
            products.insert(0, saved_query)
        context, attention = attend(states, self.heads, section, cut=cuts[0], fused_kernel=self.fused_kernel)
        attended, saved_out = self.out.forward(leaving.filled(context), leaving, training=training)
        x, first = _add_and_norm(x, attended, self.first_norm, cuts[1], leaving)
        before_gelu, saved_up = self.up.forward(x.to(dtype), leaving, training=training)
        fed, saved_down = self.down.forward(functional.gelu(before_gelu), leaving, training=training)
        x, second = _add_and_norm(x, fed, self.second_norm, cuts[2], leaving)
        products += [saved_out, saved_up, saved_down]
        return x, Activations(products, attention, first, before_gelu, second)

    def backward(
        self, g: Tensor, saved: Activations, section: Section, *, wants_input: bool
    ) -> tuple[Tensor | None, Gradients]:
        """Return the gradient of x, or None, and those of the norms; the products keep what theirs need."""
        dtype = saved.before_gelu.dtype
        *saved_queries, saved_qkv, saved_out, saved_up, saved_down = saved.products
        g, branch, second_norm = _norm_backward(g, saved.second, self.second_norm, dtype)
        dgelu = self.down.backward(branch, saved_down, wants_input=True)
        dup = torch.ops.aten.gelu_backward.default(dgelu, saved.before_gelu)
        dx = self.up.backward(dup, saved_up, wants_input=True)
        assert dx is not None
        g, branch, first_norm = _norm_backward(g.add_(dx), saved.first, self.first_norm, dtype)
        dcontext = self.out.backward(branch, saved_out, wants_input=True)
        assert dcontext is not None
        leaving = section.firsts if self.query else section
        *dqueries, dqkv = attend_backward(dcontext[leaving.tokens], section, saved.attention)
        dx = self.qkv.backward(section.filled(dqkv), saved_qkv, wants_input=wants_input)
        grads = first_norm | second_norm
        if not self.query:
            return None if dx is None else g.add_(dx), grads
        dfirst = self.query.backward(leaving.filled(*dqueries), *saved_queries, wants_input=wants_input)
        if dx is None or dfirst is None:
            return None, grads
        g, dx = g.add_(dfirst), dx.to(g.dtype)
        _firsts(dx, section).add_(g[leaving.tokens])
        return dx, grads


def _firsts(x: Tensor, section: Section) -> Tensor:
    """Return the first token of each of a section's texts, (rows, width), as a view."""
    return x[section.tokens].view(section.rows, section.length, -1)[:, 0]


def _add_and_norm(x: Tensor, y: Tensor, norm: Any, cut: int, section: Section) -> tuple[Tensor, Norm]:
    """Return norm(x + dropout(y)) in x's type; y does not stay what it was."""
    mask = section.draw(y, cut) if cut else None
    factor = raised(cut)
    summed = torch.add(x, y if mask is None else masked_(y, mask), alpha=factor)
    out, mean, deviation = torch.native_layer_norm(summed, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return out, Norm(summed, mean, deviation, mask, factor)


def _norm_backward(g: Tensor, saved: Norm, norm: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor, Gradients]:
    """Return the gradients of x, of y in dtype, and of the norm's weight and bias."""
    wants = [True, norm.weight.requires_grad, norm.bias.requires_grad]
    dsum, dweight, dbias = torch.ops.aten.native_layer_norm_backward.default(
        g, saved.summed, norm.normalized_shape, saved.mean, saved.deviation, norm.weight, norm.bias, wants
    )
    dy = dsum.to(dtype, copy=True)
    if saved.mask is not None:
        masked_(dy, saved.mask).mul_(saved.factor)
    grads = {p: found for p, found in ((norm.weight, dweight), (norm.bias, dbias)) if p.requires_grad}
    return dsum, dy, grads
