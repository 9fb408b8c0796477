"""Where the layers of a block lie in the networks of transformers, inside peft's wrapping or without it."""

from __future__ import annotations

from typing import Any

from torch import nn

from ftclf.fast.cpu.block import Block
from ftclf.fast.cpu.dropout import cut_of
from ftclf.fast.cpu.linear import Product
from ftclf.model.architectures import ARCHITECTURES, BlockParts


def can_fuse(network: nn.Module) -> bool:
    """Return whether the network's blocks are of a kind that is written out here."""
    config = _core(network).config
    known = ARCHITECTURES.get(config.model_type)
    if known is None or known.block is None or getattr(config, "is_decoder", False):
        return False
    if getattr(config, "hidden_act", getattr(config, "activation", "")) != "gelu":
        return False
    if getattr(config, "position_embedding_type", "absolute") != "absolute":
        return False
    return all(_plain(module) for module in network.modules() if hasattr(module, "lora_A"))


def encoder_of(network: nn.Module) -> Any:
    """Return the module that calls the blocks one after the other."""
    core = _core(network)
    return getattr(core, ARCHITECTURES[core.config.model_type].encoder)


def parts_of(config: Any) -> BlockParts:
    """Return the paths of the parts of a network's blocks."""
    parts = ARCHITECTURES[config.model_type].block
    assert parts is not None
    return parts


def layers_outside(network: nn.Module) -> list[nn.Linear]:
    """Return the linear layers that are in no block: pooler and classifier, and a projection of embeddings."""
    inside = set(encoder_of(network).modules())
    return [module for module in network.modules() if isinstance(module, nn.Linear) and module not in inside]


def dropouts_outside(network: nn.Module) -> list[nn.Module]:
    """Return the dropouts that are in no block: of the embeddings and of the head."""
    inside = set(encoder_of(network).modules())
    return [module for module in network.modules() if isinstance(module, nn.Dropout) and module not in inside]


def blocks_of(network: nn.Module) -> list[Block]:
    """Return the blocks of a network."""
    config, layers = _core(network).config, encoder_of(network).layer
    last = len(layers) - 1 if reads_first_token(network) else None
    return [_block(layer, config, first_token=index == last) for index, layer in enumerate(layers)]


def reads_first_token(network: Any) -> bool:
    """Return whether the network reads the first token alone of its last block, as all classifiers fused here do."""
    outermost = network.get_base_model() if hasattr(network, "get_base_model") else network
    return type(outermost).__name__.endswith("ForSequenceClassification")


def _core(network: Any) -> Any:
    """Return the encoder's model inside a classifier or inside peft's wrapping of it."""
    while hasattr(network, "base_model") and network.base_model is not network:
        network = network.base_model if not hasattr(network.base_model, "model") else network.base_model.model
    return network


def _plain(layer: Any) -> bool:
    """Return whether an adapter is LoRA as in the paper: one, not merged, no direction and magnitude of its own."""
    return len(layer.active_adapters) == 1 and not layer.merged and not getattr(layer, "lora_variant", {})


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
