"""Sentences of one label: long texts cut at the bounds of sentences, short ones joined."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from random import Random
from typing import cast

import numpy as np

from ftclf.config import SentencesAugmentConfig
from ftclf.data.augment.draft import AugmentInputs, Draft

ABBREVIATIONS = r"(?<!\b[A-Z]\.)(?<!\b[DMS]r\.)(?<!\bMrs\.)(?<!\bMs\.)(?<!\bSt\.)(?<!\bvs\.)(?<!\bNo\.)(?<!\b[eg]\.)"
BOUND = re.compile(rf"{ABBREVIATIONS}(?<=[.!?…])[\"'”’)\]]*\s+(?=[^a-z])|(?<=[。！？])\s*|\n\s*\n\s*")
TRIES = 20  # rows that are looked at for one with the same labels


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text, each with the white space behind it."""
    ends = [match.end() for match in BOUND.finditer(text)]
    bounds = [0, *ends, len(text)]
    parts = [text[start:end] for start, end in itertools.pairwise(bounds)]
    return [part for part in parts if part.strip()]


def of_sentences(rows: Sequence[int], inputs: AugmentInputs, random: Random) -> list[Draft | None]:
    """Cut rows of many sentences, and join those of few with another row of the same labels."""
    config = cast(SentencesAugmentConfig, inputs.config)
    drafts: list[Draft | None] = []
    for row in rows:
        sentences = sentences_of(inputs.texts[row])
        if len(sentences) >= config.long:
            drafts.append(cut(row, sentences, config.keep, random))
        else:
            drafts.append(_joined(row, inputs, config.long, random))
    return drafts


def cut(row: int, sentences: list[str], keep: float, random: Random) -> Draft:
    """Keep a share of the sentences, those behind each other from any place on."""
    kept = min(len(sentences) - 1, max(1, round(keep * len(sentences))))
    start = random.randrange(len(sentences) - kept + 1)
    text = "".join(sentences[start : start + kept]).strip()
    return Draft(text, (row,), f"cut: sentences {start + 1} to {start + kept} of {len(sentences)}")


def _joined(row: int, inputs: AugmentInputs, long: int, random: Random) -> Draft | None:
    """Put sentences of another row, fewer than make a text long, behind or before those of a row."""
    for _ in range(TRIES):
        other = int(random.choice(inputs.peers))
        if other != row and np.array_equal(inputs.labels[other], inputs.labels[row]):
            sentences = sentences_of(inputs.texts[other])
            count = min(len(sentences), long - 1)
            start = random.randrange(len(sentences) - count + 1)
            added = "".join(sentences[start : start + count]).strip()
            first, second = random.sample([inputs.texts[row].strip(), added], 2)
            return Draft(f"{first} {second}", (row, other), "joined: sentences of two rows")
    return None
