"""Scores on parts of the test rows: by length, by how frequent a label is, by the data's own columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data.label_sets import LabelSets
from ftclf.report.material import Material
from ftclf.report.scores import scored
from ftclf.score.bootstrap import draw_scores, wilson
from ftclf.score.predictions import StoredPredictions

DRAWS = 300  # enough for a table, and a third of the time
MOST_VALUES = 20  # of one column

Rows = NDArray[np.bool_]


@dataclass
class Slice:
    """Some of the test rows, and the labels that count on them (None: all)."""

    name: str
    rows: Rows
    labels: NDArray[np.int64] | None = None


def slices(material: Material) -> dict[str, Any] | None:
    """Return a table for each way to cut the test rows into parts."""
    found = material.predictions
    if found is None:
        return None
    tables = {
        "By text length": list(_by_length(found)),
        "By how frequent the true label is": list(_by_frequency(found, material)),
        **{f"By column {name}": list(_by_column(values)) for name, values in found.columns.items()},
    }
    cut = [
        {"title": title, "rows": [_scored(found, part, several=material.several) for part in parts]}
        for title, parts in tables.items()
        if len(parts) > 1
    ]
    names = ["exactly right", "micro F1"] if material.several else ["accuracy"]
    return {"names": names, "tables": cut} if cut else None


def _scored(found: StoredPredictions, part: Slice, *, several: bool) -> dict[str, Any]:
    rows, hits = int(part.rows.sum()), int(found.right[part.rows].sum())
    scores = {"right": hits / rows, "intervals": {"right": wilson(hits, rows)}}
    cells = [scored(scores, "right"), *([_micro_f1(found, part)] if several else [])]
    return {"name": part.name, "rows": rows, "cells": cells}


def _micro_f1(found: StoredPredictions, part: Slice) -> dict[str, Any]:
    """Score all labels on the slice's rows; its labels, where it has some, on all: any row may be a false alarm."""
    chosen, targets = (_cut(sets, part) for sets in (found.chosen, found.targets))
    draws = draw_scores(chosen, targets, np.zeros(len(targets)), draws=DRAWS)
    return scored({**draws.observed, "intervals": draws.intervals()[0]}, "micro_f1")


def _cut(sets: LabelSets, part: Slice) -> LabelSets:
    return sets.take(part.rows) if part.labels is None else sets.only(part.labels)


def _by_length(found: StoredPredictions) -> Iterator[Slice]:
    words = np.array([len(text.split()) for text in found.texts])
    quarter = np.searchsorted(np.unique(np.quantile(words, [0.25, 0.5, 0.75])), words, side="left")
    for index in np.unique(quarter):
        rows = quarter == index
        yield Slice(f"{_range(words[rows].min(), words[rows].max())} words", rows)


def _by_frequency(found: StoredPredictions, material: Material) -> Iterator[Slice]:
    """Yield thirds of the labels (halves of two) by their test rows."""
    order = np.argsort(material.support, kind="stable")
    names = ("rare", "middle", "common") if len(order) > 2 else ("rare", "common")
    for name, labels in zip(names, np.array_split(order, len(names)), strict=True):
        rows = found.targets.only(np.sort(labels)).per_row > 0
        if rows.any():
            low, high = (material.support[labels[end]] for end in (0, -1))
            yield Slice(f"{name}: {_range(low, high)} rows per label", rows, np.sort(labels))


def _range(low: int, high: int) -> str:
    return f"{low}–{high}" if low < high else str(low)


def _by_column(values: list[str | None]) -> Iterator[Slice]:
    column = [value or "(empty)" for value in values]
    counts = Counter(column)
    for value, _ in counts.most_common(MOST_VALUES):
        yield Slice(value, np.array([found == value for found in column], dtype=bool))
    rest = {value for value, _ in counts.most_common()[MOST_VALUES:]}
    if rest:
        yield Slice(f"(the {len(rest)} others)", np.array([found in rest for found in column]))
