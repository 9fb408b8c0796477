"""What a step does when its gradients are there: their norm, AdamW, and the low-precision copies of the weights.

In one kernel each for the norm and the rest, which reads gradients in the type that they come in and writes the copies
of the weights beside them: a step of DistilBERT moves half a gigabyte less than with an optimizer that has float32
gradients and copies made around it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftclf.gpu.weights import LowPrecisionWeights


class TorchUpdate:
    """By torch's fused AdamW, which divides by the norm on its way."""

    def __init__(self, optimizer: torch.optim.Optimizer, max_norm: float, weights: LowPrecisionWeights | None) -> None:
        self.optimizer, self.max_norm, self.weights = optimizer, max_norm, weights

    def in_place(self) -> AbstractContextManager[None]:
        """Let the network compute with copies of its weights, and give their gradients to the weights at the end."""
        return self.weights.in_place() if self.weights else nullcontext()

    def take(self, rates: Tensor) -> Tensor:
        """Update the weights with these learning rates, one a parameter group; return the gradients' norm."""
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        parameters = [parameter for group in groups for parameter in group["params"]]
        norm = torch.nn.utils.get_total_norm([one.grad for one in parameters if one.grad is not None])
        if self.max_norm:  # the optimizer divides by it on its way, as torch's clip_grad_norm_ would
            self.optimizer.grad_scale = ((norm + 1e-6) / self.max_norm).clamp(min=1)  # type: ignore[attr-defined]
        known = [group["lr"] for group in groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"], group["capturable"] = rate, True
        try:
            self.optimizer.step()
        finally:
            for group, own in zip(groups, known, strict=True):
                group["lr"], group["capturable"] = own, False
        for parameter in parameters:
            parameter.grad = None  # so that backward makes it anew instead of adding to it
        return norm

    def prepare(self) -> None:
        """Do what a recording needs before it begins: nothing."""

    def settle(self) -> None:
        """Do what must wait for the end of a recording: nothing."""


class KernelUpdate:
    """By kernels that go through all tensors at once. The moments lie where torch's AdamW has them."""

    def __init__(self, optimizer: torch.optim.Optimizer, max_norm: float, weights: LowPrecisionWeights) -> None:
        self.optimizer, self.max_norm, self.weights = optimizer, max_norm, weights
        self.groups: list[dict[str, Any]] = optimizer.param_groups
        self.parameters = [(one, number) for number, group in enumerate(self.groups) for one in group["params"]]
        self.copies = {id(copy.source): copy for copy in weights.trained}
        self.device = self.parameters[0][0].device
        self.decays = torch.tensor([group["weight_decay"] for group in self.groups], device=self.device)
        self.counts = self._counted()
        self.betas = torch.tensor(self.groups[0]["betas"], dtype=torch.float64, device=self.device)
        self.tables: list[Table] = []  # that recordings read
        self.room: Tensor | None = None  # for the table of a recording, while it is made
        self.layout = Layout([one.numel() for one, _ in self.parameters], self.device)

    def in_place(self) -> AbstractContextManager[None]:
        """Let the network compute with copies of its weights, which the last step has brought up to date."""
        return self.weights.in_place(fresh=True)

    def take(self, rates: Tensor) -> Tensor:
        """Update the weights with these learning rates, one a parameter group; return the gradients' norm."""
        from ftclf.gpu.adamw import step, sum_of_squares

        rows = np.array([self._row(*one) for one in self.parameters])
        table = Table(rows, self._empty_table() if self.room is None else self.room)
        if self.room is None:
            table.fill()
        else:
            self.tables.append(table)
        self.counts += 1
        powers = self.betas ** self.counts[0]
        norm = sum_of_squares(table, self.layout, self.weights.dtype).sqrt()
        limit, epsilon = self.max_norm or float("inf"), self.groups[0]["eps"]
        step(table, self.layout, self.weights.dtype, rates, self.decays, self.betas, powers, norm, limit, epsilon)
        for parameter, _ in self.parameters:
            parameter.grad = None
        for copy in self.copies.values():
            copy.leaf.grad = None
        return norm

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
        """Return how many steps each parameter has made: all the same; each state holds its own element."""
        states = [self.optimizer.state[one] for one, _ in self.parameters]
        known = next((float(state["step"]) for state in states if "step" in state), 0.0)
        counts = torch.full((len(states),), known, device=self.device)
        for (one, _), state, count in zip(self.parameters, states, counts, strict=True):
            for name in ("exp_avg", "exp_avg_sq"):
                if name not in state:
                    state[name] = torch.zeros_like(one)
            state["step"] = count
        return counts

    def _row(self, parameter: torch.nn.Parameter, group: int) -> list[int]:
        """Return where a parameter, its gradient, moments and low-precision copy lie; 0 for what there is not."""
        copy = self.copies.get(id(parameter))
        low = copy.leaf.data[copy.rows] if copy else None
        gradient = parameter.grad if copy is None else None if copy.leaf.grad is None else copy.leaf.grad[copy.rows]
        state = self.optimizer.state[parameter]
        tensors = [parameter, gradient, state["exp_avg"], state["exp_avg_sq"], low]
        for one, low_precision in zip(tensors, (False, copy is not None, False, False, True), strict=True):
            dtype = self.weights.dtype if low_precision else torch.float32
            if one is not None and not (one.is_contiguous() and one.dtype == dtype):
                raise RuntimeError(f"a weight or a gradient that is not {dtype}, or not end to end")
        return [*(0 if one is None else one.data_ptr() for one in tensors), parameter.numel(), group]


class Table:
    """Where the tensors of a step lie, (tensors, COLUMNS) on the device: what `_row` returns, for each."""

    COLUMNS = 7

    def __init__(self, rows: NDArray[np.int64], there: Tensor) -> None:
        self.rows, self.there = rows, there
        self.aligned = not (rows[:, :5] % 16).any()

    def fill(self) -> None:
        """Write it."""
        self.there.copy_(torch.from_numpy(self.rows))


class Layout:
    """Which part of which tensor each program of a kernel has: every tensor is cut into chunks."""

    CHUNK = 4096

    def __init__(self, sizes: list[int], device: torch.device) -> None:
        chunks = [-(-size // self.CHUNK) for size in sizes]
        self.programs = sum(chunks)
        tensors = np.repeat(np.arange(len(sizes)), chunks)
        within = np.concatenate([np.arange(count) for count in chunks])
        self.tensors, self.chunks = (torch.from_numpy(one.astype(np.int32)).to(device) for one in (tensors, within))
