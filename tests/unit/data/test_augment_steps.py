"""Rows made from others: targets, edits, words, sentences, and that none is like a row of validation or test."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_rows
from ftclf.config import (
    ContextualAugmentConfig,
    EditsAugmentConfig,
    SentencesAugmentConfig,
    SynonymsAugmentConfig,
)
from ftclf.data import Split
from ftclf.data.augment.draft import AugmentInputs, Chosen
from ftclf.data.augment.edits import EDITS, edited, misspelt
from ftclf.data.augment.held_out import HeldOut, grams
from ftclf.data.augment.level import level
from ftclf.data.augment.sentences import of_sentences, sentences_of
from ftclf.data.augment.steps import STEPS
from ftclf.data.augment.targets import needs, target_rows
from ftclf.data.augment.words import core_of, pieces_of, replaceable, with_core
from ftclf.data.check.near import normalised
from ftclf.data.text_store import write_texts
from ftclf.system.errors import ConfigError

COUNTS = np.array([4, 10, 100])
LABELS = np.repeat([0, 1, 2], COUNTS)


def split_of(texts: Sequence[str], labels: Any = None) -> Split:
    return Split(write_texts(texts), np.zeros(len(texts), dtype=np.int64) if labels is None else np.asarray(labels))


@pytest.mark.parametrize(
    ("target", "expected"), [("max", 100), ("median", 10), ("30", 30), ("0.5", 50), ("1.0", 100), ("1", 1)]
)
def test_a_target_is_a_number_or_a_share_of_the_largest_label(target: str, expected: int) -> None:
    assert target_rows(target, COUNTS) == expected


def test_labels_below_the_target_need_rows_and_the_others_none() -> None:
    assert [(need.label, need.new, need.short) for need in needs("20", LABELS, most_per_row=3)] == [
        (0, 12, 4),
        (1, 10, 0),
    ]


def test_of_several_labels_the_rarest_of_a_row_counts() -> None:
    truth = np.array([[1, 0], [1, 1], [1, 0], [1, 0], [0, 0]], dtype=bool)
    assert [(need.label, need.rows.tolist(), need.new) for need in needs("max", truth, most_per_row=9)] == [(1, [1], 2)]


@pytest.mark.parametrize("target", ["4", "3", "0.04"])
def test_a_target_that_adds_nothing_is_refused(target: str) -> None:
    with pytest.raises(ConfigError, match=r"augment.target: got .*adds nothing; the smallest class has 4 rows"):
        needs(target, LABELS, most_per_row=10)


TEXT = 'He said: "The Movie wasn\'t good",\nbut we   liked it-- a LOT!'


@pytest.mark.parametrize("kind", EDITS)
@pytest.mark.parametrize("count", [1, 3, 99])
def test_an_edit_changes_words_and_leaves_the_rest_in_place(kind: str, count: int) -> None:
    before = pieces_of(TEXT)
    text, changed = EDITS[kind](list(before), count, Random(1))
    after = pieces_of(text)
    assert changed
    assert text != TEXT
    match kind:
        case "delete":
            assert len(after) == len(before) - changed >= 1
        case "swap":
            assert sorted(piece.strip() for piece in after) == sorted(piece.strip() for piece in before)
        case "typos":
            assert sum(old != new for old, new in zip(before, after, strict=True)) == changed


@given(st.text(alphabet="abcdefgz", min_size=3, max_size=12), st.integers(0, 1000))
def test_a_typing_error_is_one_and_leaves_the_first_letter(word: str, seed: int) -> None:
    wrong = misspelt(word, Random(seed))
    assert wrong != word
    assert abs(len(wrong) - len(word)) <= 1
    assert wrong[0] == word[0] or sorted(wrong) == sorted(word)


def test_a_word_is_replaced_in_its_case_and_its_punctuation() -> None:
    assert [with_core(piece, "film") for piece in ("(Movie),", "MOVIE!", "movie\n")] == ["(Film),", "FILM!", "film\n"]
    assert [core_of(piece) for piece in ("http://a.b", "@you", "4th", "don't.", "«été»")] == [
        "",
        "",
        "",
        "don't",
        "été",
    ]
    assert [pieces_of(TEXT)[place].strip() for place in replaceable(pieces_of(TEXT))] == [
        "said:",
        "Movie",
        'good",',
        "liked",
        "LOT!",
    ]


def test_sentences_end_where_a_reader_ends_them() -> None:
    text = 'Mr. Smith paid $3.50 in the U.S. for it. "Really?" he said. It was No. 5\n\nNew paragraph! 好。坏。'
    assert [sentence.strip() for sentence in sentences_of(text)] == [
        "Mr. Smith paid $3.50 in the U.S. for it.",
        '"Really?" he said.',
        "It was No. 5",
        "New paragraph!",
        "好。",
        "坏。",
    ]


def test_long_texts_are_cut_and_short_ones_joined_with_the_same_labels() -> None:
    texts = ["One a. Two b. Three c. Four d. Five e.", "Short x.", "Short y.", "Other z."]
    labels = np.array([[1, 0], [1, 0], [1, 0], [1, 1]], dtype=bool)
    config = SentencesAugmentConfig(kind="sentences", keep=0.6, long=4)
    inputs = AugmentInputs(config, texts, labels, np.arange(4))
    cut, joined, _, alone = of_sentences([0, 1, 2, 3], inputs, Random(0))
    assert cut is not None
    assert joined is not None
    assert alone is None
    assert cut.text in texts[0]
    assert len(sentences_of(cut.text)) == 3
    assert joined.sources[0] == 1
    assert joined.sources[1] in (0, 2)
    assert "Short x." in joined.text


# ---- validation and test

HELD = [
    "The goal was great, and the match was won by the new team!",
    "Thank you",
    "so long and thanks for all the fish",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the GOAL was great   and the match was won by the new team", "validation row 1 (the same text)"),
        ("the goal was great, and the match was won by the new side", "validation row 1 (85% alike)"),
        ("the goal was great, and a match was won by an old side", None),
        ("ｔhank you!", "validation row 2 (the same text)"),
        ("so long, and thanks for all the fishes", "test row 1 (94% alike)"),
        ("thank them", None),
        ("the team", None),
    ],
)
def test_a_text_is_like_a_row_of_validation_or_test_or_is_not(text: str, expected: str | None) -> None:
    held_out = HeldOut({"train": split_of([text]), "validation": split_of(HELD[:2]), "test": split_of(HELD[2:])})
    match = held_out.match(text)
    assert (match and str(match)) == expected


def test_likeness_is_found_as_by_comparing_with_every_row() -> None:
    held = [text for text, _ in make_rows(150, seed=1)] * 2
    held = [f"{text} {other}" for text, other in zip(held, reversed(held), strict=True)]
    random = Random(0)
    held_out = HeldOut({"validation": split_of(held[:100]), "test": split_of(held[100:])})
    pieces = [set(grams(normalised(text)).tolist()) for text in held]
    for text in held:
        draft = EDITS["delete"](pieces_of(text), random.randrange(1, 4), random)[0]
        mine = set(grams(normalised(draft)).tolist())
        best = max(len(mine & other) / len(mine | other) for other in pieces)
        match = held_out.match(draft)
        assert (match is not None) == (best >= 0.8)
        assert match is None or match.likeness == pytest.approx(best, abs=0.002)


# ---- the loop

TRAIN = make_rows(60)
HELD_OUT = HeldOut({"validation": split_of([text for text, _ in make_rows(90)[60:]]), "test": split_of(HELD)})
UNEVEN = np.repeat([0, 1, 2], [5, 15, 40])
CONFIGS = {
    "edits": EditsAugmentConfig(kind="edits"),
    "synonyms": SynonymsAugmentConfig(kind="synonyms", rate=0.5),
    "contextual": ContextualAugmentConfig(kind="contextual", rate=0.5),
    "sentences": SentencesAugmentConfig(kind="sentences"),
}


def upwards(chosen: Sequence[Chosen]) -> list[list[list[str]]]:
    return [
        [[f"{core_of(text.pieces[place])}{ending}" for ending in "xyz"] for place in text.places] for text in chosen
    ]


def made(kind: str, seed: int = 0, target: str = "max", held_out: HeldOut = HELD_OUT) -> Any:
    texts = [text for text, _ in TRAIN]
    inputs = AugmentInputs(CONFIGS[kind], texts, UNEVEN, np.arange(0), upwards)
    return level(STEPS[kind], inputs, needs(target, UNEVEN, most_per_row=10), held_out, seed=seed)


@pytest.mark.parametrize("kind", STEPS)
def test_every_label_gets_the_rows_that_it_needs(kind: str) -> None:
    levelled = made(kind, target="20")
    labels = UNEVEN[[draft.sources[0] for draft in levelled.drafts]]
    assert np.bincount(labels, minlength=3).tolist() == [15, 5, 0]
    assert len({normalised(text) for text in [*(d.text for d in levelled.drafts), *(t for t, _ in TRAIN)]}) == 80
    assert all(HELD_OUT.match(draft.text) is None for draft in levelled.drafts)
    per_row = np.bincount([draft.sources[0] for draft in levelled.drafts])
    assert per_row.max() <= (10 if kind == "sentences" else 3)


@pytest.mark.parametrize("kind", STEPS)
def test_the_same_seed_makes_the_same_rows_and_another_seed_others(kind: str) -> None:
    assert made(kind).drafts == made(kind).drafts != made(kind, seed=1).drafts


def test_a_row_that_is_like_validation_or_test_is_dropped_and_replaced() -> None:
    first = made("edits")
    held = [draft.text for draft in first.drafts[:10]]
    again = made("edits", held_out=HeldOut({"validation": split_of(held[:5]), "test": split_of(held[5:])}))
    assert len(again.drafts) == len(first.drafts)
    assert again.like_held_out >= 10
    assert not {draft.text for draft in again.drafts} & set(held)


def test_rows_that_give_nothing_are_made_up_for_by_others_of_the_label() -> None:
    texts = ["aa", "bb", "cc", "dd", " ".join(text for text, _ in TRAIN), *(text for text, _ in TRAIN[5:])]
    inputs = AugmentInputs(EditsAugmentConfig(edits=["delete"]), texts, UNEVEN, np.arange(0))
    levelled = level(STEPS["edits"], inputs, needs("15", UNEVEN, most_per_row=10), HELD_OUT, seed=0)
    assert [draft.sources[0] for draft in levelled.drafts] == [4] * 10
    assert not levelled.missing


def test_a_step_that_gives_nothing_new_ends() -> None:
    texts = ["aa bb"] * 60
    inputs = AugmentInputs(EditsAugmentConfig(edits=["delete"]), texts, UNEVEN, np.arange(0))
    levelled = level(STEPS["edits"], inputs, needs("max", UNEVEN, most_per_row=10), HELD_OUT, seed=0)
    assert len(levelled.drafts) == 2  # aa, bb
    assert sum(levelled.missing.values()) == 60 - 2


@pytest.mark.parametrize("kind", CONFIGS["edits"].edits)
def test_each_kind_of_edit_is_said(kind: str) -> None:
    texts = [text for text, _ in TRAIN]
    inputs = AugmentInputs(EditsAugmentConfig(edits=[kind]), texts, UNEVEN, np.arange(20))
    drafts = edited(range(20), inputs, Random(0))
    assert all(draft is None or draft.how.startswith(f"{kind}: ") for draft in drafts)
    assert sum(draft is not None for draft in drafts) >= 15
