"""Token ids of a split: made once for a text, tokenizer and length, kept on disk, memory-mapped by every later run."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data import Split
from ftclf.storage.cache import cache_folder, missing, new_entry
from ftclf.storage.small_files import read_small_json
from ftclf.system.progress_bar import advance, phase

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 2000  # texts tokenised at a time: bounds the memory; more is no faster
CACHE_FORMAT = "3"


@dataclass
class Tokens:
    """Ids of all rows end to end, int32; row i is `ids[offsets[i]:offsets[i + 1]]`.

    `full` counts the rows that fill the length: longer texts were cut to it.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    full: int
    pad_id: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def padded(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return ids and attention mask of the rows, shape (rows, longest of them), int64."""
        starts, lengths = self.offsets[rows], self.lengths_of(rows)
        position = np.arange(lengths.max())
        mask = position < lengths[:, None]
        ids = np.full(mask.shape, self.pad_id, dtype=np.int64)
        ids[mask] = self.ids[(starts[:, None] + position)[mask]]
        return ids, mask.astype(np.int64)

    def lengths_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        lengths: NDArray[np.int64] = self.offsets[rows + 1] - self.offsets[rows]
        return lengths


def cached_tokens(split: Split, tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[Tokens, bool]:
    """Return the split's tokens and whether they were already on disk."""
    key = hashlib.sha256(
        json.dumps([CACHE_FORMAT, split.text_digest(), tokenizer_digest(tokenizer), max_length]).encode()
    ).hexdigest()
    folder = cache_folder() / "tokens" / key[:32]
    with missing(folder) as fresh:
        if fresh:
            with new_entry(folder) as beside, phase("tokenising", len(split)):
                _write(beside, split.texts, tokenizer, max_length)
    info = read_small_json(folder / "info.json")
    offsets = np.load(folder / "offsets.npy")
    ids = np.memmap(folder / "ids.bin", dtype=np.int32, mode="r", shape=(int(offsets[-1]),))
    return Tokens(ids, offsets, info["full"], info["pad_id"]), not fresh


def tokenise(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Tokens:
    """Tokenise in memory, for texts that are seen once."""
    ids, lengths = _encode(texts, tokenizer, max_length)
    return Tokens(ids, _offsets(lengths), int((lengths == max_length).sum()), _pad_id(tokenizer))


@functools.lru_cache(maxsize=1)
def tokenizer_digest(tokenizer: Any) -> str:
    """Return the SHA-256 of all that decides how a fast tokenizer turns texts into ids, in this version of its library.

    Its own truncation and padding are left out: they are the settings of its last call. Ours are the side that it cuts
    at and the id that it pads with.
    """
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content.update(truncation=None, padding=None)
    settings = [tokenizer.truncation_side, _pad_id(tokenizer), version("tokenizers")]
    return hashlib.sha256(json.dumps([content, settings], sort_keys=True).encode()).hexdigest()


def _write(folder: Path, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    lengths = []
    with (folder / "ids.bin").open("wb") as file:
        for start in range(0, len(texts), CHUNK):
            ids, found = _encode(texts[start : start + CHUNK], tokenizer, max_length)
            ids.tofile(file)
            lengths.append(found)
            advance(len(found))
    offsets = _offsets(np.concatenate(lengths))
    np.save(folder / "offsets.npy", offsets)
    full = int((np.diff(offsets) == max_length).sum())
    (folder / "info.json").write_text(json.dumps({"full": full, "pad_id": _pad_id(tokenizer)}))


def _encode(texts: Sequence[str], tokenizer: Any, max_length: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the ids of all texts end to end, and how many each has. The tokenizer works in threads of its own."""
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(max_length, direction=tokenizer.truncation_side)
    backend.no_padding()
    encoded = backend.encode_batch_fast(texts)
    lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
    tokens = chain.from_iterable(one.ids for one in encoded)
    return np.fromiter(tokens, dtype=np.int32, count=int(lengths.sum())), lengths


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _pad_id(tokenizer: Any) -> int:
    return int(tokenizer.pad_token_id or 0)
