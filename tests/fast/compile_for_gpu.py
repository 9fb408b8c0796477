"""Compile all kernels of two training steps for a GPU that need not be there; print how often each was launched.

What the kernels would have written is whatever lies in memory. `python compile_for_gpu.py MODEL_FOLDER`, without
TRITON_INTERPRET.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from ftclf.fast.gpu.blocks import PackedEncoder
from ftclf.fast.gpu.packed import first_position, pack
from ftclf.fast.gpu.updates import KernelUpdate
from ftclf.fast.gpu.weights import LowPrecisionWeights
from ftclf.model.batches import IGNORED
from test_gpu_blocks import classifier, made_tokens

launched: Counter[str] = Counter()


class Target:
    """A GPU as triton asks for it, of the kind of an A100 or H100."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return self.capability  # what is compiled for the one is not taken for the other

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_only(run: Any) -> Any:
    """Return a launch that ends when the kernel is compiled."""

    def compiled(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        launched[self.fn.__name__] += 1
        return run(self, *args, grid=grid, warmup=True, **options)

    return compiled


def step(network: Any) -> None:
    """Make a step of a training."""
    tokens, labels = made_tokens([5, 9, 2]), np.array([0, 1, 2])
    batch = pack(tokens, np.arange(3), first_position(network), labels)
    encoder = PackedEncoder(network, torch.bfloat16)
    weights = LowPrecisionWeights(encoder.layers_outside, torch.bfloat16, encoder.products)
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    update = KernelUpdate([torch.optim.AdamW(trained, lr=1e-3, fused=True)], 1.0, weights)
    with torch.autocast("cpu", torch.bfloat16), update.in_place(), encoder.in_place(torch.tensor([1])):
        known: Tensor = batch.pop("labels")
        logits = network.train()(**batch).logits
        functional.cross_entropy(logits, known, ignore_index=IGNORED).backward()
    update.take(torch.zeros(1))


if __name__ == "__main__":
    JITFunction.run = compile_only(JITFunction.run)
    driver.set_active(Target(80))
    step(classifier(Path(sys.argv[1]), False))
    driver.set_active(Target(90))
    step(classifier(Path(sys.argv[1]), True, 4))
    for name, times in sorted(launched.items()):
        print(name, times)
