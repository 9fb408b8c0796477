"""Token ids of a split: made once for a text, tokenizer and length, kept on disk, memory-mapped by every later run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data import Split

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 10_000  # texts tokenised at a time: bounds the memory
CACHE_FORMAT = "2"


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
    known = (folder / "info.json").is_file()
    if not known:
        _write(folder, split.texts, tokenizer, max_length)
    info = json.loads((folder / "info.json").read_text())
    offsets = np.load(folder / "offsets.npy")
    ids = np.memmap(folder / "ids.bin", dtype=np.int32, mode="r", shape=(int(offsets[-1]),))
    return Tokens(ids, offsets, info["full"], info["pad_id"]), known


def tokenise(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Tokens:
    """Tokenise in memory, for texts that are seen once."""
    rows = _encode(texts, tokenizer, max_length)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    ids = np.fromiter((token for row in rows for token in row), dtype=np.int32, count=int(offsets[-1]))
    return Tokens(ids, offsets, 0, _pad_id(tokenizer))


def tokenizer_digest(tokenizer: Any) -> str:
    """Return the SHA-256 of all that decides how a fast tokenizer cuts a text.

    Truncation and padding are left out: they are the settings of its last call, not of the tokenizer.
    """
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content.update(truncation=None, padding=None)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def cache_folder() -> Path:
    """Return $FTCLF_CACHE, else the user's cache folder."""
    if given := os.environ.get("FTCLF_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "ftclf"


def _write(folder: Path, texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """Write beside the cache and rename: another process sees the whole entry or none."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix="."))
    try:
        lengths: list[int] = []
        with (beside / "ids.bin").open("wb") as file:
            for start in range(0, len(texts), CHUNK):
                rows = _encode(texts[start : start + CHUNK], tokenizer, max_length)
                lengths += [len(row) for row in rows]
                file.write(np.fromiter((token for row in rows for token in row), dtype=np.int32).tobytes())
        np.save(beside / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        full = int(np.sum(np.array(lengths) == max_length))
        (beside / "info.json").write_text(json.dumps({"full": full, "pad_id": _pad_id(tokenizer)}))
        try:
            beside.rename(folder)
        except OSError:
            if not (folder / "info.json").is_file():  # else another process was faster: its entry is the same
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _encode(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[list[int]]:
    encoded = tokenizer(
        texts,
        truncation=True,
        max_length=max_length,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    return encoded["input_ids"]  # type: ignore[no-any-return]


def _pad_id(tokenizer: Any) -> int:
    return int(tokenizer.pad_token_id or 0)
