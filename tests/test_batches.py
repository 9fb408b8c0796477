from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ftclf.batches import TrainBatches, eval_batches

LENGTHS = st.lists(st.integers(1, 128), min_size=1, max_size=300).map(np.array)


@settings(deadline=None)
@given(lengths=LENGTHS, size=st.integers(1, 40), seed=st.integers(0, 9), by_length=st.booleans())
def test_every_row_is_seen_once_an_epoch(lengths: np.ndarray, size: int, seed: int, by_length: bool) -> None:
    batches = TrainBatches(lengths, size, seed=seed, by_length=by_length)
    seen = [row for batch in batches for row in batch]
    assert sorted(seen) == list(range(len(lengths)))
    assert len(list(batches)) == len(batches)
    assert all(len(batch) <= size for batch in batches)


def test_an_epochs_batches_depend_on_seed_and_epoch_alone() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 500)

    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = TrainBatches(lengths, 16, seed=seed, by_length=True)
        batches.set_epoch(epoch)
        return list(batches)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_batches_by_length_hardly_pad() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 6400)

    def padded(by_length: bool) -> float:
        batches = TrainBatches(lengths, 32, seed=0, by_length=by_length)
        return sum(len(batch) * lengths[batch].max() for batch in batches) / lengths.sum()

    assert padded(by_length=True) < 1.1
    assert padded(by_length=False) > 1.7


@given(lengths=LENGTHS, size=st.integers(1, 40))
def test_evaluation_sees_every_row_once_the_longest_first(lengths: np.ndarray, size: int) -> None:
    batches = eval_batches(lengths, size)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert lengths[batches[0][0]] == lengths.max()
    assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= size * lengths.mean() for batch in batches)
