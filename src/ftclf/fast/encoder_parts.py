"""Where the layers of a block lie in the networks of transformers, inside peft's wrapping or without it."""

from __future__ import annotations

from typing import Any

from torch import nn

from ftclf.model.architectures import ARCHITECTURES, BlockParts


def can_fuse(network: nn.Module) -> bool:
    """Return whether the network's blocks are of a kind that is written out here."""
    config = core_of(network).config
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
    core = core_of(network)
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


def reads_first_token(network: Any) -> bool:
    """Return whether the network reads the first token alone of its last block, as all classifiers fused here do."""
    outermost = network.get_base_model() if hasattr(network, "get_base_model") else network
    return type(outermost).__name__.endswith("ForSequenceClassification")


def core_of(network: Any) -> Any:
    """Return the encoder's model inside a classifier or inside peft's wrapping of it."""
    while hasattr(network, "base_model") and network.base_model is not network:
        network = network.base_model if not hasattr(network.base_model, "model") else network.base_model.model
    return network


def _plain(layer: Any) -> bool:
    """Return whether an adapter is LoRA as in the paper: one, not merged, no direction and magnitude of its own."""
    return len(layer.active_adapters) == 1 and not layer.merged and not getattr(layer, "lora_variant", {})
