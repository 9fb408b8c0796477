"""The rows of a pass: a padded batch, cut into sections, and the random masks that each draws for itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

# Every number of tokens that occurs costs the memory and the making of kernels of its own.
TILE, TILE_OF_TEXTS = 16, 32  # tokens; texts of one token are few, and cost as good as nothing
WORD = 2**64 - 1  # the largest of eight random bytes at once
AT_ONCE = 2**17  # of such words: calls for each mask cost more than its elements
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class RandomMasks:
    """Dropout masks from a generator of their own, made many at once."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.Generator(np.random.SFC64(seed))
        self.left: dict[int, Tensor] = {}  # made and not used, by rate in 1/256, one row

    def take(self, count: int, cut: int) -> Tensor:
        """Return a row of so many bytes that nobody has had: 0 at the rate cut / 256, else 1.

        Those left of what was made are skipped where they are too few.
        """
        left = self.left.get(cut)
        if left is None or count > len(left):
            words = self.generator.integers(WORD, size=max(AT_ONCE, -(-count // 8)), dtype=np.uint64, endpoint=True)
            left = torch.from_numpy(np.greater_equal(words.view(np.uint8), cut).view(np.uint8))
        self.left[cut] = left[count:]
        return left[:count]


@dataclass
class Section:
    """The rows of a padded batch that one core computes.

    `mask` is added to attention scores, shape (rows, 1, 1, length). In training each section has random masks of its
    own, so that neither the core that it runs on nor what runs beside it changes a bit of them.
    """

    start: int  # its first token in the batch
    rows: int
    length: int
    mask: Tensor | None
    random: RandomMasks | None
    padded_mask: Tensor | None = None  # the mask as attention adds it, once it is made

    @property
    def tokens(self) -> slice:
        return slice(self.start, self.start + self.rows * self.length)

    @property
    def room(self) -> int:
        """The number of its tokens with the zeros behind them."""
        tile = TILE_OF_TEXTS if self.length == 1 else TILE
        return -(-self.rows * self.length // tile) * tile

    @property
    def firsts(self) -> Section:
        """The first tokens of its texts, where the batch is of these alone."""
        return replace(self, start=self.start // self.length, length=1, mask=None, padded_mask=None)

    def draw(self, x: Tensor, cut: int) -> Tensor:
        """Return a dropout mask for x: bytes, 0 at the rate cut / 256, elsewhere 1."""
        assert self.random is not None
        return self.random.take(x.numel(), cut).view(x.shape)

    def filled(self, x: Tensor) -> Tensor:
        """Return x, a row for each of its tokens, with zeros to the end of its room."""
        rest = self.room - self.rows * self.length
        return torch.cat([x, x.new_zeros(rest, *x.shape[1:])]) if rest else x


def raised(cut: int) -> float:
    """Return what kept values are multiplied by, so that the mean stays."""
    return 256 / (256 - cut)


def masked(x: Tensor, mask: Tensor) -> Tensor:
    """Return what a mask of `draw` keeps of x, without a factor; its bits are multiplied, which is half the work."""
    return (x.view(INTEGERS[x.element_size()]) * mask).view(x.dtype)


def masked_(x: Tensor, mask: Tensor) -> Tensor:
    """Do it in place."""
    x.view(INTEGERS[x.element_size()]).mul_(mask)
    return x
