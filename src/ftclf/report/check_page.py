"""The page of `ftclf check`: facts on top, then a section for each family of checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ftclf.data import Data
from ftclf.data.check.finding import VERDICTS, Finding
from ftclf.report.charts import Histogram
from ftclf.report.check_table import share, tally, tally_words
from ftclf.report.page import fill_template
from ftclf.system.text import common_labels, count, counted, cut, number, opened, percent

GENERATOR = '<meta name="generator" content="ftclf check">'
MOST_LABELS = 500  # rows of the table of labels
FIRST_EXAMPLES = 3  # of a finding that are open
SEARCHED = 10  # rows of a table from which on it can be searched
TITLES = {
    "duplicates": "Duplicates",
    "labels": "Labels",
    "groups": "Groups and time",
    "texts": "Texts",
    "lengths": "Lengths in tokens",
    "shortcuts": "Shortcuts",
    "wrong_labels": "Wrong labels",
}
FACTS = 3  # findings at the top


@dataclass(frozen=True)
class Part:
    """A finding as the page shows it."""

    key: str
    finding: Finding
    share: str
    numbers: list[tuple[str, str]]
    tables: list[dict[str, Any]]
    figures: list[dict[str, Any]]
    first: list[dict[str, Any]]  # examples
    more: list[dict[str, Any]]

    @property
    def empty(self) -> bool:
        """Whether its line in the overview says all of it."""
        finding = self.finding
        return finding.verdict == "ok" and not (self.numbers or self.tables or self.figures or finding.examples)


def check_page(data: Data, name: str, findings: list[Finding], *, about: list[str]) -> str:
    """Return the page. `about` says what was called, when and how long it took."""
    parts = [_part(finding, number) for number, finding in enumerate(findings, 1)]
    graded = sorted(parts, key=lambda part: -VERDICTS.index(part.finding.verdict))
    families = list(dict.fromkeys(finding.check for finding in findings))
    sections = [
        {
            "key": family,
            "title": TITLES.get(family, opened(family.replace("_", " "))),
            "parts": [part for part in graded if part.finding.check == family and not part.empty],
        }
        for family in families
    ]
    return fill_template(
        "check.html.jinja",
        generator=GENERATOR,
        name=name,
        lead=_lead(data, findings),
        facts=_facts(data, findings),
        about=about,
        overview=graded,
        sections=[section for section in sections if section["parts"]],
        labels=_labels(data),
        notes=data.notes,
    )


def _lead(data: Data, findings: list[Finding]) -> str:
    rows = sum(map(len, data.splits.values()))
    counts = tally(findings)
    return f"{counted(rows, 'row')} in {counted(len(data.splits), 'split')}: {tally_words(counts)}."


def _facts(data: Data, findings: list[Finding]) -> list[tuple[str, str]]:
    """Return sizes and lengths, and the gravest findings."""
    sizes = ", ".join(f"{split} {len(rows):,}" for split, rows in data.splits.items())
    counts = data.splits["train"].rows_per_label(len(data.label_names))
    most, least = int(np.argmax(counts)), int(np.argmin(counts))
    names = data.label_names
    several = " (several per row)" if data.task == "multi_label" else ""
    extremes = f"{counts[most]:,} rows of {cut(names[most])}, {counts[least]:,} of {cut(names[least])}"
    labels = f"{len(names):,}{several}; train has {extremes}"
    grave = sorted(
        (finding for finding in findings if finding.verdict in ("warning", "error")),
        key=lambda finding: -VERDICTS.index(finding.verdict),
    )[:FACTS]
    found = [
        (opened(finding.verdict), f"{finding.title}: {_counted(finding)}. {opened(finding.advice)}.")
        for finding in grave
    ]
    return [("Rows", sizes), ("Labels", labels), *_tokens(findings), *found]


def _tokens(findings: list[Finding]) -> list[tuple[str, str]]:
    for finding in findings:
        if "median tokens" in (figures := finding.figures):
            length = figures["tokens, 95% of the rows"]
            cut_rows = f"{counted(finding.count, 'row')} cut at dataset.max_length={figures['dataset.max_length']}"
            return [
                ("Tokens", f"median {figures['median tokens']:,}, 95% of the rows have at most {length:,}; {cut_rows}")
            ]
    return []


def _counted(finding: Finding) -> str:
    return f"{finding.count:,} of {finding.of:,} ({share(finding)})"


def _part(finding: Finding, place: int) -> Part:
    numbers: list[tuple[str, str]] = []
    tables: list[dict[str, Any]] = []
    figures: list[dict[str, Any]] = []
    for name, value in finding.figures.items():
        if name == "histogram":
            figures.append(_histogram(finding, value))
        elif isinstance(value, (list, dict)):
            if (table := _table(name, value)) is not None:
                tables.append({**table, "key": f"finding{place}-{len(tables)}"})
        else:
            numbers.append((name, _value(name, value)))
    shown = [{**vars(example), "text": cut(example.text)} for example in finding.examples]
    return Part(
        f"finding{place}",
        finding,
        share(finding),
        numbers,
        tables,
        figures,
        shown[:FIRST_EXAMPLES],
        shown[FIRST_EXAMPLES:],
    )


def _table(name: str, value: list[Any] | dict[str, Any]) -> dict[str, Any] | None:
    """Return a list of records, or the names of a record and its values, as a table; nothing for other values."""
    records = [{"": key, "value": item} for key, item in value.items()] if isinstance(value, dict) else value
    if not records or not all(isinstance(record, dict) for record in records):
        return None
    names = list(dict.fromkeys(key for record in records for key in record))
    rows = [[_cell(key, record.get(key)) for key in names] for record in records]
    long = {"search": len(rows) > SEARCHED, "tall": len(rows) > 3 * SEARCHED}
    return {"caption": opened(name), "names": names, "rows": rows, **long}


def _cell(name: str, value: Any) -> dict[str, Any]:
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return {"text": _value(name, value), "value": value if numeric else None}


def _value(name: str, value: Any) -> str:
    """Return a value as it is read: shares as percent, whole numbers with commas."""
    if isinstance(value, float):
        return percent(value) if "share" in name else number(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return count(value)
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _histogram(finding: Finding, bins: list[list[int]]) -> dict[str, Any]:
    """Return the histogram of the lengths; its last bar holds all longer rows."""
    length, longest = finding.figures["dataset.max_length"], finding.figures["tokens, longest row"]
    figures = finding.figures
    about = (
        f"Rows by their number of tokens: median {figures['median tokens']:,}, 95% of the rows have at most "
        f"{figures['tokens, 95% of the rows']:,}, the longest has {longest:,}. The last bar holds all longer rows."
    )
    bars = [(float(low), float(high) + 1, rows) for low, high, rows in bins]
    chart = Histogram("tokens", bars, about, {f"max_length {length}": float(length)})
    return {"svg": chart.svg(), "caption": about, "legend": []}


def _labels(data: Data) -> dict[str, Any]:
    """Return the rows of each label in each split, with bars by their share of the split."""
    names = data.label_names
    counts = {split: rows.rows_per_label(len(names)) for split, rows in data.splits.items()}
    shares = {split: counts[split] / max(1, len(data.splits[split])) for split in counts}
    top = max(float(values.max()) for values in shares.values()) or 1.0
    order = common_labels(counts["train"].tolist(), MOST_LABELS)
    rows = [
        {
            "label": names[label],
            "cells": [_bar(int(counts[split][label]), float(shares[split][label]), top) for split in counts],
        }
        for label in order
    ]
    return {"splits": list(counts), "labels": len(names), "rows": rows}


def _bar(rows: int, share: float, top: float) -> dict[str, Any]:
    return {"rows": rows, "share": share, "bar": share / top}
