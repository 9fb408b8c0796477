"""Encoder blocks of BERT and DistilBERT computed as a whole, forward and backward: what a CPU spends its steps on.

torch dispatches about 1,500 small operations for a step of MiniLM, casts every weight twice and keeps what autograd
asks for; here the backward pass is written out, weights are copied once a step, and the rows are shared out over the
cores. The modules, parameters and names stay those of transformers and peft; tests compare values and gradients.
"""

from ftclf.fast.cpu.architectures import (
    can_fuse,
    dropouts_outside,
    encoder_of,
    layers_outside,
    reads_first_token,
)
from ftclf.fast.cpu.encoder import fuse, fused_products
from ftclf.fast.cpu.linear import Product
from ftclf.fast.cpu.workers import in_parallel

__all__ = [
    "Product",
    "can_fuse",
    "dropouts_outside",
    "encoder_of",
    "fuse",
    "fused_products",
    "in_parallel",
    "layers_outside",
    "reads_first_token",
]
