"""Linear layers of one input as one product, with their adapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ftclf.fast.cpu.adapters import adapters_of
from ftclf.fast.cpu.copies import Packed, Plain, can_pack_weights
from ftclf.fast.cpu.sections import Section, masked, masked_

Gradients = dict[nn.Parameter, Tensor]


class Copy(NamedTuple):
    """What a pass needs of a parameter in its type."""

    target: Tensor
    source: Tensor
    factor: float = 1.0


@dataclass
class Adapted:
    """What the gradients of the adapters need of one section: its masked input and that times `down`."""

    inputs: Tensor
    hidden: Tensor
    mask: Tensor | None


@dataclass
class Saved:
    """What the gradients of a product need of one section: its input and, after `backward`, its output's gradient.

    The gradients of the adapters are small: `backward` has them at once, and nothing of the section is kept for them
    but those of all `down` and of all `up`, each side by side.
    """

    x: Tensor | None
    adapted: Adapted | None = None
    g: Tensor | None = None
    adapters: tuple[Tensor, Tensor] | None = None


class Kept(NamedTuple):
    """The gradient of a product's weights in the type of the pass, (outputs of all layers, inputs), and its norm."""

    gradient: Tensor
    norm: Tensor


class Product:
    """One or several linear layers of the same input, with their adapters.

    Every pass begins with `prepare`, which copies the weights into the type that it computes in. With `keeps_gradient`
    that of the weights is not returned but kept, for whoever takes it and steps them; all of them are trained then.
    """

    def __init__(self, layers: list[nn.Module]) -> None:
        bases: list[Any] = [getattr(layer, "base_layer", layer) for layer in layers]
        self.weights: list[nn.Parameter] = [base.weight for base in bases]
        self.biases: list[nn.Parameter] = [base.bias for base in bases]
        self.inputs = self.weights[0].shape[1]
        self.sizes = [len(weight) for weight in self.weights]
        self.adapters = adapters_of(layers, self.sizes)
        self.trained = any(p.requires_grad for p in (*self.weights, *self.biases))
        self.copy: Plain | Packed = Plain(torch.empty(0), torch.empty(0))
        self.keeps_gradient = False
        self.kept: Kept | None = None
        self._stepped = False  # since the last pass, and copied
        self._dtype: torch.dtype | None = None
        self._copied: list[tuple[int, int]] = []

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters that `gradients` may give."""
        parts = self.adapters.parts if self.adapters else []
        adapters = [parameter for part in parts for parameter in (part.down, part.up)]
        return [*self.weights, *self.biases, *adapters]

    def prepare(self, dtype: torch.dtype, *, training: bool) -> list[Copy]:
        """Return the copies that a pass in this type needs; a frozen layer's are made once."""
        state = self._state()
        todo: list[Copy] = []
        fresh, changed = dtype != self._dtype, state != self._copied
        if fresh:
            self._make_room(dtype)
        if not self.trained and can_pack_weights(dtype):
            if fresh or changed or (training and not self.copy.both):
                self._pack(dtype, both=training)
        elif fresh or changed or (self.trained and not (self._stepped and training)):
            todo += map(Copy, self._copies(), [*self.weights, *self.biases])
        self._dtype, self._copied, self._stepped = dtype, state, False
        if adapters := self.adapters:
            factor = adapters.factor(training=training)
            for part, (down, up) in zip(adapters.parts, adapters.copies, strict=True):
                todo += [Copy(down, part.down), Copy(up, part.up, factor)]
        return todo

    def forward(self, x: Tensor, section: Section, *, training: bool) -> tuple[Tensor, Saved]:
        """Return x @ weights + biases + adapters, shape (tokens, outputs of all layers), in x's type."""
        y, saved = self.copy.forward(x), Saved(x if self.trained else None)
        if adapters := self.adapters:
            inputs, mask = x, None
            if training and adapters.cut:
                mask = section.draw(inputs, adapters.cut)
                inputs = masked(inputs, mask)
            hidden = functional.linear(inputs, adapters.downs)
            adapters.add_to(y, hidden)
            saved.adapted = Adapted(inputs, hidden, mask)
        return y, saved

    def backward(self, g: Tensor, saved: Saved, *, wants_input: bool) -> Tensor | None:
        """Return the gradient of x, or None; keep in `saved` what the gradients of the parameters need."""
        dx = self.copy.backward(g) if wants_input else None
        if (adapters := self.adapters) and (adapted := saved.adapted):
            dhidden, ups = adapters.back(g, adapted.hidden)
            saved.adapters = torch.mm(dhidden.t(), adapted.inputs), ups
            if dx is not None:
                dinputs = dhidden @ adapters.downs
                dx.add_(dinputs if adapted.mask is None else masked_(dinputs, adapted.mask))
        saved.adapted = None
        saved.g = g if self.trained else None
        return dx

    def gradients(self, shares: list[Saved]) -> Gradients:
        """Return the gradients of the trained weights and biases from what `backward` kept of all sections."""
        g, x = _joined([saved.g for saved in shares]), _joined([saved.x for saved in shares])
        whole, grads = g.t() @ x, _typed(self.biases, self._split(g.sum(0)))
        if not self.keeps_gradient:
            return grads | _typed(self.weights, self._split(whole))
        if self.kept:  # the batches of one step
            whole = self.kept.gradient.float().add_(whole)
        self.kept = Kept(whole, torch.linalg.vector_norm(whole, dtype=torch.float32))
        return grads

    def take_gradients(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Return each weight with its gradient in its type, which the product no longer keeps."""
        assert self.kept is not None
        whole, self.kept = self.kept.gradient, None
        return list(zip(self.weights, self._split(whole.to(self.weights[0].dtype)), strict=True))

    def copy_weights(self) -> None:
        """Copy the weights, just stepped, for the next pass of training, which need not do it."""
        for target, source in zip(self._copies(), [*self.weights, *self.biases], strict=True):
            target.copy_(source)
        self._copied, self._stepped = self._state(), True

    def _copies(self) -> list[Tensor]:
        assert isinstance(self.copy, Plain)
        return [*self._split(self.copy.weight), *self._split(self.copy.bias)]

    def _state(self) -> list[tuple[int, int]]:
        return [(one.data_ptr(), one._version) for one in (*self.weights, *self.biases)]

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Cut what belongs to all layers into what belongs to each."""
        return torch.split(x, self.sizes)

    @torch.inference_mode(mode=False)  # a first pass may be an evaluation: training could not write into its tensors
    def _make_room(self, dtype: torch.dtype) -> None:
        total = sum(self.sizes)
        if self.trained or not can_pack_weights(dtype):
            self.copy = Plain(torch.empty(total, self.inputs, dtype=dtype), torch.empty(total, dtype=dtype))
        if self.adapters:
            self.adapters.make_room(self.inputs, total, dtype)

    @torch.inference_mode(mode=False)
    def _pack(self, dtype: torch.dtype, *, both: bool) -> None:
        with torch.no_grad():
            weight, bias = torch.cat([*self.weights]).to(dtype), torch.cat([*self.biases]).to(dtype)
            self.copy = Packed(weight, bias, both=both)


def gradients_of_adapters(products: list[Product], saved: list[list[Saved]], *, training: bool) -> Gradients:
    """Return the gradients of all adapters from what `backward` kept of all sections of each product.

    Their sums over the sections are made all at once: small ones take less time than calls.
    """
    adapted = [
        (product.adapters, [pair for one in sections if (pair := one.adapters)])
        for product, sections in zip(products, saved, strict=True)
        if product.adapters
    ]
    if not adapted:
        return {}
    sections = [[x for pair in pairs for x in pair] for pairs in zip(*(pairs for _, pairs in adapted), strict=True)]
    flat = [torch.cat([x.view(-1) for x in section]) for section in sections]
    total = flat[0].float()
    for section in flat[1:]:
        total += section
    pieces = torch.split(total, [x.numel() for x in sections[0]])
    downs, ups = pieces[::2], pieces[1::2]
    torch._foreach_mul_(ups, [adapters.factor(training=training) for adapters, _ in adapted])
    grads: Gradients = {}
    for (adapters, _), down, up in zip(adapted, downs, ups, strict=True):
        grads |= adapters.gradients(down, up)
    return grads


def summed(sections: Sequence[Gradients]) -> Gradients:
    """Return the sums over sections, all of which have the same parameters."""
    total = dict(sections[0])
    for grads in sections[1:]:
        for parameter, grad in grads.items():
            total[parameter] = total[parameter] + grad
    return total


def _joined(parts: list[Tensor | None]) -> Tensor:
    there = [part for part in parts if part is not None]
    return there[0] if len(there) == 1 else torch.cat(there)


def _typed(parameters: list[nn.Parameter], grads: tuple[Tensor, ...]) -> Gradients:
    """Return the gradients of the trained ones in their parameters' type."""
    return {p: grad.to(p.dtype) for p, grad in zip(parameters, grads, strict=True) if p.requires_grad}
