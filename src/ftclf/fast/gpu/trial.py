"""Whether batches of a network are packed: where the kernels for it run, and give what torch gives.

They are compiled where they run, for a GPU and by a compiler that nobody may have tried them with. What they get wrong
would be told by a score at best, after the training.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftclf.fast.cpu import can_fuse, encoder_of, reads_first_token
from ftclf.fast.gpu.blocks import PackedEncoder
from ftclf.fast.gpu.packed import MOST_ATTENDED, first_position, pack
from ftclf.fast.gpu.updates import KernelUpdate
from ftclf.fast.gpu.weights import LowPrecisionWeights
from ftclf.model.tokens import Tokens
from ftclf.system.console import warn

# How far the sizes of logits and gradients may be off. torch's own autocast to bf16, on a CPU: 0.8 % of MiniLM's
# logits and 3 % of each of its gradients, 0.6 % and 11 % of DistilBERT's without trained weights.
LOGITS, GRADIENTS = 0.1, 0.4
OF_ALL = 3e-3  # of the size of all gradients together: there are some that are nothing but rounding
MOVED = 1e-2  # of the learning rate: how far a step may be off

_wrong: dict[Any, str] = {}  # what was found, by what the kernels depend on


def packs(network: Any, device: str, dtype: torch.dtype, *, training: bool = False) -> bool:
    """Return whether batches of a network on a GPU are packed; a warning says so where kernels are not to be used."""
    asked = device == "cuda" and dtype == torch.bfloat16 and network.config._attn_implementation == "sdpa"
    return asked and can_pack(network) and kernels_agree(network, device, dtype, training=training)


def can_pack(network: Any) -> bool:
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
    most = min(MOST_ATTENDED, network.config.max_position_embeddings - first)
    with _left_as_it_was(network, training), torch.set_grad_enabled(training):
        encoder = PackedEncoder(network, dtype)
        weights = LowPrecisionWeights(encoder.layers_outside, dtype, encoder.products)
        for lengths in ([17, 2, 9, 31], [1, most, 40]):
            tokens = _made_tokens(np.minimum(lengths, most), network.config)
            rows = np.arange(len(tokens))
            ids, mask = (torch.from_numpy(one).to(device) for one in tokens.padded(rows))
            packed = pack(tokens, rows, first)
            inputs = {name: one.to(device) if isinstance(one, Tensor) else one for name, one in packed.items()}
            network.eval()
            with torch.autocast(device, enabled=False):
                wanted = _backward(network(input_ids=ids, attention_mask=mask), len(rows))
            wanted_gradients = _taken(network)
            with _in_type(device, dtype), weights.in_place(fresh=not training), encoder.in_place():
                found = _backward(network(**inputs), len(rows))
            if not (found - wanted).norm() <= LOGITS * wanted.norm():
                return f"packed ones give other logits here ({_apart(found, wanted)})"
            for name, one, other in _unlike(_taken(network), wanted_gradients):
                return f"packed ones give another gradient of {name} here ({_apart(one, other)})"
        return _stepped(network, encoder, weights, inputs, dtype) if training else ""


def _made_tokens(lengths: NDArray[np.int64], config: Any) -> Tokens:
    """Return texts of random tokens, none of which is padding."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    pad_id = config.pad_token_id or 0
    ids = np.random.default_rng(0).integers(config.vocab_size - 1, size=offsets[-1])
    return Tokens((ids + (ids >= pad_id)).astype(np.int32), offsets, 0, pad_id)


def _in_type(device: str, dtype: torch.dtype) -> Any:
    return torch.autocast(device, dtype, enabled=dtype != torch.float32, cache_enabled=False)


def _backward(output: Any, rows: int) -> Tensor:
    """Return the logits of the first rows, when gradients of a sum of them have been computed, if there are any."""
    logits: Tensor = output.logits[:rows].float()
    if torch.is_grad_enabled():
        parts = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
        (logits * parts.to(logits.device)).sum().backward()  # type: ignore[no-untyped-call]
    return logits.detach()


def _taken(network: Any) -> dict[str, Tensor]:
    """Return the gradients of a network, which has none from now on."""
    found = {name: one.grad for name, one in network.named_parameters() if one.grad is not None}
    network.zero_grad()
    return found


def _unlike(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the gradients that are not what they should be: name, gradient, and what it should be."""
    if not wanted:
        return
    size = torch.stack([one.norm() for one in wanted.values()]).norm()
    for name, one in wanted.items():
        own = found.get(name, torch.zeros_like(one))
        if not (own - one).norm() <= GRADIENTS * one.norm() + OF_ALL * size:
            yield name, own, one


def _apart(found: Tensor, wanted: Tensor) -> str:
    return f"{float((found - wanted).norm() / wanted.norm()):.0%} apart"


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
        _backward(network(**inputs), 1)
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


@contextmanager
def _left_as_it_was(network: Any, training: bool) -> Iterator[None]:
    """Let weights that train be changed, and adapters do something, which they do not when they begin."""
    trained = [one for one in network.parameters() if one.requires_grad] if training else []
    kept = [one.detach().clone() for one in trained]
    modes = [(module, module.training) for module in network.modules()]
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, one in network.named_parameters() if training else ():
            if "lora_B" in name and one.requires_grad:
                one.copy_(0.02 * torch.randn(one.shape, generator=random))
    try:
        yield
    finally:
        with torch.no_grad():
            for one, before in zip(trained, kept, strict=True):
                one.copy_(before)
                one.grad = None
        for module, mode in modes:
            module.training = mode
