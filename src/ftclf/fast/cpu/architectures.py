"""Where the layers of a block lie in the networks of transformers, inside peft's wrapping or without it."""

from __future__ import annotations

from typing import Any

from torch import nn

from ftclf.fast.cpu.block import Block
from ftclf.fast.cpu.dropout import cut_of
from ftclf.fast.cpu.linear import Product

BERT_LIKE = ("bert", "roberta", "xlm-roberta", "camembert", "electra")


def can_fuse(network: nn.Module) -> bool:
    """Return whether the network's blocks are of a kind that is written out here."""
    config = _core(network).config
    if config.model_type not in (*BERT_LIKE, "distilbert") or getattr(config, "is_decoder", False):
        return False
    if getattr(config, "hidden_act", getattr(config, "activation", "")) != "gelu":
        return False
    if getattr(config, "position_embedding_type", "absolute") != "absolute":
        return False
    return all(_plain(module) for module in network.modules() if hasattr(module, "lora_A"))


def encoder_of(network: nn.Module) -> Any:
    """Return the module that calls the blocks one after the other."""
    core = _core(network)
    return core.transformer if core.config.model_type == "distilbert" else core.encoder


def embeddings_of(network: nn.Module) -> nn.Module:
    """Return the module that turns ids into what enters the blocks."""
    return _core(network).embeddings  # type: ignore[no-any-return]


def trains_before_blocks(network: nn.Module) -> bool:
    """Return whether something learns in the embeddings, or in what makes them as wide as the blocks."""
    core = _core(network)
    before = [core.embeddings, getattr(core, "embeddings_project", None)]
    return any(weight.requires_grad for part in before if part is not None for weight in part.parameters())


def layers_outside(network: nn.Module) -> list[nn.Linear]:
    """Return the linear layers that are in no block: pooler and classifier, and a projection of embeddings."""
    inside = set(encoder_of(network).modules())
    return [module for module in network.modules() if isinstance(module, nn.Linear) and module not in inside]


def dropouts_outside(network: nn.Module) -> dict[nn.Module, bool]:
    """Return the dropouts that are in no block, and whether each comes before them: of embeddings, or of a head."""
    inside, before = set(encoder_of(network).modules()), set(embeddings_of(network).modules())
    outside = [one for one in network.modules() if isinstance(one, nn.Dropout) and one not in inside]
    return {module: module in before for module in outside}


def blocks_of(networks: list[nn.Module]) -> list[Block]:
    """Return the blocks of networks that share their base weights and differ in their adapters."""
    config = _core(networks[0]).config
    block = _distilbert_block if config.model_type == "distilbert" else _bert_block
    layers = list(zip(*(encoder_of(one).layer for one in networks), strict=True))
    last = len(layers) - 1 if reads_first_token(networks[0]) else None
    return [block(list(one), config, first_token=index == last) for index, one in enumerate(layers)]


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


def _bert_block(layers: list[Any], config: Any, *, first_token: bool) -> Block:
    first, attention = layers[0], [one.attention.self for one in layers]
    rates = (first.attention.self.dropout, first.attention.output.dropout, first.output.dropout)
    return Block(
        *_products([[one.query, one.key, one.value] for one in attention], first_token),
        Product([[one.attention.output.dense] for one in layers]),
        first.attention.output.LayerNorm,
        Product([[one.intermediate.dense] for one in layers]),
        Product([[one.output.dense] for one in layers]),
        first.output.LayerNorm,
        config.num_attention_heads,
        (cut_of(rates[0]), cut_of(rates[1]), cut_of(rates[2])),
        config._attn_implementation == "sdpa",
    )


def _distilbert_block(layers: list[Any], config: Any, *, first_token: bool) -> Block:
    first = layers[0]
    return Block(
        *_products([[one.attention.q_lin, one.attention.k_lin, one.attention.v_lin] for one in layers], first_token),
        Product([[one.attention.out_lin] for one in layers]),
        first.sa_layer_norm,
        Product([[one.ffn.lin1] for one in layers]),
        Product([[one.ffn.lin2] for one in layers]),
        first.output_layer_norm,
        config.n_heads,
        (cut_of(first.attention.dropout), 0, cut_of(first.ffn.dropout)),
        config._attn_implementation == "sdpa",
    )


def _products(layers: list[list[nn.Module]], first_token: bool) -> tuple[Product | None, Product]:
    """Return the product of the queries, where they are of the first token alone, and that of the rest."""
    if not first_token:
        return None, Product(layers)
    return Product([[query] for query, _, _ in layers]), Product([rest for _, *rest in layers])
