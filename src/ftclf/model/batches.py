"""Which rows go into one batch, in which order, and what a network gets of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.model.samplers import Sampler
from ftclf.model.tokens import Tokens

IGNORED = -100  # the label of a row that only fills up a batch; torch's own for cross entropy
POOL = 50  # batches whose rows are sorted by length together: little padding, and still well mixed

Rows = NDArray[np.int64]


class TrainBatches:
    """Batches of rows for one epoch, a pure function of (seed, epoch): a resumed run sees the same ones.

    There are always ceil(rows / batch_size) of them, for the rows of an epoch that a sampler draws; without one, all.
    random: rows are shuffled and cut into batches of batch_size.
    by_length: shuffled rows are sorted by length within pools of `POOL` batches, and the batches are shuffled.
    by_tokens: the same, but the batches of a pool have the same number of tokens, and batch_size rows on average; the
        numbers of rows are even, so that two cores share a batch equally.
    """

    def __init__(self, lengths: Rows, batch_size: int, *, seed: int, kind: str, sampler: Sampler | None = None) -> None:
        self.lengths, self.batch_size, self.seed, self.kind = lengths, batch_size, seed, kind
        self.sampler = sampler
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration gives; the Trainer calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        rows = self.sampler.rows if self.sampler else len(self.lengths)
        return -(-rows // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng([self.seed, self.epoch])
        rows = self.sampler.draw(random) if self.sampler else random.permutation(len(self.lengths))
        if self.kind == "random":
            batches = _cut_by_rows(rows, self.batch_size)
        else:
            batches = [batch for pool in _cut_by_rows(rows, POOL * self.batch_size) for batch in self._sorted(pool)]
            batches = [batches[index] for index in random.permutation(len(batches))]
        for batch in batches:
            yield batch.tolist()

    def _sorted(self, pool: Rows) -> list[Rows]:
        rows = pool[np.argsort(self.lengths[pool], kind="stable")]
        if self.kind == "by_length":
            return _cut_by_rows(rows, self.batch_size)
        return _cut_by_tokens(rows, self.lengths[rows], -(-len(rows) // self.batch_size))


def rows_per_batch(rows: int, batch_size: int) -> float:
    """Return how many rows a batch holds on average: fewer than batch_size where that does not divide the rows."""
    return rows / -(-rows // batch_size)


def eval_batches(lengths: Rows, batch_size: int) -> list[Rows]:
    """Return batches of like length and about as many tokens as batch_size rows of mean length have.

    The longest come first: memory runs out at once or not at all.
    """
    rows = np.argsort(-lengths, kind="stable")
    tokens = batch_size * float(lengths.mean()) if len(lengths) else 0.0
    batches, start = [], 0
    while start < len(rows):
        size = max(1, int(tokens // lengths[rows[start]]))
        batches.append(rows[start : start + size])
        start += size
    return batches


def _cut_by_rows(rows: Rows, size: int) -> list[Rows]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _cut_by_tokens(rows: Rows, lengths: Rows, batches: int) -> list[Rows]:
    """Cut sorted rows into so many batches of as equal numbers of tokens as pairs of rows allow; none is empty."""
    ends = np.cumsum(lengths)
    number = np.arange(1, batches)
    bounds = np.searchsorted(ends, ends[-1] * number / batches, side="left") + 1
    bounds = 2 * np.round(bounds / 2).astype(np.int64)
    bounds = np.maximum.accumulate(np.maximum(bounds, number) - number) + number
    return np.split(rows, np.minimum(bounds, len(rows) - batches + number))


def model_inputs(tokens: Tokens, rows: NDArray[np.int64], device: str) -> dict[str, Any]:
    """Return the padded rows as the network takes them."""
    import torch

    ids, mask = tokens.padded(rows)
    return {
        "input_ids": torch.from_numpy(ids).to(device),
        "attention_mask": torch.from_numpy(mask).to(device),
    }
