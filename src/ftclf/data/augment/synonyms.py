"""Words replaced by others that a WordNet, an embedding or a language model gives."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from ftclf.data.augment.draft import AugmentInputs, Chosen, Draft
from ftclf.data.augment.words import core_of, pieces_of, replaceable, with_core
from ftclf.system.text import counted

SPARE = 3  # words that are looked up per word that is replaced: not every word has a synonym


def with_synonyms(rows: Sequence[int], inputs: AugmentInputs, random: Random) -> list[Draft | None]:
    """Replace some words of each row by synonyms."""
    return _replaced(rows, inputs, random, spare=SPARE)


def with_expected_words(rows: Sequence[int], inputs: AugmentInputs, random: Random) -> list[Draft | None]:
    """Replace some words of each row by what a masked language model expects in their place."""
    return _replaced(rows, inputs, random, spare=1)


def _replaced(rows: Sequence[int], inputs: AugmentInputs, random: Random, *, spare: int) -> list[Draft | None]:
    config: Any = inputs.config
    assert inputs.replacements is not None
    texts = [pieces_of(inputs.texts[row]) for row in rows]
    wanted, chosen = [], []
    for pieces in texts:
        places = replaceable(pieces)
        count = max(1, int(config.rate * len(places) + random.random()))
        wanted.append(count)
        chosen.append(Chosen(pieces, sorted(random.sample(places, min(spare * count, len(places))))))
    replacements = inputs.replacements(chosen)
    return [
        replace_words(row, one, words, count, random)
        for row, one, words, count in zip(rows, chosen, replacements, wanted, strict=True)
    ]


def replace_words(row: int, chosen: Chosen, replacements: list[list[str]], count: int, random: Random) -> Draft | None:
    """Return a text with so many of its chosen words replaced, or None where none can be."""
    pieces = list(chosen.pieces)
    known = [(place, words) for place, words in zip(chosen.places, replacements, strict=True) if words]
    changes = []
    for place, words in sorted(random.sample(known, min(count, len(known)))):
        before, after = core_of(pieces[place]), random.choice(words)
        pieces[place] = with_core(pieces[place], after)
        changes.append(f"{before} > {after}")
    if not changes:
        return None
    return Draft("".join(pieces), (row,), f"{counted(len(changes), 'word')} replaced: {', '.join(changes)}")
