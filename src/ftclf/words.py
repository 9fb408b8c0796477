"""Values as a reader sees them. Everything that reaches the report goes through `shown`."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup

from ftclf.config import LOWER_IS_BETTER

LONGEST = 300  # characters of a text
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


def percent(value: float | None) -> str:
    """Return 43%, and <1% for little that is not nothing."""
    if value is None:
        return MISSING
    return "<1%" if 0 < value < 0.005 else f"{100 * value:.0f}%"


def opened(words: str) -> str:
    """Return words as a sentence begins: the first letter large, the others as they are."""
    return words[:1].upper() + words[1:]


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
    """Say better, worse or not told apart: whether the interval of a difference holds 0."""
    _, low, high = found
    if low <= 0 <= high:
        return "not told apart"
    return "better" if (low > 0) != (score in LOWER_IS_BETTER) else "worse"


def against(found: list[float], score: str, name: str) -> str:
    """Say in a sentence's half how a run does against a baseline."""
    value, low, high = found
    how = verdict(found, score)
    if how == "not told apart":
        return f"{how} from {name}: {difference(found, score)}"
    size = difference([abs(value), *sorted((abs(low), abs(high)))], score).lstrip("+")
    return f"{'beats' if how == 'better' else 'worse than'} {name} by {size}"
