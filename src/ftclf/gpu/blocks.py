"""The blocks of BERT's and DistilBERT's encoders on packed batches, from a few large kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from ftclf.console import warn
from ftclf.fused import can_fuse, encoder_of, reads_first_token
from ftclf.gpu.packed import BOUNDS, LONGEST
from ftclf.gpu.products import Product

Parts = Callable[[Any], tuple[Any, ...]]  # of a layer: inputs, norms, dropouts; outward, up and down
NO_MASK = "ftclf_packed"  # an attention that transformers makes no mask for


def packs(network: Any, device: str, dtype: torch.dtype) -> bool:
    """Return whether batches of a network on a GPU are packed; a warning says so where kernels do not run."""
    asked = device == "cuda" and dtype == torch.bfloat16 and network.config._attn_implementation == "sdpa"
    return asked and can_pack(network) and kernels_run(_width(network), device)


def can_pack(network: Any) -> bool:
    """Return whether the encoder's blocks can be computed here, and the network reads their first tokens alone."""
    if find_spec("triton") is None or not can_fuse(network) or not reads_first_token(network):
        return False
    encoder = encoder_of(network)
    if any(hasattr(module, "modules_to_save") for module in encoder.modules()):
        return False  # a layer that is trained whole beside others that are adapted
    if any(block._compiled_call_impl for block in encoder.layer):
        return False
    from ftclf.gpu.attention import can_attend

    return can_attend(_width(network))


@functools.cache
def kernels_run(width: int, device: str) -> bool:
    """Return whether the machine can compile the kernels for heads of a width, and has room for the largest."""
    from ftclf.gpu.attention import LONGEST as LARGEST
    from ftclf.gpu.attention import attend

    options: dict[str, Any] = {"device": device, "requires_grad": True}
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False):
            x = torch.zeros(LARGEST, 3, 1, width, dtype=torch.bfloat16, **options)
            bounds = torch.tensor([0, LARGEST], dtype=torch.int32, device=device)
            attend(x, bounds, LARGEST, 0.1, torch.zeros(3 * width, **options)).sum().backward()  # type: ignore[no-untyped-call]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of triton, its C compiler or the driver
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        warn(f"batches are padded, which is slower: kernels of triton do not run here ({reason[:200]})")
        return False
    return True


def _width(network: Any) -> int:
    return int(network.config.hidden_size // network.config.num_attention_heads)


class Block:
    """One block: its products and norms, by what they do, and its dropouts: of the attention, and before each norm."""

    def __init__(self, layer: Any, parts: Parts, dtype: torch.dtype) -> None:
        inward, self.norms, self.dropouts, *layers = parts(layer)
        self.inward = Product(inward, dtype)
        self.outward, self.up, self.down = (Product([one], dtype) for one in layers)

    @property
    def products(self) -> list[Product]:
        return [self.inward, self.outward, self.up, self.down]

    def forward(self, x: Pair, heads: int, bounds: Tensor, longest: int, firsts: Tensor | None) -> Pair:
        """Return the block's output; with `firsts`, the places of the texts' first tokens, that of these alone."""
        from ftclf.gpu.attention import LONGEST as LARGEST
        from ftclf.gpu.attention import attend
        from ftclf.gpu.elementwise import add_norm, gelu

        rates = [float(getattr(one, "p", 0.0)) if one is not None and one.training else 0.0 for one in self.dropouts]
        bias, alone = self.inward.bias, longest > LARGEST  # else attention gives the bias its gradient
        y = self.inward(x.low, bias=bias if alone else bias.detach()).view(len(x.low), 3, heads, -1)
        y = attend(y, bounds, longest, rates[0], None if alone else bias).flatten(1)
        wide = x.wide
        if firsts is not None:
            y, wide = y.index_select(0, firsts), wide.index_select(0, firsts)

        def normed(product: Product, inputs: Tensor, residual: Tensor, norm: nn.LayerNorm, rate: float) -> Pair:
            h = product(inputs)
            return Pair(*add_norm(h, product.bias, residual, norm.weight, norm.bias, rate, norm.eps))

        x = normed(self.outward, y, wide, self.norms[0], rates[1])
        h = gelu(self.up(x.low), self.up.bias)
        return normed(self.down, h, x.wide, self.norms[1], rates[2])


@dataclass(frozen=True)
class Pair:
    """Tokens, (tokens, width), in float32, in which they are added, and in the type of products."""

    wide: Tensor
    low: Tensor


class PackedEncoder:
    """The blocks of a network's encoder, which take packed batches while `in_place`."""

    def __init__(self, network: Any, dtype: torch.dtype) -> None:
        self.encoder, self.config, self.dtype = encoder_of(network), network.config, dtype
        parts = _distilbert if self.config.model_type == "distilbert" else _bert
        self.blocks = [Block(layer, parts, dtype) for layer in self.encoder.layer]

    @property
    def products(self) -> list[Product]:
        return [product for block in self.blocks for product in block.products]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        before, self.config._attn_implementation = self.config._attn_implementation, NO_MASK
        self.encoder.forward = self._forward
        try:
            yield
        finally:
            del self.encoder.forward
            self.config._attn_implementation = before

    def _forward(self, hidden_states: Tensor, *_: Any, **options: Any) -> BaseModelOutputWithPastAndCrossAttentions:
        wide, bounds = hidden_states.flatten(0, 1).float(), options[BOUNDS]
        x = Pair(wide, wide.to(self.dtype))
        firsts = bounds[:-1].long().clamp(max=len(wide) - 1)
        for block in self.blocks:
            chosen = firsts if block is self.blocks[-1] else None
            x = block.forward(x, self.config.num_attention_heads, bounds, options[LONGEST], chosen)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=x.wide[:, None])


def _bert(layer: Any) -> tuple[Any, ...]:
    attention, output = layer.attention, layer.output
    return (
        [attention.self.query, attention.self.key, attention.self.value],
        (attention.output.LayerNorm, output.LayerNorm),
        (attention.self.dropout, attention.output.dropout, output.dropout),
        attention.output.dense,
        layer.intermediate.dense,
        output.dense,
    )


def _distilbert(layer: Any) -> tuple[Any, ...]:
    attention, inner = layer.attention, layer.ffn
    return (
        [attention.q_lin, attention.k_lin, attention.v_lin],
        (layer.sa_layer_norm, layer.output_layer_norm),
        (attention.dropout, None, inner.dropout),
        attention.out_lin,
        inner.lin1,
        inner.lin2,
    )
