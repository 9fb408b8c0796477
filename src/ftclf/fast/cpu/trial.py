"""Whether the encoder blocks that are written out here give what torch gives, asked of each network before it trains.

A version of transformers may call its encoder with other arguments, or an architecture may differ in what no list
names: a score would show it at best, after the training.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from ftclf.fast.cpu.dropout import ByteDropout
from ftclf.fast.cpu.encoder import fuse, unfuse
from ftclf.fast.trial import LOGITS, apart, backward, made_tokens, restored_weights, taken, unlike
from ftclf.model.batches import model_inputs
from ftclf.model.compute import Compute
from ftclf.model.network import longest_text
from ftclf.system.console import warn

# Texts of a batch, in tokens: the longest is one whose attention needs several blocks.
LENGTHS = ([17, 2, 9, 31], [1, 140, 9])
# Shares of the sizes of logits and gradients in float32; in bf16 logits alone are compared.
EXACT, EXACT_GRADIENTS = 1e-3, 1e-2


def blocks_agree(network: Any, compute: Compute, *, training: bool) -> bool:
    """Return whether the blocks compute logits, and with `training` gradients, as torch does. The network is as before.

    A warning says what differs.
    """
    problem = _difference(network, compute, training=training)
    if problem:
        warn(f"encoder blocks are computed by transformers, which is slower: {problem}")
    return not problem


def _difference(network: Any, compute: Compute, *, training: bool) -> str:
    longest = longest_text(network) or max(map(max, LENGTHS))
    threads = torch.get_num_threads()
    try:
        with restored_weights(network, training), _without_dropout(network), torch.set_grad_enabled(training):
            network.train(training)
            some = LENGTHS if training else LENGTHS[-1:]  # whoever asks for one answer waits for it
            batches = [made_tokens(np.minimum(lengths, longest), network.config) for lengths in some]
            wanted = [_computed(network, tokens) for tokens in batches]
            with _fused(network, compute.threads):
                for tokens, (logits, gradients) in zip(batches, wanted, strict=True):
                    other, other_gradients = _computed(network, tokens)
                    if problem := _unlike(other, logits, EXACT):
                        return problem
                    for name, found, gradient in unlike(other_gradients, gradients, EXACT_GRADIENTS, EXACT):
                        return f"blocks give another gradient of {name} here ({apart(found, gradient)})"
                with torch.no_grad(), compute.autocast():
                    return _unlike(_computed(network, batches[0])[0], wanted[0][0], LOGITS)
    except (TypeError, RuntimeError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"blocks do not run here ({reason[:200]})"
    finally:
        torch.set_num_threads(threads)


def _unlike(logits: torch.Tensor, wanted: torch.Tensor, most: float) -> str:
    """Return how logits differ by more than a share of their size; nothing if they do not."""
    if not wanted.isfinite().all() or (logits - wanted).norm() <= most * wanted.norm():
        return ""  # what no engine can compute is refused where logits are read
    return f"blocks give other logits here ({apart(logits, wanted)})"


@contextmanager
def _without_dropout(network: Any) -> Iterator[None]:
    """Let dropouts pass everything on: draws of torch and of the blocks differ."""
    dropouts = [module for module in network.modules() if isinstance(module, ByteDropout | nn.Dropout)]
    kept, random = [dict(vars(module)) for module in dropouts], torch.get_rng_state()
    for module in dropouts:
        module.p = 0.0
        if isinstance(module, ByteDropout):
            module.cut = 0
    try:
        yield
    finally:
        torch.set_rng_state(random)  # a rate of 0 draws as well
        for module, attributes in zip(dropouts, kept, strict=True):
            vars(module).update({name: attributes[name] for name in ("p", "cut") if name in attributes})


@contextmanager
def _fused(network: Any, workers: int) -> Iterator[None]:
    fuse(network, workers)
    try:
        yield
    finally:
        unfuse(network)


def _computed(network: Any, tokens: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    rows = np.arange(len(tokens))
    return backward(network(**model_inputs(tokens, rows, "cpu")), len(rows)), taken(network)
