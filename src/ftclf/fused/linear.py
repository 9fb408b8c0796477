"""Linear layers of one input as one product, with their adapters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ftclf.dropout import cut_of
from ftclf.fused.sections import Section, raised

Gradients = dict[nn.Parameter, Tensor]


class Adapter(NamedTuple):
    """A low-rank update of one of the layers: shapes (rank, inputs) and (outputs, rank)."""

    down: nn.Parameter
    up: nn.Parameter
    outputs: slice  # its layer's columns of the product
    ranks: slice  # its place among the ranks of the product


@dataclass
class Adapters:
    """All adapters of one model on one product; their input is dropped out once, for all of them."""

    parts: list[Adapter]
    cut: int  # dropout rate in 1/256
    scale: float

    @property
    def rank(self) -> int:
        return sum(len(part.down) for part in self.parts)

    def factor(self, *, training: bool) -> float:
        """Return what `up @ down` of the masked input is multiplied by."""
        return self.scale * raised(self.cut) if training else self.scale


@dataclass
class Adapted:
    """What the gradients of the adapters of one section need: its masked input and that times `down`, scaled."""

    section: Section
    inputs: Tensor
    hidden: Tensor
    mask: Tensor | None
    dhidden: Tensor | None = None


@dataclass
class Saved:
    """What the gradients of a product need of one share: its input and, after `backward`, its output's gradient."""

    x: Tensor
    adapted: list[Adapted] = field(default_factory=list)
    g: Tensor | None = None


