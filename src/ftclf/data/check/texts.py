"""Rows whose text is hardly one: single words, markup, URLs, broken encodings, other scripts, extreme lengths."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data import Data
from ftclf.data.check.finding import MOST_EXAMPLES, Example, Finding, all_rows, count_rows, example, texts_with_rows
from ftclf.data.check.garbled import CONTROL, INVISIBLE, REPLACEMENT, mojibake
from ftclf.data.check.scripts import LANGUAGES, likely_language, main_script, mixed_word

FAMILY = "texts"
LONG, LONG_TIMES = 2000, 10  # characters of a very long text, and how many times the median they are
FEW = 0.001  # share of broken rows up to which they are a note
SECOND = 0.02  # share of a second language that is worth a note
TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9]*(?:\s[^<>]*)?/?>|<!--")
ENTITY = re.compile(r"&(?:[a-zA-Z]{2,8}|#\d{2,6}|#x[0-9a-fA-F]{2,6});")
URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
MENTION = re.compile(r"(?<!\S)@\w+")
WORDLIKE = re.compile(r"[^\W_]")
# The note of the reader, see data/read.py.
LEFT_OUT = re.compile(r"^(\d+) (?:rows|files) of .* without a text\b.* (?:is|are) left out$")

Rows = dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Kind:
    """One thing that a text may have: `sign` returns what of the text shows it, or nothing."""

    title: str
    sign: Callable[[str], str]
    advice: str
    warns_above: float = 1.0  # share of the rows; up to it they are a note


def _one_word(text: str) -> str:
    words = text.split(maxsplit=1)
    return words[0] if len(words) == 1 else ""


def _no_word(text: str) -> str:
    return "" if WORDLIKE.search(text) else text


def _markup(text: str) -> str:
    match = (TAG.search(text) if "<" in text else None) or (ENTITY.search(text) if "&" in text else None)
    return match[0] if match else ""


def _mostly(pattern: re.Pattern[str], mark: str) -> Callable[[str], str]:
    """Return a sign for texts half of whose characters, or more, a pattern takes."""

    def sign(text: str) -> str:
        if mark not in text or not (parts := pattern.findall(text)):
            return ""
        return str(parts[0]) if 2 * sum(map(len, parts)) >= len("".join(text.split())) else ""

    return sign


def _mention(text: str) -> str:
    match = MENTION.search(text) if "@" in text else None
    return match[0] if match else ""


def _control(text: str) -> str:
    match = None if text.isprintable() else CONTROL.search(text)
    return match[0].encode("unicode_escape").decode() if match else ""


def _invisible(text: str) -> str:
    match = None if text.isascii() else INVISIBLE.search(text)
    return match[0].encode("unicode_escape").decode() if match else ""


ENCODING = "read the file in its true encoding (dataset.encoding), or fix the text where it was exported"
KINDS = (
    Kind("rows with characters of a wrong encoding, as Ã© for é", mojibake, ENCODING, FEW),
    Kind(
        "rows with replacement characters (U+FFFD)",
        lambda text: REPLACEMENT if REPLACEMENT in text else "",
        "the characters are lost; export the texts again, without errors='replace'",
        FEW,
    ),
    Kind("rows with control characters", _control, "remove them; they are remains of binary data or a terminal", FEW),
    Kind("rows with invisible characters", _invisible, "remove them unless they are meant: a reader does not see them"),
    Kind("rows with HTML tags or entities", _markup, "strip the markup, unless it belongs to the task", 0.01),
    Kind("rows that are mostly a URL", _mostly(URL, "."), "an encoder learns little from a URL; leave it out", 0.05),
    Kind(
        "rows with an @mention", _mention, "a name may give a label away; replace mentions by one word, such as [USER]"
    ),
    Kind("rows of a single word", _one_word, "check whether their labels can be told from the text"),
    Kind(
        "rows without a letter or digit",
        _no_word,
        "punctuation and emoji alone: check whether the tokenizer knows them",
    ),
    Kind(
        "rows with a word of mixed scripts, as Latin and Cyrillic",
        mixed_word,
        "letters that look alike hide a word from the model; replace them",
        FEW,
    ),
)


class _Tally:
    """What one pass over all texts collects."""

    def __init__(self, data: Data) -> None:
        self.kinds = [{name: array("q") for name in data.splits} for _ in KINDS]
        self.lengths = {name: array("q") for name in data.splits}
        self.scripts: dict[str, dict[str, array[int]]] = {}  # rows by script and split
        self.languages: Counter[int] = Counter()
        for split, row, text in texts_with_rows(data):
            self._add(split, row, text)

    def _add(self, split: str, row: int, text: str) -> None:
        self.lengths[split].append(len(text))
        for kind, rows in zip(KINDS, self.kinds, strict=True):
            if kind.sign(text):
                rows[split].append(row)
        by_split = self.scripts.setdefault(main_script(text), {})
        by_split.setdefault(split, array("q")).append(row)
        self.languages[likely_language(text)] += 1


def texts(data: Data) -> Iterator[Finding]:
    """Yield what single texts show: see KINDS, then lengths in characters, scripts and languages."""
    tally = _Tally(data)
    yield _left_out(data)
    for kind, rows in zip(KINDS, tally.kinds, strict=True):
        yield _of_kind(data, kind, as_rows(rows))
    yield _very_long(data, tally.lengths)
    yield _scripts(data, tally.scripts)
    yield _languages(data, tally.languages)


def as_rows(rows: dict[str, Any]) -> Rows:
    """Return row numbers by split as arrays, without the splits that have none."""
    return {split: np.array(numbers, dtype=np.int64) for split, numbers in rows.items() if len(numbers)}


def shown_rows(data: Data, rows: Rows, why: Callable[[str], str]) -> list[Example]:
    """Return the first rows as examples, each with its own reason; every split has some."""
    most = max(1, MOST_EXAMPLES // max(1, len(rows)))
    return [
        example(data, split, int(row), why(data.splits[split].texts[int(row)]))
        for split, numbers in rows.items()
        for row in numbers[:most]
    ]


def _left_out(data: Data) -> Finding:
    dropped = sum(int(match[1]) for note in data.notes if (match := LEFT_OUT.match(note)))
    return Finding(
        FAMILY,
        "rows without a text or label, left out by dataset.drop_empty",
        "note" if dropped else "ok",
        dropped,
        all_rows(data) + dropped,
        "check why they are empty: rows of one label alone would change its share" if dropped else "",
    )


def _of_kind(data: Data, kind: Kind, rows: Rows) -> Finding:
    count, whole = count_rows(rows), all_rows(data)
    if not count:
        return Finding(FAMILY, kind.title, "ok", 0, whole)
    verdict = "warning" if count > kind.warns_above * whole else "note"
    return Finding(FAMILY, kind.title, verdict, count, whole, kind.advice, shown_rows(data, rows, kind.sign), rows)


def _very_long(data: Data, lengths: dict[str, array[int]]) -> Finding:
    by_split = {split: np.array(values, dtype=np.int64) for split, values in lengths.items()}
    every = np.concatenate(list(by_split.values()))
    bound = max(LONG, LONG_TIMES * int(np.median(every)))
    rows = as_rows({split: np.flatnonzero(values > bound) for split, values in by_split.items()})
    figures = {
        "median characters": int(np.median(every)),
        "characters of 95% of the rows": int(np.quantile(every, 0.95)),
        "longest, characters": int(every.max()),
    }
    title = f"very long rows (over {bound:,} characters)"
    if not rows:
        return Finding(FAMILY, title, "ok", 0, len(every), figures=figures)
    advice = "check whether each is a single text; a model sees the first dataset.max_length tokens alone"
    seen = shown_rows(data, rows, lambda text: f"{len(text):,} characters")
    return Finding(FAMILY, title, "note", count_rows(rows), len(every), advice, seen, rows, figures=figures)


def _scripts(data: Data, scripts: dict[str, dict[str, array[int]]]) -> Finding:
    counts = {script: sum(map(len, rows.values())) for script, rows in scripts.items() if script}
    main = max(counts, key=counts.__getitem__, default="")
    others = Counter({script: count for script, count in counts.items() if script != main})
    rows: dict[str, list[int]] = {}
    for script in others:
        for split, numbers in scripts[script].items():
            rows.setdefault(split, []).extend(numbers)
    found = as_rows({split: sorted(rows[split]) for split in data.splits if split in rows})
    shares = [{"script": script, "rows": count} for script, count in Counter(counts).most_common()]
    title = f"rows in another script than {main}" if main else "rows in another script than the main one"
    if not found:
        return Finding(FAMILY, title, "ok", 0, all_rows(data), figures={"scripts": shares})
    named = ", ".join(f"{script} {count:,}" for script, count in others.most_common(3))
    advice = f"{named}; choose a multilingual model, or check that they belong here"
    finding = Finding(FAMILY, title, "note", sum(others.values()), all_rows(data), advice, rows=found)
    return replace(finding, examples=shown_rows(data, found, main_script), figures={"scripts": shares})


def _languages(data: Data, languages: Counter[int]) -> Finding:
    """Say what languages the frequent words look like. Rows of a single script may be of many."""
    told = Counter({LANGUAGES[number]: count for number, count in languages.items() if number >= 0})
    judged = sum(told.values())
    main = max(told, key=told.__getitem__, default="")
    others = {name: count for name, count in told.most_common() if name != main and count > SECOND * judged}
    shares = [{"looks like": name, "rows": count} for name, count in told.most_common()]
    figures = {"languages, by frequent words": shares, "rows with too few frequent words to say": languages[-1]}
    title = f"rows that look like another language than {main}" if main else "rows that look like another language"
    if not others:
        return Finding(FAMILY, title, "ok", judged - told[main], judged, figures=figures)
    named = ", ".join(f"{name} {count:,}" for name, count in others.items())
    advice = f"{named}, judged by frequent words alone; a model of one language is poor on the others"
    return Finding(FAMILY, title, "note", sum(others.values()), judged, advice, figures=figures)
