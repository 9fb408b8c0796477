"""Near duplicates: texts that have most of their words in common, found by MinHash and verified by their sets of words.

Signatures are made by numpy for all texts at once, and equal bands of them are found by sorting: the LSH of datasketch
keeps Python sets per band, 420 MB for 54,000 short texts.
Source: Broder 1997, "On the resemblance and containment of documents".
"""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

HASHES = 128  # per text, at most
RECALL = 0.995  # share of the pairs at the limit that share a band
FEWEST = 4  # words of a text that can have a near duplicate
ORDERED = 8  # up to so many words, their order counts too: `is it good` is not `it is good`
NEIGHBOURS = 8  # texts of an equal band that a text is compared with: so many that follow it, the first and the last
ESTIMATED = 0.15  # by how much a signature may underrate a pair: 4 standard deviations at 0.8
CHUNK = 2**20  # numbers at a time
MOST_SEEN = 30_000_000  # pairs that are remembered, 240 MB

Pairs = NDArray[np.int64]  # shape (pairs, 2), the lower number first


class _Folding(dict[int, str]):
    """Translate punctuation, symbols and controls into spaces."""

    def __missing__(self, code: int) -> str:
        self[code] = " " if unicodedata.category(chr(code))[0] in "PSZC" else chr(code)
        return self[code]


class _Spacing(dict[int, str]):
    """Put spaces around each character of the scripts that write words without them, and for variation selectors."""

    def __missing__(self, code: int) -> str:
        mark = chr(code)
        wide = unicodedata.east_asian_width(mark) == "W" or 0x0E00 <= code <= 0x0EFF
        unspaced = wide or 0x1000 <= code <= 0x109F or 0x1780 <= code <= 0x17FF
        selects = 0xFE00 <= code <= 0xFE0F  # how the symbol before it is drawn, which is gone
        self[code] = " " if selects else f" {mark} " if unspaced and mark.isalpha() else mark
        return self[code]


FOLDING, SPACING = _Folding(), _Spacing()


