"""Batches whose texts lie end to end, without padding: all are of a few sizes, whatever the lengths of their texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ftclf.losses import IGNORED
from ftclf.tokens import Tokens

BOUNDS, LONGEST = "cu_seq_lens_q", "max_length_q"  # as transformers calls them
TOKENS, TEXTS, LENGTH = 64, 64, 32  # the smallest sizes
COUNTED_FROM_PADDING = ("roberta", "xlm-roberta", "camembert")  # their first position is the one after padding's


def pack(
    tokens: Tokens, rows: NDArray[np.int64], first_position: int, labels: NDArray[Any] | None = None
) -> dict[str, Any]:
    """Return the rows end to end, as the network takes them, filled up to one of a few sizes.

    Ids and positions have the shape (1, tokens); text i reaches from `bounds[i]` to `bounds[i + 1]`; labels, those of
    all rows there are, have a row for each text. What fills up are texts of padding that no loss counts, no longer than
    the others: a network may know no more positions. `longest` is the next power of two, or 32.
    """
    lengths = tokens.lengths_of(rows)
    total = int(lengths.sum())
    size, most = rounded_tokens(total), int(lengths.max())
    filling = np.diff(np.append(np.arange(total, size, most), size))
    bounds = np.cumsum(np.concatenate([[0], lengths, filling]))
    within = np.arange(size) - np.repeat(bounds[:-1], np.diff(bounds))
    ids = np.full(size, tokens.pad_id, dtype=np.int64)
    ids[:total] = tokens.ids[np.repeat(tokens.offsets[rows], lengths) + within[:total]]
    texts = rounded_texts(len(bounds) - 1)
    batch = {
        "input_ids": torch.from_numpy(ids)[None],
        "position_ids": torch.from_numpy(within + first_position)[None],
        LONGEST: max(LENGTH, 1 << (most - 1).bit_length()),
        BOUNDS: torch.from_numpy(np.pad(bounds, (0, texts + 1 - len(bounds)), mode="edge").astype(np.int32)),
    }
    if labels is not None:
        more = [(0, texts - len(rows)), *[(0, 0)] * (labels.ndim - 1)]
        known = labels[rows].astype(np.float32 if labels.ndim == 2 else np.int64)  # several labels come as bool
        batch["labels"] = torch.from_numpy(np.pad(known, more, constant_values=IGNORED))
    return batch


def rounded_tokens(count: int) -> int:
    """Return the next size: a multiple of 64, or of a thirty-second of the next power of two if that is more."""
    step = max(TOKENS, (1 << count.bit_length()) >> 5)
    return -(-count // step) * step


def rounded_texts(count: int) -> int:
    """Return the next power of two: texts without a token cost nothing but their place in the head."""
    return max(TEXTS, 1 << (count - 1).bit_length())


def first_position(network: Any) -> int:
    """Return the position that the network gives to the first token of a text."""
    config = network.config
    return int(config.pad_token_id) + 1 if config.model_type in COUNTED_FROM_PADDING else 0
