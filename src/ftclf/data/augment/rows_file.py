"""Rows written by others: by back-translation, a language model or a person."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from ftclf.config import DatasetConfig
from ftclf.data.augment.held_out import HeldOut, place_of
from ftclf.data.augment.targets import label_of_row, needs
from ftclf.data.check.near import normalised
from ftclf.data.dataset import Split
from ftclf.data.layout import fitted_layout
from ftclf.data.load import load_more
from ftclf.system.errors import DataError
from ftclf.system.text import counted


def read_rows_file(path: Path, config: DatasetConfig, label_names: list[str], held_out: HeldOut) -> Split:
    """Read a file of rows in the columns of a data set.

    Raises DataError for an unknown label, and for a row that is, or is nearly, one of validation or test.
    """
    try:
        split = load_more(path, fitted_layout(path, config, {}), label_names)
    except DataError as error:
        raise DataError(f"augment.rows: {error}") from error
    matches = [(row, match) for row, text in enumerate(split.texts) if (match := held_out.match(text))]
    if matches:
        row, match = matches[0]
        others = f", and {counted(len(matches) - 1, 'other row')} of it too" if len(matches) > 1 else ""
        raise DataError(
            f"augment.rows: {place_of(split, row)} is like {match}{others}; take out what is in validation or test"
        )
    return split


def chosen_rows(split: Split, train: Split, target: str, *, seed: int) -> NDArray[np.int64]:
    """Return the rows of a file that are trained on: texts that train does not have, up to the target of each label."""
    seen = {hash(normalised(text)) for text in train.texts}
    fresh = []
    for row, text in enumerate(split.texts):
        if (key := hash(normalised(text))) not in seen:
            seen.add(key)
            fresh.append(row)
    rows = np.array(fresh, dtype=np.int64)
    if target == "all":
        return rows
    group = label_of_row(np.concatenate([train.labels, split.labels]))[len(train) :]
    chosen: list[int] = []
    for need in needs(target, train.labels, most_per_row=len(split) + 1):
        of_label = [row for row in fresh if group[row] == need.label]
        chosen += Random(f"{seed} {need.label}").sample(of_label, min(need.new, len(of_label)))
    return np.array(sorted(chosen), dtype=np.int64)
