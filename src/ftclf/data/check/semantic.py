"""Texts of like meaning: rows whose vectors, as the encoder makes them, point nearly the same way."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ftclf.data import Data
from ftclf.data.check.all_rows import AllRows
from ftclf.data.check.duplicates import equal_labels, equal_texts, findings_of_pairs
from ftclf.data.check.finding import Finding
from ftclf.data.check.near import Pairs, normalised
from ftclf.system.progress_bar import advance, phase

BLOCK = 4096  # rows against rows: 64 MB of products
NEIGHBOURS = 32  # first and last pairs of a row per block: texts of one form would have millions


def semantic_duplicates(data: Data, vectors: dict[str, NDArray[np.float32]], similarity: float) -> Iterator[Finding]:
    """Yield what is found inside splits and across them, by vectors of length 1 for the rows of each split.

    Texts that are equal but for case, spaces and punctuation are left to the other checks.
    """
    rows = AllRows.of(data)
    group = equal_texts(map(normalised, rows.texts(data)))
    _, first = np.unique(group, return_index=True)
    of_group = np.concatenate([vectors[split] for split in rows.parts])[first]
    yield from findings_of_pairs(
        data, rows, "semantic", similar_pairs(of_group, similarity), group, equal_labels(data, rows)
    )


def similar_pairs(vectors: NDArray[np.float32], similarity: float) -> Pairs:
    """Return the pairs of rows whose cosine is `similarity` or more, the lower number first.

    All are compared with all, block by block; of a row's pairs in a block the first NEIGHBOURS count, and the last:
    among the rows of several splits, those are of other splits than the first.
    """
    starts = range(0, len(vectors), BLOCK)
    pairs = [np.empty((0, 2), np.int64)]
    with phase("comparing meanings", len(vectors)):
        for top in starts:
            rows = vectors[top : top + BLOCK]
            for left in starts[top // BLOCK :]:
                alike = rows @ vectors[left : left + BLOCK].T >= similarity
                if left == top:
                    alike = np.triu(alike, 1)
                one, two = np.nonzero(alike)
                near = _ends(one)
                order = np.argsort(two, kind="stable")
                near[order] |= _ends(two[order])
                pairs.append(np.stack([one[near] + top, two[near] + left], axis=1))
            advance(len(rows))
    return np.concatenate(pairs)


def _ends(sorted_rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which places are among the first or the last NEIGHBOURS of their row."""
    here = np.arange(len(sorted_rows))
    after = here - np.searchsorted(sorted_rows, sorted_rows)
    before = np.searchsorted(sorted_rows, sorted_rows, side="right") - 1 - here
    return np.asarray(np.minimum(after, before) < NEIGHBOURS)
