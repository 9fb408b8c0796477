"""Tokens and lengths that give a label away: in nearly all of its rows, and nowhere else.

A token is a word, a run of punctuation, or two neighbours; the first and the last of a text count as tokens of their
own. Candidates come from a sample of each label's rows and are counted in all rows of train: the memory is that of the
sample, whatever the size of the data.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data import Data, Split
from ftclf.data.check.finding import MOST_EXAMPLES, Finding, example

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FAMILY = "shortcuts"
SAMPLE, LEAST_SAMPLE = 40_000, 50  # rows in all; rows of a label, where there are many labels
CHUNK = 20_000  # rows at a time
LEAST_ROWS = 10  # with the token and the label
NEARLY_ALL, NOWHERE_ELSE = 0.9, 0.98  # share of the label's rows with it; share of its rows that have the label
TOPICAL, MOSTLY_THERE = 0.05, 0.95  # the same for words that belong to a topic
SLACK = 0.6  # what a sample must show of these shares, since a sample scatters
NAMED = 6  # tokens in the line of advice
LISTED = 200  # tokens in the table
TOKEN = re.compile(r"\w+|[^\w\s]+")
FIRST, LAST = "starts with: ", "ends with: "


@dataclass(frozen=True)
class Sign:
    """A token and the label that it stands for, counted in train."""

    token: str
    label: int
    rows: int  # with both
    with_token: int
    with_label: int

    @property
    def recall(self) -> float:
        return self.rows / self.with_label

    @property
    def precision(self) -> float:
        return self.rows / self.with_token

    @property
    def gives_away(self) -> bool:
        return self.recall >= NEARLY_ALL and self.precision >= NOWHERE_ELSE


def shortcuts(data: Data) -> Iterator[Finding]:
    """Yield tokens that give a label away, words that only one label has, and lengths that give a label away."""
    train, names = data.splits["train"], data.label_names
    signs = _signs(train, _one_column_per_label(train, len(names)))
    yield _giving_away(data, [sign for sign in signs if sign.gives_away])
    yield _topical(data, [sign for sign in signs if not sign.gives_away])
    yield _by_length(data)


def tokens_of(text: str) -> Iterator[str]:
    """Yield the tokens of a text, its pairs of neighbours, and its ends."""
    tokens = TOKEN.findall(text.lower())
    if tokens:
        yield from tokens
        yield from map(" ".join, itertools.pairwise(tokens))
        yield FIRST + tokens[0]
        yield LAST + tokens[-1]


def _one_column_per_label(split: Split, labels: int) -> csr_matrix:
    """Return rows by labels, with a 1 where a row has a label."""
    from scipy.sparse import csr_matrix

    if split.labels.ndim == 2:
        return csr_matrix(split.labels, dtype=np.int64)
    rows = len(split)
    return csr_matrix((np.ones(rows, np.int64), split.labels, np.arange(rows + 1)), shape=(rows, labels))


def _signs(train: Split, has_label: csr_matrix) -> list[Sign]:
    """Return the tokens that stand for a label, those of the most rows first; of tokens in the same rows one alone."""
    candidates = _candidates(train, has_label)
    if not candidates:
        return []
    together, with_token = _counted(train, has_label, candidates)
    with_label = np.asarray(has_label.sum(axis=0)).ravel()
    cells = together.tocoo()
    least = np.maximum(LEAST_ROWS, TOPICAL * with_label[cells.col])
    kept = np.flatnonzero((cells.data >= least) & (cells.data >= MOSTLY_THERE * with_token[cells.row]))
    signs = [
        Sign(candidates[token], label, rows, int(with_token[token]), int(with_label[label]))
        for token, label, rows in zip(
            cells.row[kept].tolist(), cells.col[kept].tolist(), cells.data[kept].tolist(), strict=True
        )
    ]
    return _without_parts(sorted(signs, key=lambda sign: (-sign.rows, len(sign.token), sign.token)))


def _without_parts(signs: list[Sign]) -> list[Sign]:
    """Leave out tokens that share a word with one of the same label before them: `a village` beside `village in`."""
    kept: list[Sign] = []
    known: set[tuple[int, str]] = set()
    for sign in signs:
        words = sign.token.removeprefix(FIRST).removeprefix(LAST).split(" ")
        if not any((sign.label, word) in known for word in words):
            kept.append(sign)
        known.update((sign.label, word) for word in words)
    return kept


def _candidates(train: Split, has_label: csr_matrix) -> list[str]:
    """Return the tokens that are frequent in the sampled rows of a label and rare elsewhere."""
    from sklearn.feature_extraction.text import CountVectorizer

    rows = _sample(has_label)
    vectorizer = CountVectorizer(analyzer=_analyse, binary=True, dtype=np.int64, min_df=min(2, len(rows)))
    try:
        counts = vectorizer.fit_transform(train.texts.take(rows))
    except ValueError:  # no token is in two rows
        return []
    sampled = has_label[rows]
    together = (counts.T @ sampled).tocoo()
    sampled_of = np.maximum(1, np.asarray(sampled.sum(axis=0)).ravel())
    weight = np.asarray(has_label.sum(axis=0)).ravel() / sampled_of  # rows of train per sampled row
    estimated = together.data * weight[together.col]
    in_all = np.zeros(counts.shape[1])
    np.add.at(in_all, together.row, estimated)
    frequent = together.data >= SLACK * TOPICAL * sampled_of[together.col]
    kept = np.unique(together.row[frequent & (estimated >= SLACK * MOSTLY_THERE * in_all[together.row])])
    names = vectorizer.get_feature_names_out()
    return [str(names[token]) for token in kept]


def _analyse(text: str) -> list[str]:
    return list(tokens_of(text))


def _sample(has_label: csr_matrix) -> NDArray[np.int64]:
    """Return rows of train, the same every time: as many of each label, and all of a label that has few."""
    by_label = has_label.tocsc()
    most = max(LEAST_SAMPLE, SAMPLE // has_label.shape[1])
    random = np.random.default_rng(0)
    chosen = []
    for label in range(has_label.shape[1]):
        rows = by_label.indices[by_label.indptr[label] : by_label.indptr[label + 1]]
        chosen.append(rows if len(rows) <= most else random.choice(rows, most, replace=False))
    return np.unique(np.concatenate(chosen)).astype(np.int64)


def _counted(train: Split, has_label: csr_matrix, tokens: list[str]) -> tuple[csr_matrix, NDArray[np.int64]]:
    """Return in how many rows of train a token stands together with a label, and in how many in all."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(analyzer=tokens_of, binary=True, dtype=np.int64, vocabulary=tokens)
    together = csr_matrix((len(tokens), has_label.shape[1]), dtype=np.int64)
    in_all = np.zeros(len(tokens), np.int64)
    for start in range(0, len(train), CHUNK):
        counts = vectorizer.transform(train.texts[start : start + CHUNK])
        together = together + counts.T @ has_label[start : start + CHUNK]
        in_all += np.asarray(counts.sum(axis=0)).ravel()
    return together, in_all