def normalised(text: str) -> str:
    """Return a text without case, punctuation, symbols and spaces of other kinds, in NFKC.

    A text of nothing else keeps them.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.translate(FOLDING).split()) or " ".join(folded.split())


def words_of(folded: str) -> list[str]:
    """Return the words of a normalised text, each once; characters where a script has no spaces."""
    return list(dict.fromkeys((folded if folded.isascii() else folded.translate(SPACING)).split()))


@dataclass
class WordSets:
    """The sets of words of many texts: those of text i are `ids[starts[i]:starts[i + 1]]`."""

    ids: NDArray[np.uint32]
    starts: NDArray[np.int64]
    hashes: NDArray[np.uint64]  # of each word: the same in every data set

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.diff(self.starts)

    def take(self, rows: NDArray[np.int64]) -> WordSets:
        starts = np.concatenate([[0], np.cumsum(self.sizes[rows])])
        return WordSets(self.ids[self.places(rows)], starts, self.hashes)

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the words of these texts stand, end to end."""
        sizes = self.sizes[rows]
        shift = np.repeat(self.starts[rows] - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
        return shift + np.arange(sizes.sum())


class WordSetWriter:
    """Collect the sets of words of texts as they come."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.ids, self.starts = array("I"), array("q", [0])

    def add(self, words: Iterable[str]) -> None:
        known = self.known
        self.ids.extend([known.setdefault(word, len(known)) for word in words])
        self.starts.append(len(self.ids))

    def sets(self) -> WordSets:
        hashes = (crc32(word.encode("utf-8", "surrogatepass")) for word in self.known)
        return WordSets(
            np.frombuffer(self.ids, np.uint32) if self.ids else np.empty(0, np.uint32),
            np.frombuffer(self.starts, np.int64),
            np.fromiter(hashes, np.uint64, len(self.known)),
        )


def near_pairs(sets: WordSets, near: float) -> Pairs:
    """Return the pairs of texts whose sets of words have a Jaccard index of `near` or more, sorted."""
    long_enough = np.flatnonzero(sets.sizes >= FEWEST)
    sets = sets.take(long_enough)
    if len(long_enough) < 2:
        return np.empty((0, 2), np.int64)
    in_band, bands = banding(near)
    signatures = signatures_of(sets, in_band * bands)
    verified, seen = [], np.empty(0, np.int64)
    for band in range(bands):
        codes = _equal_bands(signatures[:, band * in_band : (band + 1) * in_band])
        codes = codes[~_among(codes, seen)]
        seen = np.union1d(seen, codes) if len(seen) + len(codes) <= MOST_SEEN else codes
        verified += [found for piece in _pieces(codes, sets) if len(found := _verified(piece, sets, signatures, near))]
    codes = np.unique(np.concatenate(verified)) if verified else np.empty(0, np.int64)
    return long_enough[np.stack(_decoded(codes), axis=1)]


@cache
def banding(near: float) -> tuple[int, int]:
    """Return how many hashes make a band, and how many bands there are: the longest that find RECALL of the pairs."""
    fits = [rows for rows in range(1, 17) if 1 - (1 - near**rows) ** (HASHES // rows) >= RECALL]
    rows = max(fits, default=1)
    return rows, HASHES // rows


def signatures_of(sets: WordSets, hashes: int) -> NDArray[np.uint32]:
    """Return the lowest of each hash over the words of a text, shape (texts, hashes)."""
    random = np.random.default_rng(0)
    factors = random.integers(1, 2**63, hashes, dtype=np.uint64) | np.uint64(1)
    summands = random.integers(0, 2**63, hashes, dtype=np.uint64)
    texts = len(sets.starts) - 1
    found = np.empty((texts, hashes), np.uint32)
    start = 0
    while start < texts:
        stop = max(start + 1, int(np.searchsorted(sets.starts, sets.starts[start] + CHUNK, side="right")) - 1)
        words = sets.hashes[sets.ids[sets.starts[start] : sets.starts[stop]]]
        places = sets.starts[start:stop] - sets.starts[start]
        for number, (factor, summand) in enumerate(zip(factors, summands, strict=True)):
            mixed = ((words * factor + summand) >> np.uint64(32)).astype(np.uint32)
            found[start:stop, number] = np.minimum.reduceat(mixed, places)
        start = stop
    return found


def _equal_bands(band: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the pairs of texts that are equal in a band, as sorted codes."""
    key = np.zeros(len(band), np.uint64)
    for column in band.T:
        key = (key ^ column) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.diff(key, prepend=key[:1] ^ np.uint64(1)))
    sizes = np.diff(np.append(starts, len(key)))
    first, last = np.repeat(starts, sizes), np.repeat(starts + sizes - 1, sizes)
    here = np.arange(len(key))
    ends = [(first, here), (here, last)]
    ends += [(here, np.minimum(here + step, last)) for step in range(1, min(NEIGHBOURS, sizes.max() - 1) + 1)]
    codes = [order[one][one < two] << 32 | order[two][one < two] for one, two in ends]
    return np.unique(np.concatenate(codes))


def _among(codes: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which codes are among sorted ones."""
    if not len(known):
        return np.zeros(len(codes), bool)
    result: NDArray[np.bool_] = known[np.searchsorted(known, codes).clip(max=len(known) - 1)] == codes
    return result


def _decoded(codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return codes >> 32, codes & 0xFFFFFFFF


def _pieces(codes: NDArray[np.int64], sets: WordSets) -> Iterator[NDArray[np.int64]]:
    """Yield codes, so many at a time that their words take no more than a chunk or two."""
    if len(codes):
        at_a_time = max(1, int(CHUNK / max(float(sets.sizes.mean()), 8.0)))
        for start in range(0, len(codes), at_a_time):
            yield codes[start : start + at_a_time]


def _verified(
    codes: NDArray[np.int64], sets: WordSets, signatures: NDArray[np.uint32], near: float
) -> NDArray[np.int64]:
    """Return the pairs whose Jaccard index is `near` or more."""
    first, second = _decoded(codes)
    sizes = sets.sizes
    possible = np.minimum(sizes[first], sizes[second]) >= near * np.maximum(sizes[first], sizes[second])
    codes, first, second = codes[possible], first[possible], second[possible]
    likely = (signatures[first] == signatures[second]).mean(axis=1) >= near - ESTIMATED
    codes, first, second = codes[likely], first[likely], second[likely]
    if not len(codes):
        return codes
    words = [
        np.repeat(np.arange(len(rows)), sizes[rows]) << 32 | sets.ids[sets.places(rows)].astype(np.int64)
        for rows in (first, second)
    ]
    both = np.sort(np.concatenate(words))
    common = np.bincount(both[1:][both[1:] == both[:-1]] >> 32, minlength=len(codes))
    result: NDArray[np.int64] = codes[common >= near * (sizes[first] + sizes[second] - common) - 1e-9]
    return result
