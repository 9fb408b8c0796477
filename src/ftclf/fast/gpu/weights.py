"""The weights of linear layers in the type that products are computed in, all copied at once.

Autocast casts them one by one in the forward pass, and each gradient in the backward pass: two small kernels a tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ftclf.fast.gpu.products import Copy, Product


class LowPrecisionWeights:
    """Copies of linear weights; those that do not train are made once.

    Those of `products` are theirs; those of other layers take the place of their parameters during a step.
    """

    def __init__(self, layers: Iterable[nn.Linear], dtype: torch.dtype, products: Iterable[Product] = ()) -> None:
        self.dtype = dtype
        copies = [copy for product in products for copy in product.copies]
        self.places: list[tuple[nn.Module, str, Copy]] = []
        for layer in layers:
            for name, weight in layer.named_parameters(recurse=False):
                leaf = nn.Parameter(weight.detach().to(dtype), requires_grad=weight.requires_grad)
                self.places.append((layer, name, Copy(weight, leaf)))
        self.trained = [copy for copy in [*copies, *(copy for *_, copy in self.places)] if copy.source.requires_grad]

    @contextmanager
    def in_place(self, *, fresh: bool = False) -> Iterator[None]:
        """Let the network compute with fresh copies, and give their gradients to the weights at the end.

        If they are `fresh`, whoever has kept them so takes the gradients from them, too.
        """
        if self.trained and not fresh:
            targets = [copy.part() for copy in self.trained]
            torch._foreach_copy_(targets, [copy.source.data for copy in self.trained])
        for module, name, copy in self.places:
            module._parameters[name] = copy.leaf
        try:
            yield
        finally:
            for module, name, copy in self.places:
                module._parameters[name] = copy.source
        if not fresh:
            self._hand_over()

    def _hand_over(self) -> None:
        targets: list[Tensor] = []
        gradients: list[Tensor] = []
        for copy in self.trained:
            if (gradient := copy.gradient()) is not None:
                copy.source.grad = torch.empty_like(copy.source)
                targets.append(copy.source.grad)
                gradients.append(gradient)
        if targets:
            torch._foreach_copy_(targets, gradients)
        for copy in self.trained:
            copy.leaf.grad = None
