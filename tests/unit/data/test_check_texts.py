"""What `ftclf check` sees in single texts, in their tokens and in tokens that give a label away."""

from __future__ import annotations

import random

import numpy as np
import pytest

from conftest import COMMON, TOPICS, make_rows, word_tokenizer
from ftclf.data import Data, Split
from ftclf.data.check.finding import Finding
from ftclf.data.check.garbled import mojibake
from ftclf.data.check.lengths import UNCUT, histogram, lengths
from ftclf.data.check.scripts import LANGUAGES, likely_language, main_script, mixed_word
from ftclf.data.check.shortcuts import shortcuts
from ftclf.data.check.texts import texts
from ftclf.data.text_store import write_texts
from ftclf.model.tokens import tokenise

NAMES = list(TOPICS)


def data_of(rows: list[tuple[str, str]], notes: list[str] | None = None) -> Data:
    """Return data with a train split of these rows and a small test split of clean ones."""
    clean = make_rows(30, seed=9)
    splits = {"train": rows, "test": clean}
    return Data("made", NAMES, {name: _split(part) for name, part in splits.items()}, notes or [], "single_label")


def _split(rows: list[tuple[str, str]]) -> Split:
    labels = np.array([NAMES.index(label) for _, label in rows])
    return Split(write_texts([text for text, _ in rows]), labels)


def by_title(findings: list[Finding], part: str) -> Finding:
    (finding,) = [finding for finding in findings if part in finding.title]
    return finding


def of_tokens(data: Data, max_length: int = 64) -> list[Finding]:
    tokenizer = word_tokenizer()
    tokens = {name: tokenise(split.texts[:], tokenizer, UNCUT) for name, split in data.splits.items()}
    return list(lengths(data, tokens, tokenizer, max_length, 512))


def test_nothing_is_called_wrong_on_a_clean_set() -> None:
    data = data_of(make_rows(600))
    findings = [*texts(data), *shortcuts(data), *of_tokens(data)]
    assert len(findings) > 15
    assert not [finding.title for finding in findings if finding.verdict in ("warning", "error")]


TRUE_TEXTS = ["é", "è à", "ça va", "niño", "größer", "it’s", "“quoted”", "wait… what", "5 €", "™", "😀", "привет"]
TRUE_TEXTS += ["naïve café", "x — y", "£5", "łódź"]


@pytest.mark.parametrize("text", TRUE_TEXTS)
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_utf8_that_was_read_as_another_encoding_is_seen(text: str, encoding: str) -> None:
    try:
        garbled = text.encode().decode(encoding)
    except UnicodeDecodeError:
        garbled = text.encode().decode(encoding, "ignore")
        if garbled.isascii() or len(garbled) < 3:
            pytest.skip("the encoding has no character for these bytes")
    assert mojibake(f"some {garbled} here")
    assert not mojibake(f"some {text} here")


@pytest.mark.parametrize(
    "text",
    [
        "„Spaß“ und „Fuß“",
        "MAÇÃ é em maiúsculas, IRMÃ também",
        "Île-de-France, À la carte, Æther, Århus, Øresund, Ñandú",
        "CAFÉ’s menu — “CAFÉ”",
        "«VOILÀ»",
        "ÄÖÜ ÄÄNEKOSKI",
        "IRMÃ” disse",
        "2 × 3 ÷ 4 ± 1 °C · §5 ¶ ©",
        "Ελληνικά Русский עברית 日本語",
        "¿Qué? ¡Sí!",
        "ÐÞ Þórður",
    ],
)
def test_real_words_with_accents_are_no_mojibake(text: str) -> None:
    assert not mojibake(text)


@pytest.mark.parametrize(
    ("text", "part", "sign"),
    [
        ("caf\u00c3\u00a9 au lait", "wrong encoding", "Ã©"),
        ("lost \ufffd here", "replacement", "\ufffd"),
        ("a bell \x07 rings", "control", "\\x07"),
        ("pass\u200bword here", "invisible", "\\u200b"),
        ("<p class='x'>a text</p>", "HTML", "<p class='x'>"),
        ("fish &amp; chips", "HTML", "&amp;"),
        ("see https://example.org/a/long/path?x=1", "mostly a URL", "https://example.org/a/long/path?x=1"),
        ("@someone said so", "@mention", "@someone"),
        ("goal", "single word", "goal"),
        ("?! :-)", "without a letter", "?! :-)"),
        ("free v\u0456agra now", "mixed scripts", "v\u0456agra"),
        ("всё хорошо и спокойно", "another script", "Cyrillic"),
        ("a long text " * 400, "very long", "4,800 characters"),
    ],
)
def test_a_planted_row_is_found_with_its_place_and_its_reason(text: str, part: str, sign: str) -> None:
    rows = make_rows(90)
    rows[17] = (text, rows[17][1])
    finding = by_title(list(texts(data_of(rows))), part)
    assert finding.verdict in ("note", "warning")
    assert finding.count == 1
    assert finding.rows["train"].tolist() == [17]
    assert finding.examples[0].place == "train, row 18"
    assert finding.examples[0].why == sign
    assert finding.advice


