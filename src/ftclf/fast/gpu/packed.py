"""Batches whose texts lie end to end, without padding: all are of a few sizes, whatever the lengths of their texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftclf.model.architectures import ARCHITECTURES
from ftclf.model.batches import IGNORED
from ftclf.model.tokens import Tokens

BOUNDS, LONGEST = "cu_seq_lens_q", "max_length_q"  # as transformers calls them
SEEDS = "seeds"  # one of each training, for all that a step drops
RATES = "rates"  # learning rates of the parameter groups of each training
TOKENS, TEXTS, LENGTH = 64, 64, 32  # the smallest sizes
MOST_ATTENDED = 128  # tokens of a text whose attention is computed at once: a larger matrix does not fit


@dataclass(frozen=True)
class Draw:
    """Which elements are dropped: at a rate, by one seed for each training, (trainings,), int64, on the device.

    `place` is a number of its own for each layer of dropout.
    """

    rate: float
    seeds: Tensor
    place: int

    @property
    def drops(self) -> bool:
        return self.rate > 0

    def of(self, rows: int) -> tuple[Tensor, int, int, float]:
        """Return what kernels that drop rows take."""
        return self.seeds, self.place, rows // len(self.seeds), self.rate


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
    bounds = np.cumsum(np.concatenate([[0], lengths, _filling(total, size, most)]))
    within = np.arange(size) - np.repeat(bounds[:-1], np.diff(bounds))
    ids = np.full(size, tokens.pad_id, dtype=np.int64)
    ids[:total] = tokens.ids[np.repeat(tokens.offsets[rows], lengths) + within[:total]]
    texts = rounded_texts(len(bounds) - 1)
    batch = {
        "input_ids": torch.from_numpy(ids)[None],
        "position_ids": torch.from_numpy(within + first_position)[None],
        LONGEST: max(LENGTH, 1 << (most - 1).bit_length()),
        BOUNDS: torch.from_numpy(_extended(bounds.astype(np.int32), texts + 1, size)),
    }
    if labels is not None:
        known = labels[rows].astype(np.float32 if labels.ndim == 2 else np.int64)  # several labels come as bool
        batch["labels"] = torch.from_numpy(_extended(known, texts, IGNORED))
    return batch


def _extended(x: NDArray[Any], length: int, value: int) -> NDArray[Any]:
    """Return x, (rows, ...), with more rows of a value. (numpy's own `pad` takes ten times as long.)"""
    longer = np.full((length, *x.shape[1:]), value, dtype=x.dtype)
    longer[: len(x)] = x
    return longer


def _filling(total: int, size: int, most: int) -> NDArray[np.int64]:
    """Return the lengths of the texts that fill so many tokens up to a size, none longer than `most`."""
    return np.diff(np.append(np.arange(total, size, most), size))


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
    known = ARCHITECTURES.get(config.model_type)
    return int(config.pad_token_id) + 1 if known and known.counts_from_padding else 0
