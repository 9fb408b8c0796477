"""Which rows go into one batch, and in which order: the only place that decides it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

POOL = 50  # batches whose rows are sorted by length together: little padding, and still well mixed


class TrainBatches:
    """Batches of rows for one epoch, a pure function of (seed, epoch): a resumed run sees the same ones.

    by_length: rows are shuffled, sorted by length within pools of `POOL` batches, and the batches are shuffled.
    """

    def __init__(self, lengths: NDArray[np.int64], batch_size: int, *, seed: int, by_length: bool) -> None:
        self.lengths, self.batch_size, self.seed, self.by_length = lengths, batch_size, seed, by_length
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration gives; the Trainer calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng([self.seed, self.epoch])
        rows = random.permutation(len(self.lengths))
        if self.by_length:
            pool = POOL * self.batch_size
            pools = [rows[start : start + pool] for start in range(0, len(rows), pool)]
            rows = np.concatenate([part[np.argsort(self.lengths[part], kind="stable")] for part in pools])
        batches = [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]
        order = random.permutation(len(batches)) if self.by_length else np.arange(len(batches))
        for index in order:
            yield batches[index].tolist()


def eval_batches(lengths: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Return batches of like length, `batch_size` rows on average and all of about the same number of tokens.

    The longest come first: memory runs out at once or not at all.
    """
    rows = np.argsort(-lengths, kind="stable")
    tokens = batch_size * lengths.mean()
    batches, start = [], 0
    while start < len(rows):
        size = max(1, int(tokens / lengths[rows[start]]))
        batches.append(rows[start : start + size])
        start += size
    return batches
