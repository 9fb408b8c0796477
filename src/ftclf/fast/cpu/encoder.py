"""A network whose encoder goes through its blocks as a whole."""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ftclf.fast.cpu.block import Block
from ftclf.fast.cpu.dropout import cut_of
from ftclf.fast.cpu.linear import Product
from ftclf.fast.cpu.passes import Pass, sections_of
from ftclf.fast.encoder_parts import can_fuse, core_of, encoder_of, layers_outside, parts_of, reads_first_token

# Arguments of an encoder that change nothing in its hidden states: the Trainer passes what the loss wants through it.
WITHOUT_EFFECT = ("num_items_in_batch", "return_dict", "use_cache")


class EncoderFunction(torch.autograd.Function):
    """A pass as autograd sees it: one operation with many parameters."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, one: Pass, parameters: list[nn.Parameter], *_: Tensor) -> Tensor:
        ctx.one, ctx.parameters = one, parameters
        with torch.autocast("cpu", enabled=False):
            y, ctx.kept = one.forward(x, keep=True)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        with torch.autocast("cpu", enabled=False):
            dx, grads = ctx.one.backward(gradients[0], ctx.kept, wants_input=ctx.needs_input_grad[0])
        return dx, None, None, *(grads.get(parameter) for parameter in ctx.parameters)


def fuse(network: nn.Module, workers: int) -> None:
    """Compute the network's blocks at once from now on, shared out over as many cores.

    Call it when the layers and adapters are in place. torch itself gets one thread: threads of its own wait in a loop
    for its next operation, on the core that a worker needs.
    """
    torch.set_num_threads(1)
    blocks = _blocks(network)
    parameters = [parameter for block in blocks for parameter in block.parameters]

    def forward(self: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, **others: Any) -> Any:
        _refuse_unknown(others)
        rows, length, width = hidden_states.shape
        x = hidden_states.reshape(-1, width)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        sections = sections_of(rows, length, _added(attention_mask), workers, training=self.training)
        one = Pass(blocks, sections, dtype, self.training)
        if torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in parameters)):
            y = EncoderFunction.apply(x, one, parameters, *parameters)  # type: ignore[no-untyped-call]
        else:
            with torch.autocast("cpu", enabled=False):
                y = one.forward(x, keep=False)[0]
        return _output(y.view(rows, -1, width))

    encoder = encoder_of(network)
    encoder.fused_blocks = blocks
    encoder.forward = types.MethodType(forward, encoder)
    for layer in layers_outside(network):
        layer.forward = types.MethodType(_in_full, layer)  # type: ignore[method-assign]


def unfuse(network: nn.Module) -> None:
    """Let transformers compute the network's blocks again."""
    encoder = encoder_of(network)
    del encoder.fused_blocks, encoder.forward
    for layer in layers_outside(network):
        del layer.forward


def _refuse_unknown(others: dict[str, Any]) -> None:
    """Raise TypeError for an argument of transformers that the blocks would not obey, as a mask by a new name."""
    given = [name for name, value in others.items() if value is not None and value is not False]
    if given := [name for name in given if name not in WITHOUT_EFFECT]:
        raise TypeError(f"the encoder's argument {given[0]} is not known to the blocks")


def fused_products(network: nn.Module) -> list[Product]:
    """Return the products of a network's blocks, none where they are not computed at once."""
    blocks = getattr(encoder_of(network), "fused_blocks", []) if can_fuse(network) else []
    return [product for block in blocks for product in block.products]


def _in_full(layer: nn.Linear, x: Tensor) -> Tensor:
    """Compute in the weights' type: a row a text gains nothing in bf16, and each number of rows would need kernels."""
    with torch.autocast("cpu", enabled=False):
        return functional.linear(x.to(layer.weight.dtype), layer.weight, layer.bias)


def _output(x: Tensor) -> Any:
    from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

    return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=x)


def _added(mask: Tensor | None) -> Tensor | None:
    """Return transformers' mask as what is added to the scores, shape (rows, 1, 1, length)."""
    if mask is None:
        return None
    mask = mask[:, :, :1, :]
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape).masked_fill_(~mask, torch.finfo(torch.float32).min)
    return mask.float()


def _blocks(network: nn.Module) -> list[Block]:
    """Return the blocks of a network."""
    config, layers = core_of(network).config, encoder_of(network).layer
    last = len(layers) - 1 if reads_first_token(network) else None
    return [_block(layer, config, first_token=index == last) for index, layer in enumerate(layers)]


def _block(layer: nn.Module, config: Any, *, first_token: bool) -> Block:
    names = parts_of(config)
    part = layer.get_submodule
    attention, projection, inner = (0 if name is None else cut_of(part(name)) for name in names.dropouts)
    return Block(
        *_products([part(names.query), part(names.key), part(names.value)], first_token),
        Product([part(names.projection)]),
        part(names.attention_norm),
        Product([part(names.up)]),
        Product([part(names.down)]),
        part(names.output_norm),
        getattr(config, names.heads),
        (attention, projection, inner),
        config._attn_implementation == "sdpa",
    )


def _products(layers: list[nn.Module], first_token: bool) -> tuple[Product | None, Product]:
    """Return the product of the queries, where they are of the first token alone, and that of the rest."""
    if not first_token:
        return None, Product(layers)
    query, *rest = layers
    return Product([query]), Product(rest)
