"""Nearest words in a base model's word embeddings, in place of a thesaurus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftclf.model.base_weights import WEIGHTS, read_weights
from ftclf.model.network import outline, word_embeddings
from ftclf.model.whole_words import whole_words
from ftclf.system.errors import WeightsError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NEAREST = 5  # words that are given for a word at most
LOOKED_AT = 40  # nearest words: most of the first are inflections
STEM = 4  # first letters that inflections have in common
AT_ONCE = 256  # words that are compared with all others together
SHORTEST = 3  # letters of a neighbour


class WordNeighbours:
    """Words whose embeddings have a cosine of at least `similarity`, once their common mean is taken off."""

    def __init__(self, folder: Path, tokenizer: PreTrainedTokenizerBase, similarity: float) -> None:
        words = {number: word for number, word in whole_words(tokenizer).items() if len(word) >= SHORTEST}
        self.words, self.similarity = list(words.values()), similarity
        self.places = {word: place for place, word in enumerate(self.words)}
        self.vectors = _centred(_embeddings(folder)[np.fromiter(words, dtype=np.int64, count=len(words))])
        self.kept: dict[str, list[str]] = {}

    def of(self, words: Iterable[str]) -> list[list[str]]:
        """Return the nearest words of each, in lower case where the vocabulary has it so; none for an unknown word."""
        keys = [self._key(word) for word in words]
        fresh = [key for key in dict.fromkeys(keys) if key and key not in self.kept]
        for start in range(0, len(fresh), AT_ONCE):
            part = fresh[start : start + AT_ONCE]
            self.kept.update(zip(part, self._nearest(part), strict=True))
        return [self.kept.get(key, []) for key in keys]

    def _key(self, word: str) -> str:
        return word if word in self.places else word.casefold() if word.casefold() in self.places else ""

    def _nearest(self, words: Sequence[str]) -> list[list[str]]:
        cosines = self.vectors[[self.places[word] for word in words]] @ self.vectors.T
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :LOOKED_AT]
        return [
            [other for place in places if row[place] >= self.similarity and _another(other := self.words[place], word)][
                :NEAREST
            ]
            for word, places, row in zip(words, nearest, cosines, strict=True)
        ]


def _another(other: str, word: str) -> bool:
    """Return whether two words differ by more than an inflection, as in `bets`, or a prefix, as in `unlikely`."""
    shorter, longer = sorted((other.casefold(), word.casefold()), key=len)
    return shorter[:STEM] != longer[:STEM] and shorter not in longer


def _centred(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = vectors - vectors.mean(axis=0)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))


def _embeddings(folder: Path) -> NDArray[np.float32]:
    """Read the input embeddings of a model folder, (ids, width)."""
    network: Any = outline(folder)
    module = word_embeddings(network)
    names = [name for name, other in network.named_modules() if other is module and module is not None]
    tensors = read_weights(folder / WEIGHTS)
    for name in (f"{name}.weight" for name in names):
        for key, tensor in tensors.items():
            if tensor.ndim == 2 and (name.endswith(f".{key}") or key.endswith(name) or key == name):
                return np.asarray(tensor.float().numpy())
    raise WeightsError(
        f"augment.source: no word embeddings in {folder / WEIGHTS}; another source is augment.source=wordnet"
    )
