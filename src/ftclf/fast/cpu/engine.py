"""The engine for CPUs: encoder blocks as a whole, byte dropout, AdamW of the rows and blocks that a batch moved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ftclf.config import TrainingConfig
from ftclf.fast.cpu.block_weights import BlockWeights, train_blocks_apart
from ftclf.fast.cpu.dropout import use_byte_dropout
from ftclf.fast.cpu.embedding_rows import RowEmbedding, train_by_rows
from ftclf.fast.cpu.encoder import fuse
from ftclf.fast.cpu.trial import blocks_agree
from ftclf.fast.encoder_parts import can_fuse
from ftclf.fast.module_walks import spare_walks
from ftclf.fast.plain import PlainEngine
from ftclf.model.compute import Compute

ROWS = "embedding_rows.safetensors"  # of a checkpoint between two evaluations: rows that are not caught up


class CpuEngine(PlainEngine):
    """Training on a CPU. Blocks are computed as a whole for architectures that have them here and agree with torch."""

    rows: RowEmbedding | None = None
    block_weights: BlockWeights | None = None

    def __init__(self, network: Any, compute: Compute, training: TrainingConfig) -> None:
        super().__init__(network, compute, training)
        # Gradient checkpointing computes block by block, to keep less.
        self.has_blocks = not training.gradient_checkpointing and can_fuse(network)
        self.name = "cpu_blocks" if self.has_blocks else "cpu"

    def place(self) -> None:
        use_byte_dropout(self.network)
        self.network.to("cpu")
        if self.has_blocks and blocks_agree(self.network, self.compute, training=True):
            fuse(self.network, self.compute.threads)
        else:
            self.name = "cpu"

    def take_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self.lazy_weight = self.rows = train_by_rows(self.network, optimizer)
        self.block_weights = train_blocks_apart(self.network, optimizer, self.compute.threads)
        spare_walks(self.network)

    def clip(self, optimizer: Any, max_norm: float) -> Tensor | None:
        """Return the norm of all gradients; the step of a fused AdamW divides by what exceeds the limit."""
        if type(optimizer) is not torch.optim.AdamW or not optimizer.defaults["fused"]:
            return None
        held = (parameter for group in optimizer.param_groups for parameter in group["params"])
        gradients = [parameter.grad for parameter in held if parameter.grad is not None]
        if self.rows and (moved := self.rows.gradient()):
            gradients.append(moved[1])
        norms = self.block_weights.norms() if self.block_weights else []
        norm = torch.nn.utils.get_total_norm([*gradients, *norms])
        excess = (norm + 1e-6) / (max_norm or math.inf)  # as torch's clip_grad_norm_ has it
        optimizer.grad_scale = None if excess <= 1 else excess  # type: ignore[attr-defined]
        return norm

    @contextmanager
    def saving(self) -> Iterator[None]:
        if self.rows is None:
            yield
            return
        with self.rows.as_it_stands():
            yield

    def save(self, folder: Path) -> None:
        if self.rows and (behind := self.rows.behind()):
            save_file(behind, folder / ROWS)

    def load(self, folder: Path) -> None:
        if self.rows and (folder / ROWS).is_file():
            self.rows.take_up(load_file(folder / ROWS))
