"""How many rows each label is brought up to; of several labels per row the rarest counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data.label_sets import LabelSets
from ftclf.system.errors import ConfigError
from ftclf.system.text import counted


@dataclass(frozen=True)
class Need:
    """Rows that a label has, new rows that it needs, and how many more the target would take."""

    label: int
    rows: NDArray[np.int64]
    new: int
    short: int = 0


def label_of_row(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return the label that each row counts for, (rows,); -1 for a row without labels."""
    return labels if labels.ndim == 1 else LabelSets.of(labels).rarest()


def target_rows(target: str, counts: NDArray[np.int64]) -> int:
    """Return the rows that a target stands for, from those of each label."""
    if target == "max":
        return int(counts.max())
    if target == "median":
        return int(np.ceil(np.median(counts)))
    return int(np.ceil(float(target) * counts.max())) if "." in target else int(target)


def needs(target: str, labels: NDArray[Any], *, most_per_row: int) -> list[Need]:
    """Return what each label below the target needs, the rarest first.

    Raises ConfigError for a target that no label is below.
    """
    group = label_of_row(labels)
    names, counts = np.unique(group[group >= 0], return_counts=True)
    wanted = target_rows(target, counts)
    if wanted <= counts.min():
        got = target if target == str(wanted) else f"{target}, which is {counted(wanted, 'row')}"
        raise ConfigError(
            f"augment.target: got {got}: it adds nothing; the smallest class has {counted(int(counts.min()), 'row')}"
        )
    order = np.argsort(counts, kind="stable")
    below = [(int(names[place]), int(counts[place])) for place in order if counts[place] < wanted]
    return [
        Need(
            label,
            np.flatnonzero(group == label),
            min(wanted - count, most_per_row * count),
            max(0, wanted - count - most_per_row * count),
        )
        for label, count in below
    ]
