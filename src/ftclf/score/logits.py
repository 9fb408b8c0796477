"""A network on tokenised rows: logits, batch by batch, and how long one text takes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftclf.model.batches import model_inputs
from ftclf.model.compute import Compute
from ftclf.model.tokens import Tokens
from ftclf.system.errors import CheckpointError
from ftclf.system.progress_bar import advance

if TYPE_CHECKING:
    from torch import nn


def scoring_network(network: Any, compute: Compute, *, compiled: bool = False) -> nn.Module:
    """Return a loaded network made ready to score: what costs time in every batch is done once."""
    from ftclf.fast import place_to_score

    return place_to_score(network, compute, compiled=compiled)  # type: ignore[no-any-return]


def frozen_encoder(network: Any, compute: Compute) -> nn.Module:
    """Return a base encoder as it came, ready to compute hidden states."""
    from ftclf.fast import place_to_score

    return place_to_score(network, compute, frozen=True)  # type: ignore[no-any-return]


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

    from ftclf.fast import scoring_batches

    was_training = network.training
    network.eval()
    found: NDArray[np.float32] | None = None
    with (
        torch.inference_mode(),
        compute.autocast(),
        scoring_batches(network, tokens, compute, batch_size) as (batches, inputs_of),
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