def _giving_away(data: Data, signs: list[Sign]) -> Finding:
    title = "labels that a token gives away"
    if not signs:
        return Finding(FAMILY, title, "ok", 0, len(data.label_names))
    learned = "a model learns the token instead of the text: remove it, unless it is there in use too"
    labels, advice = {sign.label for sign in signs}, f"{_named(data, signs)}; {learned}"
    finding = Finding(FAMILY, title, "warning", len(labels), len(data.label_names), advice)
    return replace(finding, examples=_examples(data, signs), figures=_table(data, signs))


def _topical(data: Data, signs: list[Sign]) -> Finding:
    """Say which words only one label has. That is what a topic is, so nothing is wrong with it."""
    title = "labels with words that hardly any other label has"
    labels = {sign.label for sign in signs}
    if not signs:
        return Finding(FAMILY, title, "ok", 0, len(data.label_names))
    frequent: dict[int, Sign] = {}  # of each label
    for sign in sorted(signs, key=lambda sign: -sign.recall):
        frequent.setdefault(sign.label, sign)
    first = list(frequent.values())
    advice = f"{_named(data, first)}; fine where the words belong to the topic, not where they come from its source"
    finding = Finding(FAMILY, title, "note", len(labels), len(data.label_names), advice)
    return replace(finding, examples=_examples(data, first), figures=_table(data, signs))


def _named(data: Data, signs: list[Sign]) -> str:
    named = [f"'{sign.token}' in {sign.recall:.0%} of {data.label_names[sign.label]}" for sign in signs[:NAMED]]
    more = len(signs) - len(named)
    return ", ".join(named) + (f" and {more:,} more" if more else "")


def _table(data: Data, signs: list[Sign]) -> dict[str, Any]:
    return {
        "tokens": [
            {
                "token": sign.token,
                "label": data.label_names[sign.label],
                "rows": sign.rows,
                "share of the label's rows": round(sign.recall, 4),
                "share of its rows with the label": round(sign.precision, 4),
            }
            for sign in signs[:LISTED]
        ]
    }


def _examples(data: Data, signs: list[Sign]) -> list[Any]:
    """Return a row of train for each of the first tokens."""
    train = data.splits["train"]
    has_label = _one_column_per_label(train, len(data.label_names)).tocsc()
    seen = []
    for sign in signs[: MOST_EXAMPLES // 2]:
        rows = has_label.indices[has_label.indptr[sign.label] : has_label.indptr[sign.label + 1]]
        row = next((int(row) for row in rows[:1000] if sign.token in tokens_of(train.texts[int(row)])), None)
        if row is not None:
            seen.append(example(data, "train", row, f"'{sign.token}'"))
    return seen


def _by_length(data: Data) -> Finding:
    """Say which labels have lengths of their own: 90 % of their rows are so long, and no other rows are."""
    title = "labels that the length of a text gives away"
    train = data.splits["train"]
    words = np.fromiter((len(text.split()) for text in train.texts), dtype=np.int64, count=len(train))
    has_label = _one_column_per_label(train, len(data.label_names)).tocsc()
    order = np.sort(words)
    rows_of: list[dict[str, Any]] = []
    for label, name in enumerate(data.label_names):
        of_label = np.sort(words[has_label.indices[has_label.indptr[label] : has_label.indptr[label + 1]]])
        if len(of_label) < LEAST_ROWS:
            continue
        low, high = (int(np.quantile(of_label, share, method="nearest")) for share in (0.05, 0.95))
        inside, in_all = (int(np.searchsorted(v, high, "right") - np.searchsorted(v, low)) for v in (of_label, order))
        if inside >= NEARLY_ALL * len(of_label) and inside >= MOSTLY_THERE * in_all:
            bounds = {"words, from": low, "words, to": high}
            rows_of.append({"label": name, **bounds, "rows": inside, "other rows": in_all - inside})
    if not rows_of:
        return Finding(FAMILY, title, "ok", 0, len(data.label_names))
    named = ", ".join(f"{row['label']} has {row['words, from']} to {row['words, to']} words" for row in rows_of[:NAMED])
    advice = f"{named}, and other labels hardly any row of this length; cut or choose texts of one length"
    return Finding(FAMILY, title, "warning", len(rows_of), len(data.label_names), advice, figures={"labels": rows_of})
