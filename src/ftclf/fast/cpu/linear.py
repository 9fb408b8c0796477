"""Linear layers of one input as one product, with their adapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ftclf.fast.cpu.adapters import adapters_of
from ftclf.fast.cpu.copies import Packed, Plain, can_pack
from ftclf.fast.cpu.sections import Section, masked, masked_

Gradients = dict[nn.Parameter, Tensor]


class Copy(NamedTuple):
    """What a pass needs of a parameter in its type."""

    target: Tensor
    source: Tensor
    factor: float = 1.0


@dataclass
class Adapted:
    """What the gradients of the adapters of one section need: its masked input and that times `down`."""

    section: Section
    inputs: Tensor
    hidden: Tensor
    mask: Tensor | None


@dataclass
class Saved:
    """What the gradients of a product need of one share: its input and, after `backward`, its output's gradient.

    The gradients of the adapters are small: `backward` has them at once, and nothing of the share is kept for them but
    those of all `down` and of all `up` of a model side by side, of each of its sections.
    """

    x: Tensor | None
    adapted: list[Adapted] = field(default_factory=list)
    g: Tensor | None = None
    adapters: dict[int, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)


class Kept(NamedTuple):
    """The gradient of a product's weights in the type of the pass, (outputs of all layers, inputs), and its norm."""

    gradient: Tensor
    norm: Tensor


class Product:
    """One or several linear layers of the same input; each model that is computed together has its own adapters.

    Every pass begins with `prepare`, which copies the weights into the type that it computes in. With `keeps_gradient`
    that of the weights is not returned but kept, for whoever takes it and steps them; all of them are trained then.
    """

    def __init__(self, models: list[list[nn.Module]]) -> None:
        """Take the layers of each model; the base weights are those of the first."""
        bases: list[Any] = [getattr(layer, "base_layer", layer) for layer in models[0]]
        self.weights: list[nn.Parameter] = [base.weight for base in bases]
        self.biases: list[nn.Parameter] = [base.bias for base in bases]
        self.inputs = self.weights[0].shape[1]
        self.sizes = [len(weight) for weight in self.weights]
        self.models = [adapters_of(layers, self.sizes) for layers in models]
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
        adapters = [p for model in self.models if model for part in model.parts for p in (part.down, part.up)]
        return [*self.weights, *self.biases, *adapters]

    def prepare(self, dtype: torch.dtype, *, training: bool) -> list[Copy]:
        """Return the copies that a pass in this type needs; a frozen layer's are made once."""
        state = self._state()
        todo: list[Copy] = []
        fresh, changed = dtype != self._dtype, state != self._copied
        if fresh:
            self._make_room(dtype)
        if not self.trained and can_pack(dtype):
            if fresh or changed or (training and not self.copy.both):
                self._pack(dtype, both=training)
        elif fresh or changed or (self.trained and not (self._stepped and training)):
            todo += map(Copy, self._copies(), [*self.weights, *self.biases])
        self._dtype, self._copied, self._stepped = dtype, state, False
        for model in self.models:
            if model is not None:
                factor = model.factor(training=training)
                for part, (down, up) in zip(model.parts, model.copies, strict=True):
                    todo += [Copy(down, part.down), Copy(up, part.up, factor)]
        return todo

    def forward(self, x: Tensor, sections: list[Section], *, training: bool) -> tuple[Tensor, Saved]:
        """Return x @ weights + biases + adapters, shape (tokens, outputs of all layers), in x's type."""
        y, saved = self.copy.forward(x), Saved(x if self.trained else None)
        for section in sections:
            model = self.models[section.model]
            if model is None:
                continue
            inputs, mask = _room_of(section, x), None
            if training and model.cut:
                mask = section.draw(inputs, model.cut)
                inputs = masked(inputs, mask)
            hidden = functional.linear(inputs, model.downs)
            model.add_to(_room_of(section, y), hidden)
            saved.adapted.append(Adapted(section, inputs, hidden, mask))
        return y, saved

    def backward(self, g: Tensor, saved: Saved, *, wants_input: bool) -> Tensor | None:
        """Return the gradient of x, or None; keep in `saved` what the gradients of the parameters need."""
        dx = self.copy.backward(g) if wants_input else None
        for adapted in saved.adapted:
            section = adapted.section
            model = self.models[section.model]
            assert model is not None
            dhidden, ups = model.back(_room_of(section, g), adapted.hidden)
            downs = torch.mm(dhidden.t(), adapted.inputs)
            saved.adapters.setdefault(section.model, []).append((downs, ups))
            if dx is not None:
                dinputs = dhidden @ model.downs
                _room_of(section, dx).add_(dinputs if adapted.mask is None else masked_(dinputs, adapted.mask))
        saved.adapted.clear()
        saved.g = g if self.trained else None
        return dx

    def gradients(self, shares: list[Saved]) -> Gradients:
        """Return the gradients of the trained weights and biases from what `backward` kept of all shares."""
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
        if self.trained or not can_pack(dtype):
            self.copy = Plain(torch.empty(total, self.inputs, dtype=dtype), torch.empty(total, dtype=dtype))
        for model in self.models:
            if model is not None:
                model.make_room(self.inputs, total, dtype)

    @torch.inference_mode(mode=False)
    def _pack(self, dtype: torch.dtype, *, both: bool) -> None:
        with torch.no_grad():
            weight, bias = torch.cat([*self.weights]).to(dtype), torch.cat([*self.biases]).to(dtype)
            self.copy = Packed(weight, bias, both=both)


def gradients_of_adapters(products: list[Product], saved: list[list[Saved]], *, training: bool) -> Gradients:
    """Return the gradients of all adapters from what `backward` kept of all shares of each product.

    Their sums over the shares are made all at once: small ones take less time than calls.
    """
    grads: Gradients = {}
    for index in range(len(products[0].models)):
        found = [
            (model, [one for share in shares for one in share.adapters.get(index, ())])
            for product, shares in zip(products, saved, strict=True)
            if (model := product.models[index]) is not None
        ]
        shares = [[x for pair in pairs for x in pair] for pairs in zip(*(pairs for _, pairs in found), strict=True)]
        if not shares:
            continue
        flat = [torch.cat([x.view(-1) for x in share]) for share in shares]
        total = flat[0].float()
        for share in flat[1:]:
            total += share
        pieces = torch.split(total, [x.numel() for x in shares[0]])
        downs, ups = pieces[::2], pieces[1::2]
        torch._foreach_mul_(ups, [model.factor(training=training) for model, _ in found])
        for (model, _), down, up in zip(found, downs, ups, strict=True):
            grads |= model.gradients(down, up)
    return grads


def summed(shares: Sequence[Gradients]) -> Gradients:
    """Return the sums over shares; a share has those of the models whose rows it holds."""
    total: Gradients = {}
    for share in shares:
        for parameter, grad in share.items():
            total[parameter] = total[parameter] + grad if parameter in total else grad
    return total


def _room_of(section: Section, x: Tensor) -> Tensor:
    """Return the tokens of a section with the zeros behind them; most shares have one section."""
    return x if section.room == slice(0, len(x)) else x[section.room]


def _joined(parts: list[Tensor | None]) -> Tensor:
    there = [part for part in parts if part is not None]
    return there[0] if len(there) == 1 else torch.cat(there)


def _typed(parameters: list[nn.Parameter], grads: tuple[Tensor, ...]) -> Gradients:
    """Return the gradients of the trained ones in their parameters' type."""
    return {p: grad.to(p.dtype) for p, grad in zip(parameters, grads, strict=True) if p.requires_grad}