@pytest.mark.parametrize(
    "text",
    ["1 < 2 and 3 > 2", "a < b", "I <3 you", "AT&T; R&D", "x &; y", "mail me@example.org", "visit example.org today"],
)
def test_signs_of_a_keyboard_are_no_markup_and_no_mention(text: str) -> None:
    rows = [*make_rows(60), (text, "food")]
    findings = list(texts(data_of(rows)))
    assert not [f.title for f in findings if f.count and ("HTML" in f.title or "@" in f.title or "URL" in f.title)]


def test_few_broken_rows_of_many_are_a_note_and_many_are_a_warning() -> None:
    def verdict(broken: int) -> str:
        rows = [(f"{text} Ã©" if n < broken else text, label) for n, (text, label) in enumerate(make_rows(1970))]
        return by_title(list(texts(data_of(rows))), "wrong encoding").verdict

    assert [verdict(0), verdict(1), verdict(3)] == ["ok", "note", "warning"]


def test_rows_that_the_reader_left_out_are_counted() -> None:
    notes = ["12 rows of a.csv without a text or label are left out", "3 files of mails without a text are left out"]
    finding = by_title(list(texts(data_of(make_rows(60), [*notes, "5 train rows repeat a text"]))), "drop_empty")
    assert (finding.verdict, finding.count, finding.of) == ("note", 15, 105)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("what the others of this house have", "English"),
        ("ich bin auch nicht mit dem Zug gekommen", "German"),
        ("nous ne sommes pas dans une maison", "French"),
        ("pero como una casa con los ojos", "Spanish"),
        ("rocket planet orbit", None),
    ],
)
def test_frequent_words_show_the_language_or_nothing(text: str, language: str | None) -> None:
    number = likely_language(text)
    assert (LANGUAGES[number] if number >= 0 else None) == language


def test_a_second_language_is_a_note() -> None:
    rows = [(f"the {text} of it is with you", label) for text, label in make_rows(90)]
    rows[:9] = [(f"ich weiß nicht {number}", label) for number, (_, label) in enumerate(rows[:9])]
    finding = by_title(list(texts(data_of(rows))), "another language than English")
    assert (finding.verdict, finding.count) == ("note", 9)
    assert "German 9" in finding.advice


def test_scripts_are_those_of_the_letters() -> None:
    scripts = {"hello": "Latin", "привет": "Cyrillic", "日本": "Han", "ひらがな": "Kana", "안녕": "Hangul", "12 😀": ""}
    assert {text: main_script(text) for text in scripts} == scripts
    assert not mixed_word("β-carotene αβγ café naïve привет hello")


# ---- lengths


def test_cut_texts_are_counted_with_what_is_lost_of_them() -> None:
    rows = make_rows(90)
    for place in range(10):
        rows[place] = ("goal " * 98, rows[place][1])  # 100 tokens with [CLS] and [SEP]
    data = data_of(rows)
    finding = by_title(of_tokens(data, 32), "cut at dataset.max_length=32")
    assert (finding.verdict, finding.count) == ("warning", 10)
    assert finding.rows["train"].tolist() == list(range(10))
    assert finding.figures["tokens cut off"] == 10 * (100 - 32)
    every = np.concatenate([[len(text.split()) + 2 for text in split.texts] for split in data.splits.values()])
    assert finding.figures["share of tokens cut off"] == round(680 / every.sum(), 4)
    assert "dataset.max_length=104 keeps 95% of the rows whole" in finding.advice
    assert finding.examples[0].why == "100 tokens, 68 are cut"
    assert sum(rows for _, _, rows in finding.figures["histogram"]) == len(every)


def test_a_length_that_the_model_cannot_take_is_not_advised() -> None:
    rows = [("goal " * 700, label) for _, label in make_rows(60)]
    assert "dataset.max_length=512 is the most" in by_title(of_tokens(data_of(rows)), "cut at").advice
    tokenizer = word_tokenizer()
    data = data_of(rows)
    tokens = {name: tokenise(split.texts[:], tokenizer, UNCUT) for name, split in data.splits.items()}
    assert "split long texts" in next(iter(lengths(data, tokens, tokenizer, 64, 64))).advice


def test_every_row_is_in_one_bin_of_the_histogram() -> None:
    values = np.random.default_rng(0).integers(1, 5000, 10_000)
    bins = histogram(values)
    assert sum(rows for _, _, rows in bins) == 10_000
    assert all(low <= high for low, high, _ in bins)
    assert bins[3][2] == ((values >= bins[3][0]) & (values <= bins[3][1])).sum()


