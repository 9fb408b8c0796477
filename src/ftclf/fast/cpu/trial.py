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

from ftclf.fast.cpu.encoder import fuse, unfuse
from ftclf.fast.plain import padded
from ftclf.fast.trial import LOGITS, apart, backward, left_as_it_was, made_tokens, taken, unlike
from ftclf.model.compute import Compute
from ftclf.model.network import longest_text
from ftclf.system.console import warn

# Texts of a batch, in tokens: the longest is one whose attention needs several blocks.
LENGTHS = ([17, 2, 9, 31], [1, 200, 40])
EXACT = 1e-3  # of the size of logits in float32; rounding to bf16 moves them by 1 %


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
        with left_as_it_was(network, training), torch.set_grad_enabled(training):
            network.eval()
            batches = [made_tokens(np.minimum(lengths, longest), network.config) for lengths in LENGTHS]
            wanted = [_computed(network, tokens, compute) for tokens in batches]
            with _fused(network, compute.threads):
                for tokens, (logits, gradients) in zip(batches, wanted, strict=True):
                    other, other_gradients = _computed(network, tokens, compute)
                    most = EXACT if compute.precision == "fp32" else LOGITS
                    if not (other - logits).norm() <= most * logits.norm():
                        return f"blocks give other logits here ({apart(other, logits)})"
                    for name, found, gradient in unlike(other_gradients, gradients):
                        return f"blocks give another gradient of {name} here ({apart(found, gradient)})"
    except (TypeError, RuntimeError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"blocks do not run here ({reason[:200]})"
    finally:
        torch.set_num_threads(threads)
    return ""


@contextmanager
def _fused(network: Any, workers: int) -> Iterator[None]:
    fuse(network, workers)
    try:
        yield
    finally:
        unfuse(network)


def _computed(network: Any, tokens: Any, compute: Compute) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    rows = np.arange(len(tokens))
    with compute.autocast():
        logits = backward(network(**padded(tokens, rows, compute.device)), len(rows))
    return logits, taken(network)
