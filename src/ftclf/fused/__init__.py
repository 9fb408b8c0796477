"""Encoder blocks of BERT and DistilBERT computed as a whole, forward and backward: what a CPU spends its steps on.

torch dispatches about 1,500 small operations for a step of MiniLM, casts every weight twice and keeps what autograd
asks for; here the backward pass is written out, weights are copied once a step, and the rows are shared out over the
cores. The modules, parameters and names stay those of transformers and peft; tests compare values and gradients.
"""

from ftclf.fused.architectures import (
    can_fuse,
    dropouts_outside,
    embeddings_of,
    encoder_of,
    layers_outside,
    reads_first_token,
    trains_before_blocks,
)
from ftclf.fused.encoder import fuse, fused_products
from ftclf.fused.linear import Product
from ftclf.fused.shared import share_frozen_weights
from ftclf.fused.workers import in_parallel

__all__ = [
    "Product",
    "can_fuse",
    "dropouts_outside",
    "embeddings_of",
    "encoder_of",
    "fuse",
    "fused_products",
    "in_parallel",
    "layers_outside",
    "reads_first_token",
    "share_frozen_weights",
    "trains_before_blocks",
]
