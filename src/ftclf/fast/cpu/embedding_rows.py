"""Word embeddings whose AdamW step costs what the batch's words cost, with the weights of the full step.

A batch holds some 300 of MiniLM's 30,522 words, yet a step of AdamW writes, clips and applies a gradient for all of
them, nearly all zeros: a sixth of a step on one core. A row without a gradient moves all the same (by weight decay and
by what is left of its moments), but what n such steps do to it is linear in its weight p and in u = m / sqrt(v):

    p <- left * p - moved * u        mean <- mean_left * mean + mean_weight * p - mean_moved * u

with coefficients that depend only on when the row was last seen. They are kept for every such moment, and a row is
caught up when a batch holds its word, or with all others before anything reads the whole table. This is no "sparse
Adam", which lets rows without a gradient stand still: the weights are those of the full step, within rounding. (Where
gradients are as small as AdamW's epsilon u is not quite the same in every step: weights then differ by a thousandth of
their way.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW

from ftclf.fast.cpu.adamw import can_step_apart, state_of, step_apart
from ftclf.model.network import word_embeddings

CHUNK = 1024  # rows that are caught up at a time: what they need stays in the cache


class History:
    """What has happened to a row without gradients since each past event, as coefficients.

    An event is a step or an update of the mean; event 0 is the start. float64, one entry an event.
    """

    SIZE = 4096  # events; after so many everything is caught up, which costs less than a step

    def __init__(self) -> None:
        self.table = np.zeros((8, self.SIZE))
        self.now = -1
        self._begin()

    @property
    def full(self) -> bool:
        return self.now == self.SIZE - 1

    def step(self, group: dict[str, Any], step: int) -> None:
        """Take in a step of AdamW with a group's settings; `step` is counted from 1, as in its bias corrections."""
        (beta1, beta2), rate = group["betas"], group["lr"]
        left, moved, epsilon, first, second, *_ = self.table[:, : self.now + 1]
        first *= beta1
        second *= beta2
        bias = math.sqrt(1 - beta2**step)
        taken = rate * bias / (1 - beta1**step) * first / np.sqrt(second)
        for past in (left, moved, epsilon):
            past *= 1 - rate * group["weight_decay"]
        moved += taken
        epsilon += taken * bias / np.sqrt(second)
        self._begin()

    def average(self, kept: float) -> None:
        """Take in an update of the mean, which keeps this share of itself."""
        left, moved, _, _, _, mean_left, mean_weight, mean_moved = self.table[:, : self.now + 1]
        for past in (mean_left, mean_weight, mean_moved):
            past *= kept
        mean_weight += (1 - kept) * left
        mean_moved += (1 - kept) * moved
        self._begin()

    def since(self, events: NDArray[np.int64]) -> Tensor:
        """Return the coefficients of rows that were last seen at these events; shape (8, rows, 1).

        In order: left, moved, epsilon, what is left of both moments, mean_left, mean_weight, mean_moved. The epsilon of
        the denominator counts as its mean over the steps, weighted by what they moved: u = m / (sqrt(v) + epsilon).
        """
        found = self.table[:, events]
        found[2] = np.divide(found[2], found[1], out=np.ones_like(found[1]), where=found[1] > 0)
        return torch.from_numpy(found).float()[:, :, None]

    def _begin(self) -> None:
        self.now += 1
        self.table[:, self.now] = (1, 0, 0, 1, 1, 1, 0, 0)


