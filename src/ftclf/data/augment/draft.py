"""What a step makes, and what it is made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.config import AugmentConfig


@dataclass(frozen=True)
class Draft:
    """A new text with the labels of the first of the training rows that it is made from."""

    text: str
    sources: tuple[int, ...]
    how: str


@dataclass(frozen=True)
class Chosen:
    """Words of a text that may be replaced: the pieces of the text, and the places of the words among them."""

    pieces: list[str]
    places: list[int]


# Returns the words that may stand at each chosen place, best first, for each text; none where nothing is known.
Replacements = Callable[[Sequence[Chosen]], list[list[list[str]]]]


@dataclass(frozen=True)
class AugmentInputs:
    """What rows of one label are made from."""

    config: AugmentConfig
    texts: Sequence[str]  # of all training rows
    labels: NDArray[Any]  # of all training rows, see Split
    peers: NDArray[np.int64]  # the rows of this label
    replacements: Replacements | None = None


# Returns a draft for each of the rows, or None where a row gives nothing.
Step = Callable[[Sequence[int], AugmentInputs, Random], list[Draft | None]]
