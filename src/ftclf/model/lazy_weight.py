"""Weights that are not stepped at once, as the Trainer and the average of the weights see them."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class LazyWeight(Protocol):
    """A weight that is brought up to date, with its EMA, when somebody reads it."""

    weight: Tensor
    mean: Tensor | None  # EMA of the weight, where there is one

    def average(self, kept: float) -> None:
        """Take the weight into the EMA, which keeps this share of itself."""

    def catch_up(self) -> None:
        """Bring weight and EMA up to date."""
