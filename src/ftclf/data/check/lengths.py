"""Lengths in tokens: what dataset.max_length cuts, and what the tokenizer does not know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ftclf.data import Data
from ftclf.data.check.finding import Finding, all_rows, count_rows, example
from ftclf.data.check.texts import Rows, as_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FAMILY = "lengths"
UNCUT = 2**20  # tokens of a text; longer ones are counted as this long
BINS = 40  # of the histogram
MANY_CUT, MUCH_LOST = 0.05, 0.05  # shares of the rows and of the tokens, from which a cut is a warning
MANY_UNKNOWN = 0.01  # share of the tokens
STEP = 8  # lengths that are advised are multiples of it
LOOKED_AT = 2000  # rows whose unknown tokens are looked up in the text
NAMED = 50  # unknown pieces of text
SHOWN = 10  # examples


class TokenLengths(Protocol):
    """Ids of all rows end to end; row i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]: ...


def lengths(
    data: Data,
    tokens: Mapping[str, TokenLengths],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    longest: int | None,
) -> Iterator[Finding]:
    """Yield what is cut, and what is unknown. `tokens` are those of whole texts; `longest` is what the model takes."""
    yield _cut(data, {name: split.lengths for name, split in tokens.items()}, max_length, longest)
    yield _unknown(data, tokens, tokenizer)


def _cut(data: Data, by_split: dict[str, NDArray[np.int64]], max_length: int, longest: int | None) -> Finding:
    every = np.concatenate(list(by_split.values()))
    rows = as_rows({name: np.flatnonzero(values > max_length) for name, values in by_split.items()})
    lost = int(np.maximum(every - max_length, 0).sum())
    share_lost = lost / max(1, int(every.sum()))
    count = count_rows(rows)
    needed = {share: int(np.quantile(every, share, method="higher")) for share in (0.95, 0.99)}
    figures: dict[str, Any] = {
        "dataset.max_length": max_length,
        "median tokens": int(np.median(every)),
        "tokens, 95% of the rows": needed[0.95],
        "tokens, 99% of the rows": needed[0.99],
        "tokens, longest row": int(every.max()),
        "tokens in all": int(every.sum()),
        "tokens cut off": lost,
        "share of tokens cut off": round(share_lost, 4),
        "histogram": histogram(every),
    }
    title = f"rows cut at dataset.max_length={max_length}"
    if not count:
        return Finding(FAMILY, title, "ok", 0, len(every), figures=figures)
    verdict = "warning" if count > MANY_CUT * len(every) and share_lost > MUCH_LOST else "note"
    advice = f"{_percent(share_lost)} of all tokens are lost; {_advised(needed, max_length, longest)}"
    seen = [
        example(data, name, int(row), f"{by_split[name][row]:,} tokens, {by_split[name][row] - max_length:,} are cut")
        for name, numbers in rows.items()
        for row in numbers[np.argsort(-by_split[name][numbers], kind="stable")][:SHOWN]
    ]
    return Finding(FAMILY, title, verdict, count, len(every), advice, seen, rows, figures=figures)


def _advised(needed: dict[float, int], max_length: int, longest: int | None) -> str:
    """Return which lengths keep 95 % and 99 % of the rows whole, as far as the model takes them."""
    kept = {share: -(-length // STEP) * STEP for share, length in needed.items() if length > max_length}
    if not kept:
        return "99% of the rows stay whole"
    takes = {share: length for share, length in kept.items() if longest is None or length <= longest}
    if takes:
        parts = [f"dataset.max_length={length} keeps {share:.0%} of the rows whole" for share, length in takes.items()]
        return ", ".join(parts)
    if longest is not None and longest > max_length:
        return f"dataset.max_length={longest} is the most that this model takes"
    return "split long texts into several rows: this model takes no longer ones"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.095 else f"{share:.1%}" if share >= 0.0005 else "under 0.1%"


def histogram(values: NDArray[np.int64]) -> list[list[int]]:
    """Return [from, to, rows] of bins of equal width up to the 99.5 % point; the last bin has all above it."""
    top = max(int(np.quantile(values, 0.995)), 1)
    width = max(1, -(-top // BINS))
    edges = np.arange(0, top + width, width)
    counts = np.bincount(np.minimum(values // width, len(edges) - 1), minlength=len(edges))
    return [[int(edge), int(edge) + width - 1, int(count)] for edge, count in zip(edges, counts, strict=True)]


def _unknown(data: Data, tokens: Mapping[str, TokenLengths], tokenizer: PreTrainedTokenizerBase) -> Finding:
    title = "rows with tokens that the tokenizer does not know"
    unknown = tokenizer.unk_token_id
    if unknown is None:
        return Finding(FAMILY, title, "ok", 0, all_rows(data))
    places = {name: np.flatnonzero(split.ids == unknown) for name, split in tokens.items()}
    rows = as_rows(
        {name: np.unique(np.searchsorted(tokens[name].offsets, at, side="right") - 1) for name, at in places.items()}
    )
    missing, whole = sum(map(len, places.values())), sum(len(split.ids) for split in tokens.values())
    if not rows:
        return Finding(FAMILY, title, "ok", 0, all_rows(data))
    pieces = _unknown_pieces(data, rows, tokenizer, int(unknown))
    behind = [{"text": text, "code points": _code_points(text), "times": times} for text, times in pieces]
    figures = {
        "unknown tokens": missing,
        "share of all tokens": round(missing / whole, 5),
        "texts behind them": behind,
    }
    named = " ".join(text if len(text) < SHOWN else text[:SHOWN] + "…" for text, _ in pieces[:SHOWN])
    advice = f"the model sees the same [UNK] for each: {named}; replace them, or choose a model that knows them"
    verdict = "warning" if missing > MANY_UNKNOWN * whole else "note"
    known = [text for text, _ in pieces]
    seen = [
        example(data, name, int(row), _pieces_in(data.splits[name].texts[int(row)], known))
        for name, numbers in rows.items()
        for row in numbers[:SHOWN]
    ]
    return Finding(FAMILY, title, verdict, count_rows(rows), all_rows(data), advice, seen, rows, figures=figures)


def _unknown_pieces(data: Data, rows: Rows, tokenizer: Any, unknown: int) -> list[tuple[str, int]]:
    """Return what stands in the texts where the tokenizer has no token, the most frequent first."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    pieces: Counter[str] = Counter()
    for name, numbers in rows.items():
        for row in numbers[:LOOKED_AT]:
            text = data.splits[name].texts[int(row)]
            encoded = backend.encode(text)
            for token, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
                if token == unknown:
                    pieces[text[start:end]] += 1
    return pieces.most_common(NAMED)


def _pieces_in(text: str, pieces: list[str]) -> str:
    return " ".join(piece for piece in pieces if piece in text)[:40]


def _code_points(text: str) -> str:
    return " ".join(f"U+{ord(char):04X}" for char in text[:4]) + (" …" if len(text) > 4 else "")
