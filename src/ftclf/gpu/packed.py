"""Batches whose texts lie end to end, without padding: all are of a few sizes, whatever the lengths of their texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ftclf.losses import IGNORED
from ftclf.tokens import Tokens

BOUNDS, LONGEST = "cu_seq_lens_q", "max_length_q"  # as transformers calls them
SEEDS = "seeds"  # one of each training, for all that a step drops
TOKENS, TEXTS, LENGTH = 64, 64, 32  # the smallest sizes
JOINED = {"input_ids": 1, "position_ids": 1, "labels": 0, SEEDS: 0}  # by which dimension
MOST_ATTENDED = 128  # tokens of a text whose attention is computed at once: a larger matrix does not fit
COUNTED_FROM_PADDING = ("roberta", "xlm-roberta", "camembert")  # their first position is the one after padding's


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
        BOUNDS: torch.from_numpy(np.pad(bounds, (0, texts + 1 - len(bounds)), mode="edge").astype(np.int32)),
    }
    if labels is not None:
        more = [(0, texts - len(rows)), *[(0, 0)] * (labels.ndim - 1)]
        known = labels[rows].astype(np.float32 if labels.ndim == 2 else np.int64)  # several labels come as bool
        batch["labels"] = torch.from_numpy(np.pad(known, more, constant_values=IGNORED))
    return batch


def joined(batches: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the packed batches of several trainings as one, in which each has as many tokens, and as many texts.

    Each lies as it would alone, with more that fills up behind it.
    """
    size = max(batch["input_ids"].shape[1] for batch in batches)
    filling = [_filling(batch["input_ids"].shape[1], size, int(batch[BOUNDS].diff().max())) for batch in batches]
    most = max(_texts(batch) + len(more) for batch, more in zip(batches, filling, strict=True))
    texts = rounded_texts(most)
    longer = [_longer(batch, more, size, texts) for batch, more in zip(batches, filling, strict=True)]
    bounds = [one[BOUNDS][:-1] + number * size for number, one in enumerate(longer)]
    return {
        **{name: torch.cat([one[name] for one in longer], dim) for name, dim in JOINED.items()},
        BOUNDS: torch.cat([*bounds, torch.tensor([len(batches) * size], dtype=torch.int32)]),
        LONGEST: max(batch[LONGEST] for batch in batches),
    }


def _texts(batch: dict[str, Any]) -> int:
    """Return how many texts of a packed batch have tokens: those without come last."""
    return int((batch[BOUNDS] < batch["input_ids"].shape[1]).sum())


def _filling(total: int, size: int, most: int) -> NDArray[np.int64]:
    """Return the lengths of the texts that fill so many tokens up to a size, none longer than `most`."""
    return np.diff(np.append(np.arange(total, size, most), size))


def _longer(batch: dict[str, Any], filling: NDArray[np.int64], size: int, texts: int) -> dict[str, Any]:
    """Return a batch with such texts behind its own, and with texts of no token up to a number."""
    known, own = _texts(batch), batch[BOUNDS].numpy()
    within = np.concatenate([np.arange(length) for length in filling]) if len(filling) else np.zeros(0, np.int64)
    more = torch.from_numpy(within)[None] + batch["position_ids"][0, 0]
    bounds = np.concatenate([own[: known + 1], own[known] + np.cumsum(filling)])
    sides = [0, 0] * (batch["labels"].ndim - 1)
    return {
        "input_ids": functional.pad(batch["input_ids"], (0, len(within))),
        "position_ids": torch.cat([batch["position_ids"], more], 1),
        BOUNDS: torch.from_numpy(np.pad(bounds, (0, texts + 1 - len(bounds)), mode="edge").astype(np.int32)),
        "labels": functional.pad(batch["labels"], (*sides, 0, texts - len(batch["labels"])), value=IGNORED),
        SEEDS: batch[SEEDS],
    }


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
