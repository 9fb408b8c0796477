"""The base encoder as it came: one vector a text, the mean of its tokens' last hidden states."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.model.batches import eval_batches, model_inputs
from ftclf.model.compute import Compute
from ftclf.model.tokens import Tokens
from ftclf.score.logits import frozen_encoder
from ftclf.system.progress_bar import advance

BATCH = 64


def embed(
    encoder: Any, tokens: Tokens, compute: Compute, *, rows: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Return vectors of length 1, shape (rows, hidden size), in the order of the rows."""
    import torch

    wanted = np.arange(len(tokens)) if rows is None else rows
    encoder = frozen_encoder(encoder, compute)
    found: NDArray[np.float32] | None = None
    with torch.inference_mode(), compute.autocast():
        for batch in eval_batches(tokens.lengths_of(wanted), BATCH):
            inputs = model_inputs(tokens, wanted[batch], compute.device)
            states = encoder(**inputs).last_hidden_state.float()
            mask = inputs["attention_mask"][:, :, None]
            mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
            advance(len(batch))
            vectors = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
            if found is None:
                found = np.empty((len(wanted), vectors.shape[1]), dtype=np.float32)
            found[batch] = vectors
    assert found is not None
    return found
