"""A network on tokenised rows: logits, batch by batch, and how long one text takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftclf.model.batches import eval_batches
from ftclf.model.compute import Compute
from ftclf.model.tokens import Tokens
from ftclf.system.errors import CheckpointError
from ftclf.system.library import threads_kept
from ftclf.system.memory import hand_back_memory
from ftclf.system.progress_bar import advance

if TYPE_CHECKING:
    from torch import nn


def scoring_network(network: Any, compute: Compute, *, compiled: bool = False) -> nn.Module:
    """Return a loaded network made ready to score: what costs time in every batch is done once.

    Adapters are merged, and the blocks' linear layers are held in the type that autocast would turn them into: both
    move logits by rounding alone.
    """
    from torch import nn

    from ftclf.fast import place
    from ftclf.fast.cpu import can_fuse, layers_outside

    with threads_kept(1):  # products of a small rank: a second thread waits more than it computes
        network = merged(network)
    outside = layers_outside(network) if can_fuse(network) else []
    for module in network.modules():
        if isinstance(module, nn.Linear) and module not in outside:
            module.to(compute.dtype)
    network.eval().requires_grad_(False)
    hand_back_memory(collect=False)  # the weights that it was loaded with are too large for batches to fit in between
    return place(network, compute, compiled=compiled)  # type: ignore[no-any-return]


def merged(network: Any) -> Any:
    """Return the network with its adapters added to its weights, or as it is where it has none."""
    return network.merge_and_unload() if hasattr(network, "merge_and_unload") else network


def compute_logits(
    network: nn.Module,
    tokens: Tokens,
    compute: Compute,
    batch_size: int,
    *,
    checkpoint: Path | None = None,
    may_diverge: bool = False,
) -> NDArray[np.float32]:
    """Return the logits of every row, shape (rows, labels), in the order of the rows.

    Raises CheckpointError, with the name of the `checkpoint`, for logits that are not finite, unless it `may_diverge`.
    """
    import torch

    was_training = network.training
    network.eval()
    found: NDArray[np.float32] | None = None
    with (
        torch.inference_mode(),
        compute.autocast(),
        _batches(network, tokens, compute, batch_size) as (batches, inputs_of),
    ):
        for rows in batches:
            logits = network(**inputs_of(rows)).logits[: len(rows)].float().cpu().numpy()
            if found is None:
                found = np.empty((len(tokens), logits.shape[1]), dtype=np.float32)
            found[rows] = logits
            advance(len(rows))
    network.train(was_training)
    assert found is not None
    if not may_diverge and (bad := int((~np.isfinite(found)).any(axis=1).sum())):
        raise CheckpointError(
            f"{checkpoint or 'checkpoint'}: {bad} of {len(found)} texts get logits that are not finite: its weights "
            f"are damaged, or too large for {compute.precision}; train again, or use another checkpoint"
        )
    return found


@contextmanager
def _batches(network: nn.Module, tokens: Tokens, compute: Compute, batch_size: int) -> Iterator[Any]:
    """Give batches of rows, and what makes one into the network's inputs."""
    if compute.device == "cuda":
        from ftclf.fast.gpu.scoring import batches_on_gpu

        with batches_on_gpu(network, tokens, batch_size, compute.device, compute.dtype) as found:
            yield found
    else:
        yield eval_batches(tokens.lengths, batch_size), lambda rows: model_inputs(tokens, rows, compute.device)


def milliseconds_per_text(network: nn.Module, tokens: Tokens, compute: Compute) -> float:
    """Return the median time of one text alone, over up to 20 rows of middling length."""
    import torch

    middling = np.argsort(tokens.lengths, kind="stable")[len(tokens) // 2 :][:20]
    times = []
    with torch.inference_mode(), compute.autocast():
        for row in [middling[0], *middling]:  # the first warms up
            start = time.perf_counter()
            network(**model_inputs(tokens, np.array([row]), compute.device)).logits.float().cpu()
            times.append(time.perf_counter() - start)
    return round(1000 * float(np.median(times[1:])), 2)


def model_inputs(tokens: Tokens, rows: NDArray[np.int64], device: str) -> dict[str, Any]:
    """Return the padded rows as the network takes them."""
    import torch

    ids, mask = tokens.padded(rows)
    return {
        "input_ids": torch.from_numpy(ids).to(device),
        "attention_mask": torch.from_numpy(mask).to(device),
    }
