"""Synonyms of a WordNet through the package wn, where it and its data are installed."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from ftclf.data.augment.words import stop_words
from ftclf.system.errors import ConfigError

SENSES = 2  # the first senses of a word, which are its most frequent ones
HOW = "pip install wn, then python -m wn download oewn:2024"


class WordNet:
    """The synonyms of a language."""

    def __init__(self, lexicons: Any) -> None:
        self.lexicons = lexicons
        self.kept: dict[str, list[str]] = {}

    def of(self, words: Iterable[str]) -> list[list[str]]:
        """Return the synonyms of each word that are single words."""
        return [self._of(word.casefold()) for word in words]

    def _of(self, word: str) -> list[str]:
        if word not in self.kept:
            senses = self.lexicons.synsets(word)[:SENSES]
            others = dict.fromkeys(lemma for sense in senses for lemma in sense.lemmas())
            self.kept[word] = [
                other for other in others if other.isalpha() and other.casefold() not in (word, *stop_words())
            ]
        return self.kept[word]


def find_wordnet(language: str) -> WordNet | None:
    """Return the WordNet of a language, or None where wn or its data are not installed."""
    if find_spec("wn") is None:
        return None
    import wn

    if not wn.lexicons(lang=language):
        return None
    return WordNet(wn.Wordnet(lang=language))


def require_wordnet(language: str) -> WordNet:
    """Return the WordNet of a language. Raises ConfigError with what to type where it is not installed."""
    wordnet = find_wordnet(language)
    if wordnet is None:
        missing = "the package wn" if find_spec("wn") is None else f"a lexicon of '{language}' for wn"
        raise ConfigError(f"augment.source: got 'wordnet', which needs {missing}: {HOW}; or augment.source=neighbours")
    return wordnet
