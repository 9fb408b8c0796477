"""What a step does when its gradients are there: their norm, AdamW, and the low-precision copies of the weights.

In one kernel each for the norm and the rest, which reads gradients in the type that they come in and writes the copies
of the weights beside them: a step of DistilBERT moves half a gigabyte less than with an optimizer that has float32
gradients and copies made around it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftclf.fast.gpu.weights import LowPrecisionWeights


class TorchUpdate:
    """By torch's fused AdamW, which divides by the norm on its way."""

    def __init__(self, optimizer: torch.optim.Optimizer, max_norm: float, weights: LowPrecisionWeights | None) -> None:
        self.optimizer, self.max_norm, self.weights = optimizer, max_norm, weights
        self.groups: list[dict[str, Any]] = optimizer.param_groups

    def in_place(self) -> AbstractContextManager[None]:
        """Let the network compute with copies of its weights, and give their gradients to the weights at the end."""
        return self.weights.in_place() if self.weights else nullcontext()

    def take(self, rates: Tensor) -> Tensor:
        """Update the weights with these learning rates, one a parameter group; return the gradients' norm, (1,)."""
        parameters = [parameter for group in self.groups for parameter in group["params"]]
        norm = torch.nn.utils.get_total_norm([one.grad for one in parameters if one.grad is not None])
        if self.max_norm:  # the optimizer divides by it on its way, as torch's clip_grad_norm_ would
            self.optimizer.grad_scale = ((norm + 1e-6) / self.max_norm).clamp(min=1)  # type: ignore[attr-defined]
        known = [group["lr"] for group in self.groups]
        for group, rate in zip(self.groups, rates, strict=True):
            group["lr"], group["capturable"] = rate, True
        try:
            self.optimizer.step()
        finally:
            for group, own in zip(self.groups, known, strict=True):
                group["lr"], group["capturable"] = own, False
        for parameter in parameters:
            parameter.grad = None  # so that backward makes it anew instead of adding to it
        return norm.view(1)

    def prepare(self) -> None:
        """Do what a recording needs before it begins: nothing."""

    def settle(self) -> None:
        """Do what must wait for the end of a recording: nothing."""


