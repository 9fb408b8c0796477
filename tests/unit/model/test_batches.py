from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ftclf.model.batches import TrainBatches, eval_batches

KINDS = ("by_tokens", "by_length", "random")
LENGTHS = st.lists(st.integers(1, 128), min_size=1, max_size=300).map(np.array)


@settings(deadline=None)
@given(lengths=LENGTHS, size=st.integers(1, 40), seed=st.integers(0, 9), kind=st.sampled_from(KINDS))
def test_every_row_is_seen_once_an_epoch(lengths: np.ndarray, size: int, seed: int, kind: str) -> None:
    batches = TrainBatches(lengths, size, seed=seed, kind=kind)
    seen = [row for batch in batches for row in batch]
    assert sorted(seen) == list(range(len(lengths)))
    assert len(list(batches)) == len(batches)
    assert all(len(batch) >= 1 for batch in batches)
    assert kind == "by_tokens" or all(len(batch) <= size for batch in batches)


def test_batches_by_tokens_have_like_tokens_and_the_wanted_rows_on_average() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 6400)
    batches = list(TrainBatches(lengths, 32, seed=0, kind="by_tokens"))
    tokens = [lengths[batch].sum() for batch in batches]
    assert np.std(tokens) < 0.05 * np.mean(tokens)
    assert np.mean([len(batch) for batch in batches]) == 32
    assert min(len(batch) for batch in batches) < 20 < 60 < max(len(batch) for batch in batches)


def test_batches_by_tokens_have_even_numbers_of_rows_where_they_can() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 6400)
    assert all(len(batch) % 2 == 0 for batch in TrainBatches(lengths, 32, seed=0, kind="by_tokens"))
    assert {len(batch) for batch in TrainBatches(lengths, 1, seed=0, kind="by_tokens")} == {1}


def test_an_epochs_batches_depend_on_seed_and_epoch_alone() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 500)

    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = TrainBatches(lengths, 16, seed=seed, kind="by_tokens")
        batches.set_epoch(epoch)
        return list(batches)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_batches_by_length_hardly_pad() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 6400)

    def padded(kind: str) -> float:
        batches = TrainBatches(lengths, 32, seed=0, kind=kind)
        return sum(len(batch) * lengths[batch].max() for batch in batches) / lengths.sum()

    assert padded("by_tokens") < 1.1
    assert padded("by_length") < 1.1
    assert padded("random") > 1.7


@given(lengths=LENGTHS, size=st.integers(1, 40))
def test_evaluation_sees_every_row_once_the_longest_first(lengths: np.ndarray, size: int) -> None:
    batches = eval_batches(lengths, size)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert lengths[batches[0][0]] == lengths.max()
    assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= size * lengths.mean() for batch in batches)
