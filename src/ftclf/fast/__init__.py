"""The only room with hand-made speed: encoder blocks for CPUs and kernels for GPUs, each checked against torch.

Three files import it: where a run is prepared, the Trainer, and where logits are computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.config import TrainingConfig
from ftclf.fast.plain import AHEAD, Batch, PlainEngine, compile_network
from ftclf.model.batches import eval_batches, model_inputs
from ftclf.model.compute import Compute
from ftclf.model.method import merged
from ftclf.model.tokens import Tokens
from ftclf.system.console import warn
from ftclf.system.library import threads_kept
from ftclf.system.memory import hand_back_memory

__all__ = [
    "AHEAD",
    "Batch",
    "PlainEngine",
    "choose_engine",
    "has_blocks",
    "place_to_score",
    "scoring_batches",
]


def choose_engine(network: Any, compute: Compute, training: TrainingConfig, longest: int) -> PlainEngine:
    """Return the fastest engine for this network and machine.

    PlainEngine where there is none, or with `training.engine=plain`. The engine's own `place` compares blocks and
    packed batches with plain torch before it uses them. `longest` is the number of tokens of the longest training text.
    """
    from ftclf.fast.encoder_parts import can_fuse

    if compute.engine == "plain":
        return PlainEngine(network, compute, training)
    if compute.device == "cpu" and not training.compile:
        from ftclf.fast.cpu.engine import CpuEngine

        return CpuEngine(network, compute, training)
    if training.compile and can_fuse(network):
        if compute.device == "cpu":
            warn("torch.compile: on a CPU such a network is faster without; leave compile out")
        elif _can_record(replace(training, compile=False), compute):
            warn("training.compile: a step that is compiled is not recorded, and slower; leave it out")
    if _can_record(training, compute) and can_fuse(network):
        from ftclf.fast.gpu.engine import GraphEngine

        return GraphEngine(network, compute, training, longest)
    return PlainEngine(network, compute, training)


def has_blocks(network: Any) -> bool:
    """Return whether the encoder blocks of a network are written out here."""
    from ftclf.fast.encoder_parts import can_fuse

    return can_fuse(network)


def _can_record(training: TrainingConfig, compute: Compute) -> bool:
    from ftclf.fast.gpu.recorded import can_record

    return can_record(training, compute.device, compute.precision)


def place_to_score(network: Any, compute: Compute, *, compiled: bool = False, frozen: bool = False) -> Any:
    """Return a network on the device, made ready to score.

    Adapters are merged, and the blocks' linear layers are held in the type that autocast would turn them into: both
    move logits by rounding alone. A `frozen` network keeps its weights as they are.
    """
    from torch import nn

    if compute.engine != "plain" and not frozen:
        with threads_kept(1):  # products of a small rank: a second thread waits more than it computes
            network = merged(network)
    network.eval().requires_grad_(False)
    if compute.engine == "plain":
        network.to(compute.device)
        if compiled:
            compile_network(network, compute.device)
        return network
    from ftclf.fast.cpu.encoder import fuse
    from ftclf.fast.cpu.trial import blocks_agree
    from ftclf.fast.encoder_parts import can_fuse, layers_outside

    on_cpu = compute.device == "cpu" and not compiled and can_fuse(network)
    fused = on_cpu and blocks_agree(network, compute, training=False)  # before its weights are rounded
    if not frozen:
        outside = layers_outside(network) if can_fuse(network) else []
        for module in network.modules():
            if isinstance(module, nn.Linear) and module not in outside:
                module.to(compute.dtype)
        hand_back_memory(collect=False)  # the weights it was loaded with are too large for batches to fit in between
    network.to(compute.device)
    if compiled:
        if compute.device == "cpu" and can_fuse(network):
            warn("torch.compile: on a CPU such a network is faster without; leave compile out")
        compile_network(network, compute.device)
    elif fused:
        fuse(network, compute.threads)
    return network


@contextmanager
def scoring_batches(network: Any, tokens: Tokens, compute: Compute, batch_size: int) -> Iterator[Any]:
    """Give the batches of rows, each (rows,), and the function that turns one into the network's inputs."""
    if compute.device == "cuda" and compute.engine != "plain":
        from ftclf.fast.gpu.scoring import batches_on_gpu

        with batches_on_gpu(network, tokens, batch_size, compute.device, compute.dtype) as batches:
            yield batches
        return

    def inputs_of(rows: NDArray[np.int64]) -> Batch:
        return model_inputs(tokens, rows, compute.device)

    yield eval_batches(tokens.lengths, batch_size), inputs_of
