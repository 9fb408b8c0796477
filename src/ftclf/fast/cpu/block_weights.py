"""Weights of encoder blocks that all cores step, one weight after the other, from gradients in the type of the pass.

torch's optimizer gets its gradients in float32 and after the pass: they are written, read for their norm and read again
by AdamW, and its weights once more for the copies that the next pass computes with, all of it by one core; together a
tenth of a step. Here the norm of a gradient is taken as soon as it is there, and conversion, AdamW and copy of a weight
follow one another while it is in the cache. The weights are those of torch's fused AdamW.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from ftclf.fast.cpu.adamw import can_step_apart, state_of, step_apart
from ftclf.fast.cpu.encoder import fused_products
from ftclf.fast.cpu.linear import Product
from ftclf.fast.cpu.workers import in_parallel


class BlockWeights:
    """The trained linear weights of a network's blocks; `products` keep their gradients for it.

    The parameters' own gradients stay None: the optimizer, which holds them in its groups, passes over them, and they
    are stepped right after, with their groups' settings. Moments and step counts are the optimizer's state, so that its
    state_dict is that of the full step.
    """

    def __init__(self, products: list[Product], optimizer: AdamW, workers: int) -> None:
        self.products, self.optimizer, self.workers = products, optimizer, workers
        for product in products:
            product.keeps_gradient = True
        optimizer.register_step_post_hook(lambda *_: self._step())

    def norms(self) -> list[Tensor]:
        """Return the norms of the gradients since the last step."""
        return [product.kept.norm for product in self.products if product.kept]

    def _step(self) -> None:
        groups = {id(weight): group for group in self.optimizer.param_groups for weight in group["params"]}
        tasks = [partial(self._step_one, product, groups) for product in self.products if product.kept]
        in_parallel(tasks, self.workers)

    def _step_one(self, product: Product, groups: dict[int, dict[str, Any]]) -> None:
        for weight, gradient in product.take_gradients():
            state = state_of(self.optimizer, weight)
            step_apart(self.optimizer, groups[id(weight)], state, weight, gradient)
        product.copy_weights()


def train_blocks_apart(network: nn.Module, optimizer: torch.optim.Optimizer, workers: int) -> BlockWeights | None:
    """Step the weights of the network's blocks apart where that can be done; None, and no change, elsewhere."""
    held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    products = [one for one in fused_products(network) if all(id(weight) in held for weight in one.weights)]
    if not products or not can_step_apart(optimizer):
        return None
    return BlockWeights(products, optimizer, workers)
