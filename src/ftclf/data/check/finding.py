"""What a check says: a verdict, how many rows it concerns, examples, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data import Data, Split

VERDICTS = ("ok", "note", "warning", "error")  # in rising order; the last two fail `strict`
MOST_EXAMPLES = 20  # that are kept; the terminal shows two


@dataclass
class Example:
    """A row, or a place in it, that a finding is about."""

    split: str
    row: int  # in the split, from 0
    place: str  # as in train.tsv:127
    text: str
    labels: list[str]
    why: str = ""  # what is wrong with this row, as in `also in test.tsv:12`


@dataclass
class Finding:
    """One line of the table. `rows` are all rows concerned, by split: what `fix` may drop or change."""

    check: str  # family, as in duplicates
    title: str  # what was looked for, as in `texts of train that test has too`
    verdict: str
    count: int = 0  # rows, labels, pairs: whatever the title counts
    of: int = 0  # how many there are
    advice: str = ""
    examples: list[Example] = field(default_factory=list)
    rows: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    drop: bool = False  # fix leaves `rows` out
    figures: dict[str, Any] = field(default_factory=dict)  # more numbers, for the page and check.json
    why: Callable[[str, int], str] | None = None  # of a row of `rows`: the reason that fix writes beside it

    def as_json(self) -> dict[str, Any]:
        """Return all but the rows."""
        kept = {name: value for name, value in vars(self).items() if name not in ("examples", "rows", "drop", "why")}
        return {**kept, "examples": [asdict(example) for example in self.examples]}


def example(data: Data, split: str, row: int, why: str = "") -> Example:
    """Return a row as an example."""
    rows = data.splits[split]
    return Example(split, row, place_of(rows, split, row), rows.texts[row], labels_of(data, split, row), why)


def examples(data: Data, rows: dict[str, NDArray[np.int64]], why: str = "") -> list[Example]:
    """Return the first rows of each split as examples."""
    pairs = ((split, int(row)) for split, found in rows.items() for row in found[:MOST_EXAMPLES])
    return [example(data, split, row, why) for split, row in pairs][:MOST_EXAMPLES]


def place_of(rows: Split, split: str, row: int) -> str:
    """Return where a row stands in its source."""
    if rows.places is None:
        return f"{split}, row {row + 1}"
    return rows.places.named(slice(row, row + 1))[0]


def labels_of(data: Data, split: str, row: int) -> list[str]:
    """Return the names of a row's labels."""
    labels = data.splits[split].labels
    ids = np.flatnonzero(labels[row]) if labels.ndim == 2 else [labels[row]]
    return [data.label_names[label] for label in ids]


def count_rows(rows: dict[str, NDArray[np.int64]]) -> int:
    return sum(len(found) for found in rows.values())


def all_rows(data: Data) -> int:
    return sum(len(split) for split in data.splits.values())


def worst(findings: Iterable[Finding]) -> str:
    """Return the gravest verdict."""
    return max((finding.verdict for finding in findings), key=VERDICTS.index, default="ok")


def texts_with_rows(data: Data) -> Iterator[tuple[str, int, str]]:
    """Yield split, row and text of every row."""
    for name, split in data.splits.items():
        for row, text in enumerate(split.texts):
            yield name, row, text