class RowEmbedding(nn.Embedding):
    """An embedding whose rows are looked up and trained one by one; outside training it is the plain one, caught up.

    It shares the parameter of the embedding it replaces and leaves that parameter's gradient None: the optimizer, which
    holds it in one of its groups, passes over it, and the rows are stepped right after, with that group's settings.
    The moments and the step count are the optimizer's state, so that its state_dict is that of the full step.
    """

    def __init__(self, replaced: nn.Embedding, optimizer: AdamW) -> None:
        words, width = replaced.weight.shape
        super().__init__(words, width, replaced.padding_idx, _weight=replaced.weight)
        self.weight = replaced.weight
        self.optimizer = optimizer
        self.mean: Tensor | None = None  # the running mean of the weight, where there is one
        self.history = History()
        self.seen = torch.zeros(self.num_embeddings, dtype=torch.int64)  # the event to which each row is caught up
        self.stands_still = False
        self.looked_up: list[tuple[Tensor, Tensor]] = []  # since the last step: ids, and their rows as leaves
        optimizer.register_step_post_hook(lambda *_: self._step())
        for register in (
            optimizer.register_state_dict_pre_hook,
            optimizer.register_load_state_dict_pre_hook,
            self.register_state_dict_pre_hook,
            self.register_load_state_dict_pre_hook,
        ):
            register(lambda *_: self.catch_up())

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            self.catch_up()
            return super().forward(input)
        ids, inverse = torch.unique(input, return_inverse=True)
        self._catch_up(ids)
        rows = self.weight.detach().index_select(0, ids).requires_grad_()
        self.looked_up.append((ids, rows))
        return functional.embedding(inverse, rows)

    def gradient(self) -> tuple[Tensor, Tensor] | None:
        """Return the ids looked up since the last step, each once, and their gradient, (ids, width).

        None where nothing was looked up.
        """
        found = [(ids, rows.grad) for ids, rows in self.looked_up if rows.grad is not None]
        if not found:
            return None
        ids, gradient = found[0]
        if len(found) > 1:
            ids, inverse = torch.unique(torch.cat([ids for ids, _ in found]), return_inverse=True)
            every = torch.cat([gradient for _, gradient in found])
            gradient = every.new_zeros(len(ids), self.embedding_dim).index_add_(0, inverse, every)
        gradient[ids == self.padding_idx] = 0
        return ids, gradient

    def average(self, kept: float) -> None:
        """Take the weights into the mean, which keeps this share of itself."""
        self._happened(lambda history: history.average(kept))

    @contextmanager
    def as_it_stands(self) -> Iterator[None]:
        """Let nothing be caught up while the block runs: what is saved then goes on by `take_up` to the same bits.

        A row that is caught up in two parts may end in another last bit than one that is caught up at once.
        """
        self.stands_still = True
        try:
            yield
        finally:
            self.stands_still = False

    def behind(self) -> dict[str, Tensor]:
        """Return what is needed to catch up later; nothing where all rows are up to date."""
        if self.history.now == 0:
            return {}
        return {"table": torch.from_numpy(self.history.table[:, : self.history.now + 1].copy()), "seen": self.seen}

    def take_up(self, behind: dict[str, Tensor]) -> None:
        """Go on with rows that were saved as they stood."""
        table = behind["table"].numpy()
        self.history.now = table.shape[1] - 1
        self.history.table[:, : table.shape[1]] = table
        self.seen = behind["seen"].clone()

    @torch.no_grad()
    def catch_up(self) -> None:
        """Bring the whole weight, its moments and its mean up to date. Whoever reads them calls this first."""
        if self.history.now == 0 or self.stands_still:
            return
        for start in range(0, self.num_embeddings, CHUNK):
            self._catch_up(torch.arange(start, min(start + CHUNK, self.num_embeddings)))
        self.history = History()
        self.seen.zero_()

    @torch.no_grad()
    def _catch_up(self, ids: Tensor) -> None:
        events = self.seen[ids]
        if (events == self.history.now).all():
            return
        left, moved, epsilon, first, second, *of_mean = self.history.since(events.numpy())
        state, group = self._state(), self._group()
        weight, moment, square = (t.index_select(0, ids) for t in (self.weight, state["exp_avg"], state["exp_avg_sq"]))
        u = moment / (square.sqrt() + group["eps"] * epsilon)
        if self.mean is not None:
            mean_left, mean_weight, mean_moved = of_mean
            mean = self.mean.index_select(0, ids).mul_(mean_left).addcmul_(mean_weight, weight)
            self.mean.index_copy_(0, ids, mean.addcmul_(mean_moved, u, value=-1))
        self.weight.index_copy_(0, ids, weight.mul_(left).addcmul_(moved, u, value=-1))
        state["exp_avg"].index_copy_(0, ids, moment.mul_(first))
        state["exp_avg_sq"].index_copy_(0, ids, square.mul_(second))
        self.seen[ids] = self.history.now

    @torch.no_grad()
    def _step(self) -> None:
        found = self.gradient()
        self.looked_up.clear()
        if found is None:
            return
        ids, gradient = found
        state, group = self._state(), self._group()
        held = (self.weight, state["exp_avg"], state["exp_avg_sq"])
        rows = [tensor.index_select(0, ids) for tensor in held]
        weight, moment, square = rows
        of_rows = {"exp_avg": moment, "exp_avg_sq": square, "step": state["step"]}
        step_apart(self.optimizer, group, of_rows, weight, gradient)
        for tensor, row in zip(held, rows, strict=True):
            tensor.index_copy_(0, ids, row)
        self._happened(lambda history: history.step(group, int(state["step"])))
        self.seen[ids] = self.history.now

    def _happened(self, event: Callable[[History], None]) -> None:
        if self.history.full:
            self.catch_up()
        event(self.history)

    def _group(self) -> dict[str, Any]:
        return next(g for g in self.optimizer.param_groups if any(p is self.weight for p in g["params"]))

    def _state(self) -> dict[str, Tensor]:
        return state_of(self.optimizer, self.weight)


def train_by_rows(network: Any, optimizer: torch.optim.Optimizer) -> RowEmbedding | None:
    """Replace the network's word embedding where its steps can be made by rows; None, and no change, elsewhere."""
    embedding = word_embeddings(network)
    if type(embedding) is not nn.Embedding or not can_step_apart(optimizer):
        return None
    weight = embedding.weight
    held = any(p is weight for group in optimizer.param_groups for p in group["params"])
    plain = not (embedding.max_norm or embedding.scale_grad_by_freq or embedding.sparse)
    if not all(_fade_slowly(*group["betas"]) for group in optimizer.param_groups):
        return None
    if sum(weight is p for module in network.modules() for p in module._parameters.values()) > 1:
        return None  # shared with a decoder, as of T5: its gradient is not of these rows alone
    if not held or not plain or weight.device.type != "cpu" or weight.dtype != torch.float32:
        return None
    rows = RowEmbedding(embedding, optimizer).train(embedding.training)
    network.set_input_embeddings(rows)
    return rows


def _fade_slowly(beta1: float, beta2: float) -> bool:
    """Return whether what a row without gradients moves fades as fast as sqrt(v), and beta2 ** n does not become 0.

    It goes as (beta1 / sqrt(beta2)) ** n. Where sqrt(v) fades faster, AdamW's epsilon decides, which is not linear.
    """
    return beta1 <= beta2 and beta2**History.SIZE > 1e-300
