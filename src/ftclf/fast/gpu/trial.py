"""Whether batches of a network are packed: where the kernels for it run, and give what torch gives.

They are compiled where they run, for a GPU and by a compiler that nobody may have tried them with. What they get wrong
would be told by a score at best, after the training.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftclf.fast.encoder_parts import can_fuse, encoder_of, reads_first_token
from ftclf.fast.gpu.blocks import PackedEncoder
from ftclf.fast.gpu.packed import MOST_ATTENDED, first_position, pack
from ftclf.fast.gpu.updates import KernelUpdate
from ftclf.fast.gpu.weights import LowPrecisionWeights
from ftclf.fast.trial import LOGITS, apart, backward, made_tokens, restored_weights, taken, unlike
from ftclf.system.console import warn

MOVED = 1e-2  # of the learning rate: how far a step may be off

_wrong: dict[Any, str] = {}  # what was found, by what the kernels depend on


def packs(network: Any, device: str, dtype: torch.dtype, *, training: bool = False) -> bool:
    """Return whether batches of a network on a GPU are packed; a warning says so where kernels are not to be used."""
    asked = device == "cuda" and dtype == torch.bfloat16 and network.config._attn_implementation == "sdpa"
    return asked and can_pack_batches(network) and kernels_agree(network, device, dtype, training=training)


def can_pack_batches(network: Any) -> bool:
    """Return whether the encoder's blocks can be computed here, and the network reads their first tokens alone."""
    if find_spec("triton") is None or not can_fuse(network) or not reads_first_token(network):
        return False
    encoder = encoder_of(network)
    if any(hasattr(module, "modules_to_save") for module in encoder.modules()):
        return False  # a layer that is trained whole beside others that are adapted
    if any(block._compiled_call_impl for block in encoder.layer):
        return False
    from ftclf.fast.gpu.attention import can_attend

    return can_attend(network.config.hidden_size // network.config.num_attention_heads)


def kernels_agree(network: Any, device: str, dtype: torch.dtype, *, training: bool) -> bool:
    """Return whether kernels score, and train, a network of this kind as torch does. It is left as it was.

    Asked once for each kind in a process; a warning says what is wrong.
    """
    shapes = tuple((name, one.shape, one.requires_grad) for name, one in network.named_parameters())
    key = (network.config.model_type, shapes, device, dtype, training)
    if key not in _wrong:
        try:
            _wrong[key] = _tried(network, device, dtype, training=training)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # of triton, its C compiler or the driver
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            _wrong[key] = f"kernels of triton do not run here ({reason[:200]})"
        if _wrong[key]:
            warn(f"batches are padded, which is slower: {_wrong[key]}")
    return not _wrong[key]


def _tried(network: Any, device: str, dtype: torch.dtype, *, training: bool) -> str:
    """Return what packed batches give that torch does not, of short texts and of the longest; nothing if all agrees."""
    first = first_position(network)
    positions = network.config.max_position_embeddings - first
    most = min(MOST_ATTENDED, positions)
    with restored_weights(network, training), torch.set_grad_enabled(training):
        encoder = PackedEncoder(network, dtype)
        weights = LowPrecisionWeights(encoder.layers_outside, dtype, encoder.products)
        for lengths, longest in (([most + 72, 3], positions), ([17, 2, 9, 31], most), ([1, most, 40], most)):
            tokens = made_tokens(np.minimum(lengths, longest), network.config)
            rows = np.arange(len(tokens))
            ids, mask = (torch.from_numpy(one).to(device) for one in tokens.padded(rows))
            packed = pack(tokens, rows, first)
            inputs = {name: one.to(device) if isinstance(one, Tensor) else one for name, one in packed.items()}
            network.eval()
            with torch.autocast(device, enabled=False):
                wanted = backward(network(input_ids=ids, attention_mask=mask), len(rows))
            wanted_gradients = taken(network)
            with _in_type(device, dtype), weights.in_place(fresh=not training), encoder.in_place():
                found = backward(network(**inputs), len(rows))
            if not (found - wanted).norm() <= LOGITS * wanted.norm():
                return f"packed ones give other logits here ({apart(found, wanted)})"
            for name, one, other in unlike(taken(network), wanted_gradients):
                return f"packed ones give another gradient of {name} here ({apart(one, other)})"
        return _stepped(network, encoder, weights, inputs, dtype) if training else ""


def _in_type(device: str, dtype: torch.dtype) -> Any:
    return torch.autocast(device, dtype, enabled=dtype != torch.float32, cache_enabled=False)


def _stepped(
    network: Any, encoder: PackedEncoder, weights: LowPrecisionWeights, inputs: dict[str, Any], dtype: torch.dtype
) -> str:
    """Make a step with all that training drops, and return what AdamW does otherwise here."""
    rate, decay, most = 0.01, 0.1, 0.5
    trained = {name: one for name, one in network.named_parameters() if one.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=rate, weight_decay=decay)
    update = KernelUpdate([optimizer], most, weights)
    device = update.device
    network.train()
    with _in_type(device.type, dtype), update.in_place(), encoder.in_place(torch.ones(1, dtype=torch.int64).to(device)):
        backward(network(**inputs), 1)
    wanted = {}
    for name, one in trained.items():
        copy = update.copies.get(id(one))
        gradient = copy.gradient() if copy else one.grad
        if gradient is not None:
            wanted[name] = gradient.float().clone()
    norm = torch.stack([one.norm() for one in wanted.values()]).norm()
    factor = (most / (norm + 1e-6)).clamp(max=1)
    for name, gradient in wanted.items():  # the first step of AdamW is by the gradient over its own size
        gradient *= factor
        wanted[name] = trained[name].detach() * (1 - rate * decay) - rate * gradient / (gradient.abs() + 1e-8)
    found = update.take(torch.tensor([rate], device=device))
    if not (found - norm).abs() <= MOVED * norm:
        return f"a gradient's norm is {float(found):.3g} here instead of {float(norm):.3g}"
    for name, one in wanted.items():
        if not (trained[name].detach() - one).abs().max() <= MOVED * rate:
            return f"AdamW makes another step of {name} here"
    for copy in update.copies.values():
        if not torch.equal(copy.part(), copy.source.to(dtype)):
            return "AdamW leaves copies of weights behind here"
    return ""
