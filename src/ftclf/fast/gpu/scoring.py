"""Batches as a GPU scores them fastest: packed where it can be, else padded to a few shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftclf.fast.gpu.blocks import PackedEncoder
from ftclf.fast.gpu.packed import first_position, pack
from ftclf.fast.gpu.shapes import filled_up
from ftclf.fast.gpu.trial import packs
from ftclf.fast.gpu.weights import LowPrecisionWeights
from ftclf.model.batches import eval_batches
from ftclf.model.tokens import Tokens

AT_ONCE = 8  # packed, so many batches are one, if that many tokens at most: a GPU waits for fewer kernels
MOST_TOKENS = 32768
Inputs = Callable[[NDArray[np.int64]], dict[str, Any]]


@contextmanager
def batches_on_gpu(
    network: Any, tokens: Tokens, batch_size: int, device: str, dtype: torch.dtype
) -> Iterator[tuple[list[NDArray[np.int64]], Inputs]]:
    """Give the batches of rows, and what makes one into the network's inputs while the context lasts."""
    if not packs(network, device, dtype):
        longest = int(tokens.lengths.max())

        def padded(rows: NDArray[np.int64]) -> dict[str, Any]:
            ids, mask = (torch.from_numpy(one) for one in tokens.padded(rows))
            return _there(filled_up({"input_ids": ids, "attention_mask": mask}, tokens.pad_id, longest), device)

        yield eval_batches(tokens.lengths, batch_size), padded
        return
    first, encoder = first_position(network), PackedEncoder(network, dtype)
    at_once = int(MOST_TOKENS // max(1.0, batch_size * float(tokens.lengths.mean())))
    batches = eval_batches(tokens.lengths, batch_size * max(1, min(AT_ONCE, at_once)))
    weights = LowPrecisionWeights(encoder.layers_outside, dtype, encoder.products)
    with weights.in_place(fresh=True), encoder.in_place():
        yield batches, lambda rows: _there(pack(tokens, rows, first), device)


def _there(batch: dict[str, Any], device: str) -> dict[str, Any]:
    return {name: one.to(device) if isinstance(one, Tensor) else one for name, one in batch.items()}
