"""What `ftclf check` prints: a line for each finding, two places to look at, and what to do."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator

from ftclf.data.check.finding import VERDICTS, Finding
from ftclf.system.console import BAD, GOOD, NOTE, WARNING, width_of
from ftclf.system.tables import GAP, WIDEST_PROSE, Column, Table
from ftclf.system.text import counted, percent

STYLES = {"ok": GOOD, "note": NOTE, "warning": WARNING, "error": BAD}
PLACES = 2  # examples of a finding
NARROWEST = 30  # characters of the last column
NAMES = ("verdict", "count", "share", "finding")


def findings_table(findings: Iterable[Finding], title: str, width: int | None = None) -> Table:
    """Return what was found, the gravest first; of what is well, how much there is."""
    graded = sorted(findings, key=lambda finding: -VERDICTS.index(finding.verdict))
    shown = [finding for finding in graded if finding.verdict != "ok"]
    heads = [(finding.verdict, f"{finding.count:,}", share(finding)) for finding in shown]
    narrow = sum(max(map(len, cells)) for cells in zip(NAMES[:-1], *heads, strict=True))
    room = max(NARROWEST, min(width or width_of(), WIDEST_PROSE) - narrow - GAP * len(NAMES[:-1]))
    rows: list[tuple[str, ...]] = []
    verdicts: dict[int, str] = {}
    styles: dict[int, str] = {}
    for finding, head in zip(shown, heads, strict=True):
        verdicts[len(rows)] = STYLES[finding.verdict]
        for number, (text, style) in enumerate(_lines(finding, room)):
            styles[len(rows)] = style
            rows.append((*(("", "", "") if number else head), text))
    passed = len(graded) - len(shown)
    notes = (f"{counted(passed, 'check')} found nothing; the page lists them",) if passed else ()
    cells = [[row[place] for row in rows] for place in range(len(NAMES))]
    columns = [
        Column(NAMES[0], cells[0], styles=verdicts),
        Column(NAMES[1], cells[1], numeric=True),
        Column(NAMES[2], cells[2], numeric=True),
        Column(NAMES[3], cells[3], styles=styles),
    ]
    return Table(columns, title=title, notes=notes)


def _lines(finding: Finding, room: int) -> Iterator[tuple[str, str]]:
    """Yield title, places and advice in lines of a width, each with its style."""
    for line in textwrap.wrap(finding.title, room):
        yield line, "bold"
    places = [example.place for example in finding.examples[:PLACES]]
    for line in textwrap.wrap("see " + ", ".join(places), room) if places else []:
        yield line, "dim"
    for line in textwrap.wrap(finding.advice, room):
        yield line, "none"


def share(finding: Finding) -> str:
    """Return the count as a share of what there is, with a digit where it is small."""
    if not finding.of:
        return ""
    part = finding.count / finding.of
    return percent(part) if part >= 0.095 or not part else "<0.1%" if part < 0.0005 else f"{part:.1%}"


def tally(findings: Iterable[Finding]) -> dict[str, int]:
    """Return how many findings have each verdict, the gravest first."""
    counts = Counter(finding.verdict for finding in findings)
    return {verdict: counts[verdict] for verdict in reversed(VERDICTS)}


def tally_words(counts: dict[str, int]) -> str:
    """Return `2 warnings, 6 notes, 11 ok`."""
    parts = [counted(count, verdict) for verdict, count in counts.items() if count and verdict != "ok"]
    return ", ".join([*parts, f"{counts['ok']} ok"])
