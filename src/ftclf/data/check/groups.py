"""Groups, as authors or threads, that stand on both sides of a split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ftclf.data import Data
from ftclf.data.check.all_rows import AllRows, shared_rows
from ftclf.data.check.finding import Finding, example

GRAVE = 0.01  # share of the later split's rows


def shared_groups(data: Data, column: str | None) -> Iterator[Finding]:
    """Yield for each two splits the rows whose value of `dataset.group_column` stands in both."""
    if column is None or any(split.groups is None for split in data.splits.values()):
        return
    rows = AllRows.of(data)
    group, empty = _groups(data, rows)
    for earlier, later in rows.pairs():
        found, _, count = shared_rows(group, rows.parts[earlier], rows.parts[later])
        count -= int(empty[rows.parts[later]].sum()) if empty[rows.parts[earlier]].any() else 0
        found = found[~empty[found]] - rows.parts[earlier].start
        yield _finding(data, column, (earlier, later), found, count)


def _groups(data: Data, rows: AllRows) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return a number for each row, equal where the group is, and which cells are empty."""
    known: dict[str, int] = {"": 0}
    cells = (" ".join(cell.split()) for name in rows.parts for cell in data.splits[name].groups or ())
    group = np.fromiter((known.setdefault(cell, len(known)) for cell in cells), np.int64)
    return group, group == 0


def _finding(data: Data, column: str, places: tuple[str, str], found: NDArray[np.int64], count: int) -> Finding:
    earlier, later = places
    cells = data.splits[earlier].groups
    assert cells is not None

    def reason(_: str, row: int) -> str:
        return f"{column} '{cells[row]}' also in {later}"

    of = len(data.splits[later])
    verdict = "error" if count >= GRAVE * of else "warning"
    advice = f"scores on {later} are of known ones; fix=FOLDER drops the {earlier} rows, or let ftclf cut the splits"
    return Finding(
        "groups",
        f"{later} rows whose {column} {earlier} has too",
        verdict if count else "ok",
        count,
        of,
        advice if count else "",
        [example(data, earlier, row, reason(earlier, row)) for row in found[:20].tolist()],
        {earlier: found},
        drop=True,
        figures={"column": column, "splits": list(places), "rows_to_drop": len(found)},
        why=reason,
    )
