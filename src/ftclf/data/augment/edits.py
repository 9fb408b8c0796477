"""Random edits: words deleted, swapped and inserted (Wei and Zou 2019), and typing errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import cast

from ftclf.config import EditsAugmentConfig
from ftclf.data.augment.draft import AugmentInputs, Draft
from ftclf.data.augment.words import core_of, pieces_of
from ftclf.system.text import counted

ROWS_OF_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
TYPED = 3  # letters from which a word may get a typing error


def edited(rows: Sequence[int], inputs: AugmentInputs, random: Random) -> list[Draft | None]:
    """Give each row one kind of edit, drawn from those of the settings."""
    config = cast(EditsAugmentConfig, inputs.config)
    drafts: list[Draft | None] = []
    for row in rows:
        kind = random.choice(config.edits)
        pieces = pieces_of(inputs.texts[row])
        count = _times(getattr(config, kind) * len(pieces), random)
        if kind == "insert":
            text, changed = insert(pieces, count, _others(row, inputs, random), random)
        else:
            text, changed = EDITS[kind](pieces, count, random)
        drafts.append(Draft(text, (row,), f"{kind}: {counted(changed, 'word')}") if changed else None)
    return drafts


def delete(pieces: list[str], count: int, random: Random) -> tuple[str, int]:
    """Leave words out; at least one stays."""
    gone = set(random.sample(range(len(pieces)), min(count, len(pieces) - 1)))
    return "".join(piece for place, piece in enumerate(pieces) if place not in gone).rstrip(), len(gone)


def swap(pieces: list[str], count: int, random: Random) -> tuple[str, int]:
    """Let words change places with the next; white space stays where it is."""
    words, spaces = [piece.rstrip() for piece in pieces], [piece[len(piece.rstrip()) :] for piece in pieces]
    if len(pieces) < 2:
        return "".join(pieces), 0
    for place in (starts := random.sample(range(len(words) - 1), min(count, len(words) - 1))):
        words[place], words[place + 1] = words[place + 1], words[place]
    return "".join(word + space for word, space in zip(words, spaces, strict=True)), len(starts)


def insert(pieces: list[str], count: int, words: Sequence[str], random: Random) -> tuple[str, int]:
    """Put words of other rows between those of a text."""
    if not words:
        return "".join(pieces), 0
    for _ in range(count):
        pieces.insert(random.randrange(len(pieces) + 1), f"{random.choice(words)} ")
    return "".join(piece if piece[-1:].isspace() else f"{piece} " for piece in pieces).rstrip(), count


def typos(pieces: list[str], count: int, random: Random) -> tuple[str, int]:
    """Make one typing error in some of the words that are long enough."""
    places = [place for place, piece in enumerate(pieces) if len(core_of(piece)) >= TYPED]
    for place in (wrong := random.sample(places, min(count, len(places)))):
        core = core_of(pieces[place])
        pieces[place] = pieces[place].replace(core, misspelt(core, random), 1)
    return "".join(pieces), len(wrong)


EDITS: dict[str, Callable[[list[str], int, Random], tuple[str, int]]] = {"delete": delete, "swap": swap, "typos": typos}


def misspelt(word: str, random: Random) -> str:
    """Return a word with two letters swapped, one left out, one doubled, or one of a neighbouring key."""
    place = random.randrange(1, len(word))  # the first letter is seldom wrong
    kind = random.choice(("swap", "drop", "double", "key"))
    if kind == "swap" and word[place] != word[place - 1]:
        return word[: place - 1] + word[place] + word[place - 1] + word[place + 1 :]
    if kind == "drop":
        return word[:place] + word[place + 1 :]
    if kind == "key" and (near := _near_keys(word[place])):
        return word[:place] + random.choice(near) + word[place + 1 :]
    return word[:place] + word[place] + word[place:]


def _near_keys(letter: str) -> str:
    for row in ROWS_OF_KEYS:
        if (place := row.find(letter)) >= 0:
            return row[max(0, place - 1) : place] + row[place + 1 : place + 2]
    return ""


def _times(expected: float, random: Random) -> int:
    """Round up or down by chance; at least 1."""
    return max(1, int(expected + random.random()))


def _others(row: int, inputs: AugmentInputs, random: Random) -> list[str]:
    """Return the words of another row of the label."""
    others = [int(peer) for peer in (random.choice(inputs.peers), random.choice(inputs.peers)) if peer != row]
    return [core for piece in pieces_of(inputs.texts[others[0]]) if (core := core_of(piece))] if others else []
