"""Scores, baselines and differences in the words of a report."""

from __future__ import annotations

from typing import Any

from ftclf.config import HEADLINES, LOWER_IS_BETTER
from ftclf.system.tables import Column, Table
from ftclf.system.text import number


def score_name(name: str) -> str:
    """Return macro F1 for macro_f1."""
    return " ".join({"f1": "F1", "auroc": "AUROC"}.get(word, word) for word in name.split("_"))


def baseline_name(name: str) -> str:
    """Return TF-IDF for tfidf, as it stands inside a sentence."""
    known = {"tfidf": "TF-IDF", "majority": "the most frequent label", "frozen_encoder": "the frozen encoder"}
    return known.get(name, name.replace("_", " "))


def signed(value: float, score: str) -> str:
    """Return a difference with its sign, scores between 0 and 1 in points (hundredths)."""
    sign = "+" if value > 0 else ""
    return f"{sign}{number(value)}" if score == "log_loss" else f"{sign}{number(100 * value, 1)}"


def difference(found: list[float], score: str, *, unit: str = " points") -> str:
    """Return +4.1 points [2.9, 5.3]."""
    value, low, high = found
    unit = "" if score == "log_loss" else unit
    return f"{signed(value, score)}{unit} [{signed(low, score).lstrip('+')}, {signed(high, score).lstrip('+')}]"


def verdict(found: list[float], score: str) -> str:
    """Say better, worse or inconclusive: whether the interval of a difference holds 0."""
    _, low, high = found
    if low <= 0 <= high:
        return "inconclusive"
    return "better" if (low > 0) != (score in LOWER_IS_BETTER) else "worse"


def against(found: list[float], score: str, name: str) -> str:
    """Return `4.1 points above TF-IDF [2.9, 5.3]`: how a run does against a baseline."""
    value, low, high = found
    how = verdict(found, score)
    if how == "inconclusive":
        return f"{how} against {name}: {difference(found, score)}"
    size, _, bounds = difference([abs(value), *sorted((abs(low), abs(high)))], score).lstrip("+").partition(" [")
    return f"{size} {'above' if value > 0 else 'below'} {name} [{bounds}"


def headline_table(metrics: dict[str, Any], split: str, task: str, *, title: str) -> Table:
    """Return the headline scores of a split beside their intervals; of a run, validation and the baselines too."""
    names = HEADLINES[task]
    scores, intervals = metrics[split], metrics[split].get("intervals", {})
    bounds = [intervals.get(name) for name in names]
    columns = [
        Column("", [score_name(name) for name in names]),
        Column(split, [_digits(scores[name]) for name in names], numeric=True),
        Column("95 % interval", [f"{_digits(b[0])} to {_digits(b[1])}" if b else "" for b in bounds]),
    ]
    if split == "test" and "validation" in metrics:
        cells = [_digits(metrics["validation"].get(name)) for name in names]
        columns.append(Column("validation", cells, numeric=True, spare=1))
    short = {"majority": "majority", "frozen_encoder": "frozen encoder"}
    for place, (name, found) in enumerate(metrics.get("baselines", {}).items(), 2):
        cells = [_digits(found["scores"].get(score)) for score in names]
        columns.append(Column(short.get(name, baseline_name(name)), cells, numeric=True, spare=place))
    return Table(columns, title)


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:z.4f}"
