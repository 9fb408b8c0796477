"""Values as a reader sees them. Everything that reaches the report goes through `shown`."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from markupsafe import Markup

LONGEST = 300  # characters of a text
UNTELLING = ("train", "training", "data", "dataset")  # names of files
MINUS, MISSING = "\u2212", "\u2013"
# Control characters, lone surrogates, and what would reorder the words around a text (embeddings, overrides, isolates).
# Joiners and direction marks stay: emoji and right-to-left scripts need them, and they reach no further than the text.
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(value: Any) -> Any:
    """Return a value with control characters spelt out; jinja calls it on every expression, then escapes."""
    if isinstance(value, Markup):
        return value
    return "" if value is None else HIDDEN.sub(lambda char: char[0].encode("unicode_escape").decode(), str(value))


def cut(text: str) -> str:
    """Return a text short enough to read in a table."""
    return text if len(text) <= LONGEST else text[:LONGEST].rstrip() + "…"


def data_name(name: str, file: str | None) -> str:
    """Return the name of a data set for readers: the name of the file for a user's own `files`.

    A file that is called train stands with its folder, since a hundred others are called so; not with a home folder,
    which names a user.
    """
    if name != "files" or not file:
        return name
    path = Path(file)
    folder = path.parent.name if path.stem.lower() in UNTELLING and path.expanduser().parent != Path.home() else ""
    return f"{folder}/{path.stem}" if folder not in ("", "..") else path.stem or name


def short_names(names: list[str], longest: int) -> list[str]:
    """Return the names cut to so many characters, with an ellipsis where they are cut, and all different."""
    short = [_shortened(name, longest) for name in names]
    alike = {name for name, count in Counter(short).items() if count > 1}
    for name in alike:
        places = [place for place, other in enumerate(short) if other == name]
        shared = _shared([names[place] for place in places])
        for place in places:
            short[place] = _shortened_from(names[place], shared, longest)
    used: set[str] = set()
    for place, name in enumerate(short):
        number = 1
        while short[place] in used:
            number += 1
            mark = f"… {number}"
            short[place] = name[: longest - len(mark)] + mark
        used.add(short[place])
    return short


def common_labels(rows: list[int], most: int) -> list[int]:
    """Return all labels, or the `most` labels with the most rows, most rows first."""
    if len(rows) <= most:
        return list(range(len(rows)))
    return sorted(range(len(rows)), key=lambda label: -rows[label])[:most]


def _shortened(name: str, longest: int) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _shared(names: list[str]) -> int:
    """Return the number of first characters that all names share."""
    first, last = min(names), max(names)
    return next((place for place, char in enumerate(first) if last[place : place + 1] != char), len(first))


def _shortened_from(name: str, place: int, longest: int) -> str:
    """Return a name without its middle, so that the characters from a place on are seen."""
    head = longest // 3
    return name[:head] + "…" + _shortened(name[max(head, place - 1) :], longest - head - 1)


def number(value: float | None, digits: int = 3) -> str:
    """Return 0.581; a dash for what could not be computed."""
    if value is None:
        return MISSING
    return f"{value:z.{digits}f}".replace("-", MINUS)


def interval(found: list[float] | None, digits: int = 3) -> str:
    """Return [0.568, 0.594]; nothing where there is none."""
    return f"[{number(found[0], digits)}, {number(found[1], digits)}]" if found else ""


def count(value: float) -> str:
    """Return 5,427."""
    return f"{value:,}"


def counted(value: int, noun: str) -> str:
    """Return 1 row, and 5,427 rows."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def percent(value: float | None) -> str:
    """Return 43%, and <1% for little that is not nothing."""
    if value is None:
        return MISSING
    return "<1%" if 0 < value < 0.005 else f"{100 * value:.0f}%"


def opened(words: str) -> str:
    """Return words as a sentence begins: the first letter large, the others as they are."""
    return words[:1].upper() + words[1:]
