"""What is kept of a benchmark: rows with their spread and goal, and the file that holds them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

AT_LEAST, AT_MOST, NO_WORSE = "at least", "at most", "no worse"
MEASURED, FAILED, OPEN = "measured", "failed", "open"


@dataclass(frozen=True)
class Goal:
    """What a figure should be. `no worse`: its interval holds the limit, or lies above it."""

    kind: str
    limit: float

    def reached(self, value: float, high: float) -> bool:
        match self.kind:
            case "at least":
                return value >= self.limit
            case "at most":
                return value <= self.limit
            case "no worse":
                return high >= self.limit
        raise ValueError(self.kind)


@dataclass(frozen=True)
class Spec:
    """One row of the table before it is measured. `unit` is `times` where the figure is a ratio to a peer."""

    name: str
    about: str
    unit: str = "times"
    peer: str | None = None
    goal: Goal | None = None


@dataclass(frozen=True)
class Figure:
    """A measured figure: the middle one, the lowest and the highest of `count`; or an estimate and its interval."""

    value: float
    low: float
    high: float
    count: int
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Row:
    """One row as it is kept. `ratio` and `value` are the same figure: by its unit it is the one or the other."""

    name: str
    about: str
    peer: str | None
    unit: str
    ratio: float | None
    value: float | None
    low: float | None
    high: float | None
    count: int
    goal: float | None
    goal_kind: str | None
    reached: bool | None
    status: str
    reason: str
    details: dict[str, Any]
    measured: dict[str, Any]


def spread(values: Sequence[float], **details: Any) -> Figure:
    """Return the median of several measurements, their range and their number."""
    return Figure(median(values), min(values), max(values), len(values), details)


def adjacent_ratios(upper: Sequence[float], lower: Sequence[float]) -> list[float]:
    """Return the ratio of each adjacent pair of measurements that were taken in turn: u1 l1 u2 l2 ...

    What drifts slowly (heat, another process) touches both of a pair alike.
    """
    pairs = [*zip(upper, lower, strict=True), *zip(upper[1:], lower[:-1], strict=True)]
    return [above / below for above, below in pairs]


def row(spec: Spec, figure: Figure, measured: dict[str, Any]) -> Row:
    """Return the row of a figure."""
    is_ratio, goal = spec.unit == "times", spec.goal
    value, low, high = (significant(number) for number in (figure.value, figure.low, figure.high))
    return Row(
        **_head(spec),
        ratio=value if is_ratio else None,
        value=None if is_ratio else value,
        low=low,
        high=high,
        count=figure.count,
        reached=None if goal is None else goal.reached(figure.value, figure.high),
        status=MEASURED,
        reason="",
        details=figure.details,
        measured=measured,
    )


def missing(spec: Spec, status: str, reason: str, measured: dict[str, Any] | None = None) -> Row:
    """Return the row of a figure that there is not, with the reason."""
    return Row(
        **_head(spec),
        ratio=None,
        value=None,
        low=None,
        high=None,
        count=0,
        reached=None,
        status=status,
        reason=reason,
        details={},
        measured=measured or {},
    )


def _head(spec: Spec) -> dict[str, Any]:
    goal = spec.goal
    return {
        "name": spec.name,
        "about": spec.about,
        "peer": spec.peer,
        "unit": spec.unit,
        "goal": goal.limit if goal else None,
        "goal_kind": goal.kind if goal else None,
    }


def significant(value: float, digits: int = 4) -> float:
    """Return a number with as many digits as a measurement is good for."""
    return float(f"{value:.{digits}g}")


def merged(before: dict[str, Any], head: dict[str, Any], rows: Iterable[Row], order: Sequence[str]) -> dict[str, Any]:
    """Return the content of the file with these rows in the place of older ones; rows that no plan knows are dropped.

    A row that was measured before is not replaced by one that was not even tried (`open`).
    """
    found = {one["name"]: one for one in before.get("rows", [])}
    for one in rows:
        if one.status != OPEN or found.get(one.name, {}).get("status") != MEASURED:
            found[one.name] = asdict(one)
    return {**head, "rows": [found[name] for name in order if name in found]}


def read(path: Path) -> dict[str, Any]:
    """Return the content of a results file, or nothing where there is none."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content


def write(path: Path, content: dict[str, Any]) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=".bench-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    Path(beside).chmod(0o644)
    Path(beside).replace(path)
