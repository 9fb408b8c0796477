"""Batches whose texts lie end to end, without padding: all are of a few sizes, whatever the lengths of their texts.

A GPU chooses and loads a kernel for every size of product that it meets first, and a step is recorded for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ftclf.fused import can_fuse, encoder_of, reads_first_token
from ftclf.losses import IGNORED
from ftclf.tokens import Tokens

ATTENTION = "ftclf_packed"
BOUNDS, LONGEST = "cu_seq_lens_q", "max_length_q"  # as transformers calls them on their way to the attention
TOKENS, TEXTS = 64, 32  # sizes are multiples of these, at least
COUNTED_FROM_PADDING = ("roberta", "xlm-roberta", "camembert")  # their first position is the one after padding's


def can_pack(network: nn.Module) -> bool:
    """Return whether the network's attention and the way it reads the first tokens are known."""
    return can_fuse(network) and reads_first_token(network)


def pack(
    tokens: Tokens, rows: NDArray[np.int64], labels: NDArray[Any], first_position: int, longest: int
) -> dict[str, Tensor]:
    """Return the rows end to end, as the network takes them, filled up to one of a few sizes.

    Ids and positions have the shape (1, tokens); text i reaches from `bounds[i]` to `bounds[i + 1]`; labels have a row
    for each text. What fills up are texts of padding, of `longest` tokens at most, that no loss counts.
    """
    lengths = tokens.lengths_of(rows)
    total = int(lengths.sum())
    size = rounded_tokens(total)
    filling = np.diff(np.append(np.arange(total, size, longest), size))
    bounds = np.cumsum(np.concatenate([[0], lengths, filling]))
    within = np.arange(size) - np.repeat(bounds[:-1], np.diff(bounds))
    ids = np.full(size, tokens.pad_id, dtype=np.int64)
    ids[:total] = tokens.ids[np.repeat(tokens.offsets[rows], lengths) + within[:total]]
    texts = rounded_texts(len(bounds) - 1)
    more = [(0, texts - len(rows)), *[(0, 0)] * (labels.ndim - 1)]
    labels = np.pad(labels[rows], more, constant_values=IGNORED)
    return {
        "input_ids": torch.from_numpy(ids)[None],
        "position_ids": torch.from_numpy(within + first_position)[None],
        BOUNDS: torch.from_numpy(np.pad(bounds, (0, texts + 1 - len(bounds)), mode="edge").astype(np.int32)),
        "labels": torch.from_numpy(labels).float() if labels.ndim == 2 else torch.from_numpy(labels),
    }


def rounded_tokens(count: int) -> int:
    """Return the next size: a multiple of 64, or of a sixteenth of the next power of two where that is more."""
    step = max(TOKENS, (1 << count.bit_length()) >> 5)
    return -(-count // step) * step


def rounded_texts(count: int) -> int:
    """Return the next power of two: texts without a token cost nothing but their place in the head."""
    return max(TEXTS, 1 << (count - 1).bit_length())


def first_position(network: Any, pad_id: int) -> int:
    """Return the position that the network gives to the first token of a text."""
    config = network.config
    return pad_id + 1 if config.model_type in COUNTED_FROM_PADDING else 0


@contextmanager
def packed_attention(network: Any) -> Iterator[None]:
    """Let the network take packed batches besides padded ones while the block runs."""
    AttentionInterface.register(ATTENTION, attend)
    AttentionMaskInterface.register(ATTENTION, _mask)
    config = network.config
    before, config._attn_implementation = config._attn_implementation, ATTENTION
    hook = encoder_of(network).register_forward_hook(_first_tokens, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
        config._attn_implementation = before


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Return the attention of each text to itself, shape (1, tokens, heads, width); padded batches go to torch's."""
    if (bounds := options.get(BOUNDS)) is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)  # type: ignore[arg-type]
    dropout, scale = options.get("dropout", 0.0), options.get("scaling")
    q, k, v = (one[0].transpose(0, 1) for one in (query, key, value))
    if q.is_cuda:
        longest = options[LONGEST]
        flash = torch.ops.aten._flash_attention_forward
        y = flash(q, k, v, bounds, bounds, longest, longest, dropout, False, False, scale=scale)[0]
        return y[None], None
    texts = [slice(start, end) for start, end in torch.stack([bounds[:-1], bounds[1:]], 1).tolist() if end > start]
    parts = [
        functional.scaled_dot_product_attention(
            *(one[text].transpose(0, 1)[None] for one in (q, k, v)), dropout_p=dropout, scale=scale
        )
        for text in texts
    ]
    return torch.cat(parts, 2).transpose(1, 2), None


def _mask(*words: Any, **options: Any) -> Tensor | None:
    return None if options.get("attention_mask") is None else sdpa_mask(*words, **options)


def _first_tokens(module: nn.Module, args: Any, options: dict[str, Any], output: Any) -> Any:
    """Give the encoder's output the shape of a batch of texts of one token, which is all that the head reads."""
    if (bounds := options.get(BOUNDS)) is not None:
        found = output.last_hidden_state
        output.last_hidden_state = found[0, bounds[:-1].long().clamp(max=found.shape[1] - 1)][:, None]
    return output
