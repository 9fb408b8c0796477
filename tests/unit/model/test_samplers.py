"""Samplers: which rows an epoch has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftclf.config import CappedSamplerConfig, SamplerConfig
from ftclf.data import Split
from ftclf.data.label_sets import LabelSets
from ftclf.data.text_store import write_texts
from ftclf.model.batches import TrainBatches
from ftclf.model.samplers import Sampler

COUNTS = (700, 200, 90, 10)
LABELS = np.repeat(np.arange(4), COUNTS)


def split_of(labels: Any) -> Split:
    return Split(write_texts(["x"] * len(labels)), np.asarray(labels))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SamplerConfig(), list(COUNTS)),
        (SamplerConfig(kind="balanced"), [250] * 4),
        (SamplerConfig(kind="sqrt"), [478, 255, 171, 57]),
        (CappedSamplerConfig(kind="capped", cap=90), [90, 90, 90, 10]),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_an_epoch_has_the_rows_that_a_sampler_says(config: SamplerConfig, expected: list[int]) -> None:
    if config.kind == "sqrt":
        roots = np.sqrt(COUNTS)
        expected = (1000 * roots / roots.sum()).tolist()
    sampler = Sampler(config, split_of(LABELS))
    rows = sampler.draw(np.random.default_rng(0))
    assert np.bincount(LABELS[rows], minlength=4).tolist() == pytest.approx(expected, abs=1)
    assert sampler.rows == pytest.approx(sum(expected), abs=1)


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=6),
    kind=st.sampled_from(["plain", "balanced", "sqrt", "capped"]),
    seed=st.integers(0, 99),
)
def test_no_row_is_drawn_twice_more_than_another_of_its_label(counts: list[int], kind: str, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    config = CappedSamplerConfig(kind=kind, cap=7) if kind == "capped" else SamplerConfig(kind=kind)
    sampler = Sampler(config, split_of(labels))
    rows = sampler.draw(np.random.default_rng(seed))
    assert len(rows) == sampler.rows
    times = np.bincount(rows, minlength=len(labels))
    for label in range(len(counts)):
        of_label = times[labels == label]
        assert of_label.sum() >= 1
        assert of_label.max() - of_label.min() <= 1


def test_of_several_labels_the_rarest_counts_and_rows_without_labels_are_a_group() -> None:
    truth = np.zeros((100, 2), dtype=bool)
    truth[:90, 0] = True  # 80 rows have the first label alone, 10 both, 10 none
    truth[80:90, 1] = True
    rows = Sampler(SamplerConfig(kind="balanced"), split_of(truth)).draw(np.random.default_rng(0))
    groups = [(rows < 80).sum(), ((rows >= 80) & (rows < 90)).sum(), (rows >= 90).sum()]
    assert groups == pytest.approx([33, 33, 33], abs=1)


def test_batches_hold_the_rows_of_the_sampler_and_each_epoch_draws_others() -> None:
    sampler = Sampler(CappedSamplerConfig(kind="capped", cap=90), split_of(LABELS))
    lengths = np.random.default_rng(0).integers(3, 40, len(LABELS))
    batches = TrainBatches(lengths, 16, seed=1, kind="by_tokens", sampler=sampler)
    first = sorted(row for batch in batches for row in batch)
    assert (len(first), len(list(batches)), len(batches)) == (280, 18, 18)
    assert first == sorted(row for batch in batches for row in batch)
    batches.set_epoch(1)
    assert first != sorted(row for batch in batches for row in batch)


@pytest.mark.parametrize("several", [False, True])
def test_the_rows_of_each_label_in_an_epoch_are_those_that_are_drawn(several: bool) -> None:
    labels = np.stack([LABELS == 0, LABELS <= 1, LABELS == 2, LABELS == 3], axis=1) if several else LABELS
    sampler = Sampler(SamplerConfig(kind="balanced"), split_of(labels))
    drawn = sampler.draw(np.random.default_rng(0))
    sets = LabelSets.of(labels, 4)
    found = LabelSets.of(labels[drawn], 4).per_label
    assert sampler.label_rows(sets) == pytest.approx(found, abs=2)
