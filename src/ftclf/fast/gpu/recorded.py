"""Training steps of a GPU that are recorded once for each shape of a batch, and replayed from then on.

A step of a small encoder is a thousand kernels of a few microseconds each: launched one by one from Python they keep a
GPU waiting most of the time. A CUDA graph launches all of them at once, from the batch to the optimizer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ftclf.config import TrainingConfig
from ftclf.fast.gpu.packed import RATES
from ftclf.fast.gpu.updates import KernelUpdate, TorchUpdate
from ftclf.fast.plain import AHEAD, Batch

SAME_STEPS = {"adam_beta1", "adam_beta2", "adam_epsilon"}  # other TrainingArguments may ask for steps of another kind


def can_record(config: TrainingConfig, device: str, precision: str) -> bool:
    """Return whether training with these settings does the same in every step, and on a device that can record it."""
    same = config.accumulation == 1 and config.optimizer == "adamw_torch_fused" and precision != "fp16"
    own = config.compile or config.gradient_checkpointing or config.mixup or set(config.extra) - SAME_STEPS
    return device == "cuda" and config.graphs and same and not own


@contextmanager
def computing_in(stream: Any) -> Iterator[None]:
    """Compute the block in a stream of CUDA: the default one cannot be recorded."""
    stream.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        stream.synchronize()


class Shape:
    """What batches of one shape are copied into, and the step that reads it there; None before it is recorded.

    All tensors of a batch go to the device in one piece, from memory that is not written again before they are there.
    """

    def __init__(self, batch: Batch, device: Any) -> None:
        tensors = {name: one for name, one in batch.items() if isinstance(one, Tensor)}
        self.order = sorted(tensors, key=lambda name: -batch[name].element_size())  # so that each begins where it may
        ends = list(accumulate(batch[name].nbytes for name in self.order))
        self.parts = [slice(start, end) for start, end in pairwise([0, *ends])]
        self.rooms = deque(torch.empty(ends[-1], dtype=torch.uint8, pin_memory=True) for _ in range(AHEAD + 2))
        self.there = torch.empty(ends[-1], dtype=torch.uint8, device=device)
        self.inputs = batch | {
            name: self.there[part].view(batch[name].dtype).view(batch[name].shape)
            for name, part in zip(self.order, self.parts, strict=True)
        }
        self.graph: Any = None

    def take(self, batch: Batch) -> None:
        """Copy a batch to the device, without waiting."""
        self.rooms.rotate()
        room = self.rooms[0]
        for name, part in zip(self.order, self.parts, strict=True):
            room[part] = batch[name].contiguous().view(-1).view(torch.uint8)
        self.there.copy_(room, non_blocking=True)


class Launched(NamedTuple):
    """A step that is on its way."""

    found: Tensor  # its loss and the gradients' norm, in the CPU's memory once the event has come
    event: Any


class RecordedSteps:
    """Forward, backward, the gradient's norm and the optimizer, as one graph for each shape of batch.

    The first batch of a shape is trained without a recording, which also loads the kernels. RATES of it are the
    learning rates. Steps are launched one after the other, and looked at when a few more are under way.
    """

    def __init__(
        self, loss_of: Callable[[Batch], Tensor], update: TorchUpdate | KernelUpdate, device: torch.device
    ) -> None:
        self.loss_of, self.update, self.device = loss_of, update, device
        self.found = torch.zeros(2, device=device)
        self.under_way: deque[tuple[int, Launched]] = deque()
        self.shapes: dict[tuple[Any, ...], Shape] = {}
        self.pool = torch.cuda.graph_pool_handle()

    def step(self, batch: Batch, number: int) -> None:
        """Train one batch without waiting for it. `number` is what `checked` calls the step."""
        self.under_way.append((number, self.launch(batch)))

    def checked(self, ahead: int = AHEAD) -> list[tuple[int, float, float]]:
        """Wait until so many steps are on their way at most; return number, loss and norm of those that are done."""
        done = []
        while len(self.under_way) > ahead:
            number, one = self.under_way.popleft()
            one.event.synchronize()
            done.append((number, float(one.found[0]), float(one.found[1])))
        return done

    def launch(self, batch: Batch) -> Launched:
        """Train one batch, which lies in the CPU's memory, without waiting for it."""
        key = tuple((name, one.shape if isinstance(one, Tensor) else one) for name, one in batch.items())
        shape = self.shapes.get(key)
        if new := shape is None:
            shape = self.shapes[key] = Shape(batch, self.device)
        assert shape is not None
        shape.take(batch)
        if new:
            self._train(shape.inputs)
        else:
            if shape.graph is None:
                shape.graph = self._recorded(shape.inputs)
            shape.graph.replay()
        found = torch.empty(self.found.shape, pin_memory=True).copy_(self.found, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        return Launched(found, event)

    def _train(self, inputs: Batch) -> None:
        """Train one batch kernel by kernel: what is recorded, too."""
        inputs = dict(inputs)
        rates = inputs.pop(RATES)
        with self.update.in_place():
            loss = self.loss_of(inputs)
            torch.autograd.backward(loss)
        self.found[1].copy_(self.update.take(rates).squeeze())
        self.found[0].copy_(loss.detach())

    def _recorded(self, inputs: Batch) -> Any:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        if torch.cuda.mem_get_info()[0] < 2 * torch.cuda.memory_reserved():
            torch.cuda.empty_cache()  # a recording has memory of its own, and cannot take what lies unused
        self.update.prepare()
        graph.capture_begin(pool=self.pool)  # what it needs besides is given back at its end, and all graphs share it
        try:
            self._train(inputs)
        except BaseException:
            with suppress(RuntimeError):  # says again that the recording has failed
                graph.capture_end()
            raise
        graph.capture_end()
        self.update.settle()
        return graph
