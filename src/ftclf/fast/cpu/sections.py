"""The rows of a pass: padded batches whose tokens lie end to end, and the random masks that each draws for itself."""

from __future__ import annotations

from collections.abc import Callable
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
    """One padded batch inside the tokens of a pass.

    `mask` is added to attention scores, shape (rows, 1, 1, length). In training there are random masks for some rows
    after the other, so that neither the core they run on nor what runs beside them changes a bit of them.
    """

    model: int  # whose adapters it goes through
    start: int
    rows: int
    length: int
    mask: Tensor | None
    random: list[tuple[int, RandomMasks]]
    padded_mask: Tensor | None = None  # the mask as attention adds it, once it is made

    @property
    def tokens(self) -> slice:
        return slice(self.start, self.start + self.rows * self.length)

    @property
    def room(self) -> slice:
        """Its tokens in a share, and the zeros behind them."""
        return slice(self.start, self.start + self._places(self.rows))

    def draw(self, x: Tensor, cut: int) -> Tensor:
        """Return a dropout mask for x, its room: bytes, 0 at the rate cut / 256, elsewhere 1."""
        return self.draw_for(x, cut, self.length, self._places)

    def draw_for(self, x: Tensor, cut: int, each: int, places: Callable[[int], int]) -> Tensor:
        """Do it for an x with `each` places for a row, and `places(rows)` of them for some rows alone."""
        if len(self.random) == 1:
            return self.random[0][1].take(x.numel(), cut).view(x.shape)
        mask = torch.empty(x.shape, dtype=torch.uint8)
        size, start = x[0].numel(), 0
        for rows, random in self.random:
            stop = start + rows * each
            drawn = random.take(places(rows) * size, cut)[: (stop - start) * size]
            mask[start:stop] = drawn.view(stop - start, *x.shape[1:])
            start = stop
        mask[start:] = 0
        return mask

    def _places(self, rows: int) -> int:
        tile = TILE_OF_TEXTS if self.length == 1 else TILE
        return -(-rows * self.length // tile) * tile


def joined(sections: list[Section]) -> Section:
    """Return sections of one model and one length, one after the other, as one: the fewer, the fewer operations."""
    masks = [section.mask for section in sections if section.mask is not None]
    rows, random = sum(section.rows for section in sections), [one for section in sections for one in section.random]
    return replace(sections[0], rows=rows, mask=torch.cat(masks) if masks else None, random=random, padded_mask=None)


def first_tokens(sections: list[Section]) -> list[Section]:
    """Return the first tokens of the texts of sections that lie in this order, as sections of texts of one token."""
    texts, start = [], 0
    for section in sections:
        texts.append(replace(section, start=start, length=1, mask=None, padded_mask=None))
        start += section.rows
    return texts


def in_rooms(sections: list[Section]) -> list[Section]:
    """Return the sections as they lie in a share: one after the other, each in its room."""
    moved, start = [], 0
    for section in sections:
        moved.append(replace(section, start=start))
        start = moved[-1].room.stop
    return moved


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


def draw_masks(x: Tensor, cut: int, sections: list[Section]) -> Tensor:
    """Return a dropout mask for the tokens of all sections of a share."""
    if len(sections) == 1:
        return sections[0].draw(x, cut)
    return torch.cat([section.draw(x[section.room], cut) for section in sections])


def filled(parts: list[Tensor], sections: list[Section]) -> Tensor:
    """Return what belongs to the sections one after the other, each with zeros to the end of its room."""
    pieces: list[Tensor] = []
    for part, section in zip(parts, sections, strict=True):
        pieces.append(part)
        if rest := section.room.stop - section.tokens.stop:
            pieces.append(part.new_zeros(rest, *part.shape[1:]))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
