"""Scripts and languages of texts, as far as characters and frequent words show them."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter

MIXABLE = {"Latin", "Cyrillic"}  # scripts whose letters look alike; Greek ones stand in formulas and phonetics
CJK = ("CJK", "IDEOGRAPHIC", "KANGXI")
KANA = ("HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA")
WORD = re.compile(r"[^\W\d_]+")
MOST_LETTERS = 1000  # of a text that its script is judged by
LEAST_HITS = 2  # frequent words of a language

# Frequent words; of the other languages none that is a word of English too, since texts hold more English than others.
STOP_WORDS = {
    "English": "the of and to is was that it for with you this are not have but they his from what my be so on your i "
    "do a in at as he she we if or an by no me all can one would who how has had will just about out up there their",
    "German": "der das und ist nicht ich ein eine mit zu auf für dem den sich auch wie aber wir sie von im es",
    "French": "le les et est une dans pour que qui pas sur vous nous avec ce au il elle des du mais sont très cette",
    "Spanish": "el los las es y en por que una para del lo se muy pero como más su está este al yo",
    "Italian": "il di che è una per sono gli del della anche come questo più nel alla mi si ho degli",
    "Portuguese": "os e é um uma para com da dos em que mais mas por você muito foi ao são não também",
    "Dutch": "de het een en van ik dat niet voor met zijn je maar ook aan er bij wat naar heb deze wel",
    "Polish": "nie się jest że jak ale po tak za od dla przez był być czy już jego tylko może bardzo",
    "Turkish": "bir ve bu için çok ama ben gibi daha var kadar değil mi en olarak ile",
    "Swedish": "och att det är som på jag inte av för med till har ett om så vi ska",
}
LANGUAGES = tuple(STOP_WORDS)


def _languages_of_word() -> dict[str, tuple[int, ...]]:
    languages: dict[str, tuple[int, ...]] = {}
    for number, words in enumerate(STOP_WORDS.values()):
        for word in words.split():
            languages[word] = (*languages.get(word, ()), number)
    return languages


LANGUAGES_OF_WORD = _languages_of_word()


@functools.lru_cache(maxsize=50_000)
def script_of(character: str) -> str:
    """Return the script of a letter, as in Latin; nothing for what is no letter or of no script."""
    if not character.isalpha():
        return ""
    name = unicodedata.name(character, "")
    if name.startswith(CJK):
        return "Han"
    if name.startswith(KANA):
        return "Kana"
    word = name.partition(" ")[0]
    if word in ("MODIFIER", "FEMININE", "MASCULINE", "MICRO", "MATHEMATICAL", "FULLWIDTH", "DOUBLE-STRUCK", "SCRIPT"):
        return ""
    return word.capitalize()


def main_script(text: str) -> str:
    """Return the script that most letters of a text are of; nothing for a text without letters."""
    if text.isascii():
        return "Latin" if any(map(str.isalpha, text)) else ""
    counts = Counter(map(script_of, text[:MOST_LETTERS]))
    del counts[""]
    return max(counts, key=counts.__getitem__) if counts else ""


def mixed_word(text: str) -> str:
    """Return the first word whose letters are of two scripts that look alike, or nothing."""
    if text.isascii():
        return ""
    for word in WORD.findall(text):
        if not word.isascii() and {script_of(letter) for letter in word} >= MIXABLE:
            return str(word)
    return ""


def likely_language(text: str) -> int:
    """Return the number of the language that most frequent words are of; -1 where too few are, or two have as many."""
    hits = [0] * len(LANGUAGES)
    for word in text.lower().split():
        for language in LANGUAGES_OF_WORD.get(word, ()):
            hits[language] += 1
    most = max(hits)
    return hits.index(most) if most >= LEAST_HITS and hits.count(most) == 1 else -1
