"""Words of a text in place, so that the rest of it stays as it is."""

from __future__ import annotations

import re
from functools import cache

PIECES = re.compile(r"\S+\s*")
CORE = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def pieces_of(text: str) -> list[str]:
    """Return the words of a text, each with its punctuation and the white space behind it."""
    return PIECES.findall(text)


def core_of(piece: str) -> str:
    """Return the word of a piece without punctuation; '' where it is a number, a link, a mark as [NAME], or several."""
    cores = CORE.findall(piece)
    return cores[0] if len(cores) == 1 and not re.search(r"[\d@#/_<>{}[\]]", piece) else ""


def with_core(piece: str, word: str) -> str:
    """Return a piece with another word in it, in the case of the one that it had."""
    core = core_of(piece)
    if core.isupper() and len(core) > 1:
        word = word.upper()
    elif core[:1].isupper():
        word = word[:1].upper() + word[1:]
    return piece.replace(core, word, 1)


@cache
def stop_words() -> frozenset[str]:
    """Return English words that carry no topic, negations among them: they are never replaced."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS) | {"don't", "can't", "won't", "didn't", "doesn't", "isn't", "wasn't", "n't"}


def replaceable(pieces: list[str]) -> list[int]:
    """Return the places of the words that may be replaced: three letters or more, and no stop words."""
    cores = [core_of(piece) for piece in pieces]
    return [place for place, core in enumerate(cores) if len(core) > 2 and core.casefold() not in stop_words()]