def test_unknown_tokens_are_named_by_the_text_behind_them() -> None:
    rows = make_rows(90)
    rows[5] = (f"goal {chr(0x1F602)} match {chr(0x1F602)}", "sport")
    rows[8] = (f"soup {chr(0x5B78)}", "food")
    finding = by_title(of_tokens(data_of(rows)), "does not know")
    assert finding.count == 2
    assert finding.rows["train"].tolist() == [5, 8]
    assert finding.figures["unknown tokens"] == 3
    behind = {row["text"]: (row["times"], row["code points"]) for row in finding.figures["texts behind them"]}
    assert behind == {"😂": (2, "U+1F602"), "學": (1, "U+5B78")}


# ---- shortcuts


@pytest.mark.parametrize(
    ("planted", "elsewhere", "token"),
    [
        ("{} zeta", "{}", "zeta"),
        ("zeta {}", "{}", "zeta"),
        ("{} the zeta", "{}", "zeta"),
        ("{} !!", "{}", "!!"),
        ("{}.", "{}", "."),
        ("{} zeta eta", "eta zeta {}", "zeta eta"),
        ("{} zeta", "zeta {}", "ends with: zeta"),
        ("zeta {}", "{} zeta", "starts with: zeta"),
    ],
)
def test_a_planted_token_gives_a_label_away(planted: str, elsewhere: str, token: str) -> None:
    chooser = random.Random(0)
    rows = [
        ((planted if label == "space" and chooser.random() < 0.97 else elsewhere).format(text), label)
        for text, label in make_rows(600)
    ]
    finding = by_title(list(shortcuts(data_of(rows))), "labels that a token gives away")
    assert finding.verdict == "warning"
    assert token in {row["token"] for row in finding.figures["tokens"] if row["label"] == "space"}
    assert finding.examples[0].labels == ["space"]


def test_a_token_of_half_the_rows_or_of_two_labels_is_no_shortcut() -> None:
    def verdict(rows: list[tuple[str, str]]) -> str:
        return by_title(list(shortcuts(data_of(rows))), "labels that a token").verdict

    rows = make_rows(600)
    half = [(f"{text} zeta" if label == "food" and n % 2 else text, label) for n, (text, label) in enumerate(rows)]
    assert verdict(half) == "ok"
    assert verdict([(f"{text} zeta" if label != "food" else text, label) for text, label in rows]) == "ok"


def test_words_of_a_topic_are_a_note() -> None:
    finding = by_title(list(shortcuts(data_of(make_rows(600)))), "hardly any other label")
    assert (finding.verdict, finding.count) == ("note", 3)
    assert {row["token"] for row in finding.figures["tokens"]} >= {"soup", "rocket", "goal"}
    assert not {row["token"] for row in finding.figures["tokens"]} & set(COMMON)


def test_lengths_of_a_label_give_it_away() -> None:
    rows = [(f"{text} {'a ' * 40 if label == 'sport' else ''}", label) for text, label in make_rows(600)]
    finding = by_title(list(shortcuts(data_of(rows))), "length of a text")
    assert finding.verdict == "warning"
    assert [row["label"] for row in finding.figures["labels"]] == ["sport"]
    assert by_title(list(shortcuts(data_of(make_rows(600)))), "length of a text").verdict == "ok"


def test_shortcuts_of_rows_with_several_labels_are_found() -> None:
    rows = make_rows(600)
    labels = np.zeros((600, 3), dtype=bool)
    for place, (_, label) in enumerate(rows):
        labels[place, NAMES.index(label)] = True
        labels[place, 0] |= place % 5 == 0
    planted = [f"{text} zeta" if labels[place, 1] else text for place, (text, _) in enumerate(rows)]
    data = Data("made", NAMES, {"train": Split(write_texts(planted), labels)}, [], "multi_label")
    finding = by_title(list(shortcuts(data)), "labels that a token gives away")
    assert [row["label"] for row in finding.figures["tokens"]] == ["space"]


def test_a_sample_of_the_rows_finds_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(f"{text} zeta" if label == "space" else text, label) for text, label in make_rows(900)]

    def tokens() -> list[list[object]]:
        finding = by_title(list(shortcuts(data_of(rows))), "labels that a token gives away")
        return [list(row.values()) for row in finding.figures["tokens"]]

    whole = tokens()
    monkeypatch.setattr("ftclf.data.check.shortcuts.SAMPLE", 300)
    monkeypatch.setattr("ftclf.data.check.shortcuts.CHUNK", 100)
    assert tokens() == whole == [["zeta", "space", 300, 1.0, 1.0]]
