"""Scores, baselines and differences in the words of a report."""

from __future__ import annotations

from ftclf.config import LOWER_IS_BETTER
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
