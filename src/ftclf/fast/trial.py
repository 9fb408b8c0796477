"""Tools of the trials that compare an engine with plain torch: made texts, gradients, how far results are apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftclf.model.tokens import Tokens

# How far the sizes of logits and gradients may be off. torch's own autocast to bf16, on a CPU: 0.8 % of MiniLM's
# logits and 3 % of each of its gradients, 0.6 % and 11 % of DistilBERT's without trained weights.
LOGITS, GRADIENTS = 0.1, 0.4
OF_ALL = 3e-3  # of the size of all gradients together: there are some that are nothing but rounding


def made_tokens(lengths: NDArray[np.int64], config: Any) -> Tokens:
    """Return texts of random tokens, none of which is padding."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    pad_id = config.pad_token_id or 0
    ids = np.random.default_rng(0).integers(config.vocab_size - 1, size=offsets[-1])
    return Tokens((ids + (ids >= pad_id)).astype(np.int32), offsets, 0, pad_id)


def backward(output: Any, rows: int) -> Tensor:
    """Return the logits of the first rows, when gradients of a sum of them have been computed, if there are any."""
    states = output.logits if hasattr(output, "logits") else output.last_hidden_state[:, 0]  # of a base encoder
    logits: Tensor = states[:rows].float()
    if torch.is_grad_enabled():
        parts = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
        (logits * parts.to(logits.device)).sum().backward()  # type: ignore[no-untyped-call]
    return logits.detach()


def taken(network: Any) -> dict[str, Tensor]:
    """Return the gradients of a network, which has none from now on."""
    found = {name: one.grad for name, one in network.named_parameters() if one.grad is not None}
    network.zero_grad()
    return found


def unlike(
    found: dict[str, Tensor], wanted: dict[str, Tensor], most: float = GRADIENTS, of_all: float = OF_ALL
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the gradients that are not what they should be: name, gradient, and what it should be."""
    if not wanted:
        return
    size = torch.stack([one.norm() for one in wanted.values()]).norm()
    for name, one in wanted.items():
        own = found.get(name, torch.zeros_like(one))
        if not (own - one).norm() <= most * one.norm() + of_all * size:
            yield name, own, one


def apart(found: Tensor, wanted: Tensor) -> str:
    return f"{float((found - wanted).norm() / wanted.norm()):.0%} apart"


@contextmanager
def restored_weights(network: Any, training: bool) -> Iterator[None]:
    """Restore weights and modes after the block; in it, adapters are not zero, as they are when they begin."""
    trained = [one for one in network.parameters() if one.requires_grad] if training else []
    kept = [one.detach().clone() for one in trained]
    modes = [(module, module.training) for module in network.modules()]
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, one in network.named_parameters() if training else ():
            if "lora_B" in name and one.requires_grad:
                one.copy_(0.02 * torch.randn(one.shape, generator=random))
    try:
        yield
    finally:
        with torch.no_grad():
            for one, before in zip(trained, kept, strict=True):
                one.copy_(before)
                one.grad = None
        for module, mode in modes:
            module.training = mode