class KernelUpdate:
    """By kernels that go through all tensors at once. The moments lie where torch's AdamW has them.

    Each training has its own optimizer, whose gradients have a norm of their own; all have the same betas and epsilon,
    and as many parameters.
    """

    def __init__(
        self, optimizers: Sequence[torch.optim.Optimizer], max_norm: float, weights: LowPrecisionWeights
    ) -> None:
        self.max_norm, self.weights = max_norm, weights
        self.groups: list[dict[str, Any]] = [group for one in optimizers for group in one.param_groups]
        self.parameters: list[Trained] = []
        places = itertools.count()
        for number, optimizer in enumerate(optimizers):
            for group, place in zip(optimizer.param_groups, places, strict=False):
                self.parameters += [Trained(one, optimizer.state[one], place, number) for one in group["params"]]
        self.copies = {id(copy.source): copy for copy in weights.trained}
        self.device = self.parameters[0].parameter.device
        self.decays = torch.tensor([group["weight_decay"] for group in self.groups], device=self.device)
        self.counts = self._counted()
        self.first_counts = self.counts[:: len(self.counts) // len(optimizers)]  # of each training
        self.betas = torch.tensor(self.groups[0]["betas"], dtype=torch.float64, device=self.device)
        self.tables: list[Table] = []  # that recordings read
        self.room: Tensor | None = None  # for the table of a recording, while it is made
        self.layout = Layout([one.parameter.numel() for one in self.parameters], self.device)
        of = [one.training for one in self.parameters]
        self.programs = np.bincount(np.repeat(of, self.layout.programs_of)).tolist()  # of each training

    def in_place(self) -> AbstractContextManager[None]:
        """Let the network compute with copies of its weights, which the last step has brought up to date."""
        return self.weights.in_place(fresh=True)

    def take(self, rates: Tensor) -> Tensor:
        """Update the weights with these learning rates, one a parameter group; return the norms, (trainings,)."""
        from ftclf.fast.gpu.adamw import step, sums_of_squares

        rows = np.array([self._row(one) for one in self.parameters])
        table = Table(rows, self._empty_table() if self.room is None else self.room)
        if self.room is None:
            table.fill()
        else:
            self.tables.append(table)
        self.counts += 1
        powers = self.betas ** self.first_counts[:, None]
        sums = torch.split(sums_of_squares(table, self.layout, self.weights.dtype), self.programs)
        norms = torch.stack([one.sum() for one in sums]).sqrt() if len(sums) > 1 else sums[0].sum().sqrt().view(1)
        limit, epsilon = self.max_norm or float("inf"), self.groups[0]["eps"]
        step(table, self.layout, self.weights.dtype, rates, self.decays, self.betas, powers, norms, limit, epsilon)
        for one in self.parameters:
            one.parameter.grad = None
        for copy in self.copies.values():
            copy.leaf.grad = None
        return norms

    def prepare(self) -> None:
        """Make room for the table of a recording: what is made within it, the steps of other recordings write over."""
        self.room = self._empty_table()

    def settle(self) -> None:
        """Fill the table that the recording reads, which cannot be written within it."""
        self.tables[-1].fill()
        self.room = None

    def _empty_table(self) -> Tensor:
        return torch.empty(len(self.parameters), Table.COLUMNS, dtype=torch.int64, device=self.device)

    def _counted(self) -> Tensor:
        """Return how many steps each parameter has made: all of a training the same; each state holds its own."""
        known = {one.training: float(one.state["step"]) for one in self.parameters if "step" in one.state}
        counts = torch.tensor([known.get(one.training, 0.0) for one in self.parameters], device=self.device)
        for one, count in zip(self.parameters, counts, strict=True):
            for name in ("exp_avg", "exp_avg_sq"):
                if name not in one.state:
                    one.state[name] = torch.zeros_like(one.parameter)
            one.state["step"] = count
        return counts

    def _row(self, one: Trained) -> list[int]:
        """Return where a parameter, its gradient, moments and low-precision copy lie; 0 for what there is not.

        And its size, the numbers of its group and training, and what lies together in a copy, and how far apart.
        """
        parameter, copy = one.parameter, self.copies.get(id(one.parameter))
        width = pitch = parameter.numel()
        low, gradient = (copy.part(), copy.gradient()) if copy else (None, parameter.grad)
        if low is not None and not low.is_contiguous():
            width, pitch = low.shape[1], low.stride(0)
        tensors = [parameter, gradient, one.state["exp_avg"], one.state["exp_avg_sq"], low]
        for tensor, may_be_low in zip(tensors, (False, True, False, False, True), strict=True):
            of_copy = may_be_low and low is not None
            dtype = self.weights.dtype if of_copy else torch.float32
            if tensor is None:
                continue
            as_known = tensor.stride() == (pitch, 1) if of_copy and pitch != width else tensor.is_contiguous()
            if tensor.dtype != dtype or not as_known:
                raise RuntimeError(f"a weight or a gradient that is not {dtype}, or lies in another way")
        addresses = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
        return [*addresses, parameter.numel(), one.group, one.training, width, pitch]


@dataclass(frozen=True)
class Trained:
    """A parameter, the optimizer's state of it, and the numbers of its group and of its training."""

    parameter: torch.nn.Parameter
    state: dict[str, Tensor]
    group: int
    training: int


class Table:
    """Where the tensors of a step lie, (tensors, COLUMNS) on the device: what `_row` returns, for each."""

    COLUMNS = 10

    def __init__(self, rows: NDArray[np.int64], there: Tensor) -> None:
        self.rows, self.there = rows, there
        self.aligned = not (rows[:, :5] % 16).any()

    def fill(self) -> None:
        """Write it."""
        self.there.copy_(torch.from_numpy(self.rows))


class Layout:
    """Which part of which tensor each program of a kernel has: every tensor is cut into pieces of `span` elements.

    A program takes a chunk at once. Where there are many it has some: it begins by looking up where its tensors lie.
    """

    CHUNK = 1024
    MANY = 1 << 23  # weights

    def __init__(self, sizes: list[int], device: torch.device) -> None:
        self.span = self.CHUNK * (4 if sum(sizes) > self.MANY else 1)
        self.programs_of = [-(-size // self.span) for size in sizes]
        self.programs = sum(self.programs_of)
        tensors = np.repeat(np.arange(len(sizes)), self.programs_of)
        within = np.concatenate([np.arange(count) for count in self.programs_of])
        self.tensors, self.pieces = (torch.from_numpy(one.astype(np.int32)).to(device) for one in (tensors, within))
