"""The rows of a pass: padded batches whose tokens lie end to end, and the random masks that each draws for itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

AT_ONCE = 2**20  # random bytes drawn together


@dataclass
class Section:
    """One padded batch inside the tokens of a pass.

    `mask` is added to attention scores, shape (rows, 1, 1, length). The section draws from its own generator, so that
    neither the core it runs on nor what runs beside it changes a bit of it.
    """

    model: int  # whose adapters it goes through
    start: int
    rows: int
    length: int
    mask: Tensor | None
    generator: torch.Generator | None
    drawn: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))

    @property
    def tokens(self) -> slice:
        return slice(self.start, self.start + self.rows * self.length)

    def draw(self, x: Tensor, cut: int) -> Tensor:
        """Return a dropout mask for x, in its type: 0 at the rate cut / 256, elsewhere 1."""
        size = x.numel()
        if len(self.drawn) < size:
            words = torch.empty(max(size, AT_ONCE) // 8 + 1, dtype=torch.int64)
            self.drawn = words.random_(-(2**63), None, generator=self.generator).view(torch.uint8)
        drawn, self.drawn = self.drawn[:size], self.drawn[size:]
        return torch.ge(drawn.view(x.shape), cut, out=torch.empty_like(x))  # a bool in between takes six times as long


def raised(cut: int) -> float:
    """Return what kept values are multiplied by, so that the mean stays."""
    return 256 / (256 - cut)


def draw_masks(x: Tensor, cut: int, sections: list[Section]) -> Tensor:
    """Return a dropout mask for the tokens of all sections, with the factor that keeps the mean."""
    return filled([section.draw(x[section.tokens], cut) for section in sections], len(x)).mul_(raised(cut))


def filled(parts: list[Tensor], tokens: int) -> Tensor:
    """Return the parts end to end, and zeros up to the number of tokens."""
    rest = tokens - sum(len(part) for part in parts)
    if rest:
        parts = [*parts, parts[0].new_zeros(rest, *parts[0].shape[1:])]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