class Product:
    """One or several linear layers of the same input; each model that is computed together has its own adapters.

    Every pass begins with `prepare`, which copies the weights into the type that it computes in.
    """

    def __init__(self, models: list[list[nn.Module]]) -> None:
        """Take the layers of each model; the base weights are those of the first."""
        bases: list[Any] = [getattr(layer, "base_layer", layer) for layer in models[0]]
        self.weights: list[nn.Parameter] = [base.weight for base in bases]
        self.biases: list[nn.Parameter] = [base.bias for base in bases]
        self.inputs = self.weights[0].shape[1]
        self.sizes = [len(weight) for weight in self.weights]
        self.models = [_adapters(layers, self.sizes) for layers in models]
        self.trained = any(p.requires_grad for p in (*self.weights, *self.biases))
        self.weight = self.bias = torch.empty(0)
        self.packed: list[tuple[Tensor, Tensor] | None] = []
        self._copied: list[tuple[int, int]] = []

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters that `gradients` may give."""
        adapters = [p for model in self.models if model for part in model.parts for p in (part.down, part.up)]
        return [*self.weights, *self.biases, *adapters]

    def prepare(self, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
        """Return the copies that a pass in this type needs and what to copy there; a frozen layer's is made once."""
        sources: list[Tensor] = [*self.weights, *self.biases]
        state = [(source.data_ptr(), source._version) for source in sources]
        copies: list[Tensor] = []
        if self.weight.dtype != dtype or not self.packed:
            self._make_room(dtype)
        elif not self.trained and state == self._copied:
            sources = []
        if sources:
            copies = [*self._split(self.weight), *self._split(self.bias)]
            self._copied = state
        for model, packed in zip(self.models, self.packed, strict=True):
            if model is not None and packed is not None:
                for part in model.parts:
                    copies += [packed[0][part.ranks], packed[1][part.outputs, part.ranks]]
                    sources += [part.down, part.up]
        return copies, sources

    def forward(self, x: Tensor, sections: list[Section], *, training: bool) -> tuple[Tensor, Saved]:
        """Return x @ weights + biases + adapters, shape (tokens, outputs of all layers), in x's type."""
        y, saved = functional.linear(x, self.weight, self.bias), Saved(x)
        for section in sections:
            model, packed = self.models[section.model], self.packed[section.model]
            if model is None or packed is None:
                continue
            inputs, mask = x[section.tokens], None
            if training and model.cut:
                mask = section.draw(inputs, model.cut)
                inputs = inputs * mask
            hidden = functional.linear(inputs, packed[0]).mul_(model.factor(training=training))
            y[section.tokens].addmm_(hidden, packed[1].t())
            saved.adapted.append(Adapted(section, inputs, hidden, mask))
        return y, saved

    def backward(self, g: Tensor, saved: Saved, *, wants_input: bool, training: bool) -> Tensor | None:
        """Return the gradient of x, or None; keep in `saved` what the gradients of the parameters need."""
        dx = g @ self.weight if wants_input else None
        if self.trained:
            saved.g = g
        for adapted in saved.adapted:
            tokens, index = adapted.section.tokens, adapted.section.model
            model, packed = self.models[index], self.packed[index]
            assert model is not None
            assert packed is not None
            saved.g = g
            adapted.dhidden = (g[tokens] @ packed[1]).mul_(model.factor(training=training))
            if dx is None:
                continue
            if adapted.mask is None:
                dx[tokens].addmm_(adapted.dhidden, packed[0])
            else:
                dx[tokens].addcmul_(adapted.dhidden @ packed[0], adapted.mask)
        return dx

    def gradients(self, shares: list[Saved]) -> Gradients:
        """Return the gradients of the trained parameters from what `backward` kept of all shares."""
        grads: Gradients = {}
        outputs = [saved.g for saved in shares if saved.g is not None]
        if self.trained:
            g = _joined(outputs)
            grads |= _typed(self.weights, self._split(g.t() @ _joined([saved.x for saved in shares])))
            grads |= _typed(self.biases, self._split(g.sum(0)))
        for index, model in enumerate(self.models):
            if model is not None:
                grads |= _adapter_gradients(model, index, shares)
        return grads

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Cut what belongs to all layers into what belongs to each."""
        return torch.split(x, self.sizes)

    @torch.inference_mode(mode=False)  # a first pass may be an evaluation: training could not write into its tensors
    def _make_room(self, dtype: torch.dtype) -> None:
        total = sum(self.sizes)
        self.weight, self.bias = torch.empty(total, self.inputs, dtype=dtype), torch.empty(total, dtype=dtype)
        self.packed = []
        for model in self.models:
            room = None
            if model:
                down = torch.empty(model.rank, self.inputs, dtype=dtype)
                room = (down, torch.zeros(total, model.rank, dtype=dtype))
            self.packed.append(room)


def _adapter_gradients(model: Adapters, index: int, shares: list[Saved]) -> Gradients:
    found = [(a, saved) for saved in shares for a in saved.adapted if a.section.model == index]
    if not found:
        return {}
    dhidden = _joined([adapted.dhidden for adapted, _ in found if adapted.dhidden is not None])
    g = _joined([saved.g[adapted.section.tokens] for adapted, saved in found if saved.g is not None])
    ddown = (dhidden.t() @ _joined([adapted.inputs for adapted, _ in found])).float()
    dup = (g.t() @ _joined([adapted.hidden for adapted, _ in found])).float()
    grads: Gradients = {}
    for part in model.parts:
        grads[part.down] = ddown[part.ranks]
        grads[part.up] = dup[part.outputs, part.ranks].contiguous()
    return grads


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _typed(parameters: list[nn.Parameter], grads: tuple[Tensor, ...]) -> Gradients:
    """Return the gradients of the trained ones in their parameters' type."""
    return {p: grad.to(p.dtype) for p, grad in zip(parameters, grads, strict=True) if p.requires_grad}


def _adapters(layers: list[nn.Module], sizes: list[int]) -> Adapters | None:
    """Read peft's adapters off the layers of one model."""
    parts: list[Adapter] = []
    cut, scale, end, rank = 0, 1.0, 0, 0
    for layer, size in zip(layers, sizes, strict=True):
        end += size
        if not hasattr(layer, "lora_A"):
            continue
        wrapped: Any = layer
        (name,) = wrapped.active_adapters
        down, up = wrapped.lora_A[name].weight, wrapped.lora_B[name].weight
        parts.append(Adapter(down, up, slice(end - size, end), slice(rank, rank + len(down))))
        rank += len(down)
        cut, scale = cut_of(wrapped.lora_dropout[name]), float(wrapped.scaling[name])
    return Adapters(parts, cut, scale) if parts else None
