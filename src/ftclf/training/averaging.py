"""A running mean of the weights along the last steps: what is evaluated and kept instead of the last step's weights.

The exponential mean of Polyak and Juditsky (1992) as Szegedy et al. (2016) use it: late steps of a large learning rate
scatter around a better point than any of them. It costs one pass over the weights every few steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from ftclf.model.lazy_weight import LazyWeight

FILE = "average.safetensors"
EVERY = 4  # steps between updates: a pass over MiniLM's 22.7 M weights is a tenth of a step on one core
DENSE = 20  # first steps, with an update each: weights move most, and a short run has few


class AverageWeights:
    """The mean of a network's trained weights; `decay` is the share of the past that a step keeps.

    A short run has no long past: the mean reaches back over a tenth of the steps at most.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay
        self.means: dict[str, Tensor] = {}
        self.rows: LazyWeight | None = None  # brings its own mean, one of `means`, up to date

    @property
    def weights(self) -> dict[str, Tensor]:
        """The trained weights as they stand in the network."""
        return {name: weight.data for name, weight in self._trained}

    def update(self, step: int) -> None:
        """Take in the weights after an optimizer step; steps are counted from 1."""
        if not self.means:
            self._catch_up()
            self._begin({name: weight.clone() for name, weight in self.weights.items()})
        elif step <= DENSE or step % EVERY == 0:
            kept = min(self.decay, (1 + step) / (10 + step)) ** (1 if step <= DENSE else EVERY)
            own = self.rows.weight if self.rows else None
            weights = {name: weight.data for name, weight in self._trained if weight is not own}
            torch._foreach_lerp_([self.means[name] for name in weights], list(weights.values()), 1 - kept)
            if self.rows:
                self.rows.average(kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the mean into the network while the block runs."""
        if not self.means:
            yield
            return
        self._catch_up()
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def save(self, folder: Path) -> None:
        """Write the mean beside a Trainer checkpoint."""
        from safetensors.torch import save_file

        self._catch_up()
        save_file(self.means, folder / FILE)

    def load(self, folder: Path) -> None:
        """Go on with the mean of a Trainer checkpoint, copied from its file; with a new one where the run had none.

        Raises SafetensorError, LookupError or ValueError for a file that is not of these weights.
        """
        from safetensors.torch import load_file

        if not (folder / FILE).is_file():
            return
        self._catch_up()
        found, weights = load_file(folder / FILE), self.weights
        if other := [name for name, weight in weights.items() if found[name].shape != weight.shape]:
            raise ValueError(f"{FILE}: other shapes ({', '.join(other[:3])})")
        means = self.means or {name: torch.empty_like(weight) for name, weight in weights.items()}
        for name, mean in means.items():
            mean.copy_(found[name])
        self._begin(means)

    def keep(self) -> None:
        """Put the mean into the network for good."""
        if self.means:
            self._catch_up()
            for name, weight in self.weights.items():
                weight.copy_(self.means[name])

    @cached_property
    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, weight) for name, weight in self.network.named_parameters() if weight.requires_grad]

    def _begin(self, means: dict[str, Tensor]) -> None:
        self.means = means
        if self.rows:
            self.rows.mean = next(means[name] for name, weight in self._trained if weight is self.rows.weight)

    def _catch_up(self) -> None:
        if self.rows:
            self.rows.catch_up()

    def _swap(self) -> None:
        """Let the network hold the mean's memory and the mean the network's: no third copy of the weights."""
        for name, weight in self._trained:
            weight.data, self.means[name] = self.means[name], weight.data
