"""The one list of architectures: their layers for LoRA, their encoder blocks, and how they count positions.

An architecture that is not in it trains too, by transformers' own code; LoRA then needs names of layers or all_linear.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockParts:
    """Paths of the parts of one encoder block: attention, norm, feed-forward, norm, each added to its input."""

    query: str
    key: str
    value: str
    projection: str
    attention_norm: str
    up: str
    down: str
    output_norm: str
    dropouts: tuple[str, str | None, str]  # of the attention matrix, of its projection, of the feed-forward
    heads: str  # setting of the model's config


@dataclass(frozen=True)
class Architecture:
    """Linear layers of a block that LoRA can adapt, as ends of their paths; a star stands for a number."""

    attention: tuple[str, ...]
    feed_forward: tuple[str, ...]
    block: BlockParts | None = None  # None: the blocks are not written out in fast/
    encoder: str = "encoder"  # attribute of the base model that calls the blocks
    counts_from_padding: bool = False  # whether the first position is the one after padding's


def _with_blocks(block: BlockParts, encoder: str = "encoder", *, counts_from_padding: bool = False) -> Architecture:
    attention = (block.query, block.key, block.value, block.projection)
    # BERT's attention has an `output.dense` too: only the block's own stands right behind the block's number.
    return Architecture(attention, (block.up, f"layer.*.{block.down}"), block, encoder, counts_from_padding)


BERT = BlockParts(
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    projection="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    output_norm="output.LayerNorm",
    dropouts=("attention.self.dropout", "attention.output.dropout", "output.dropout"),
    heads="num_attention_heads",
)
DISTILBERT = BlockParts(
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    projection="attention.out_lin",
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    output_norm="output_layer_norm",
    dropouts=("attention.dropout", None, "ffn.dropout"),
    heads="n_heads",
)
ARCHITECTURES = {
    "bert": _with_blocks(BERT),
    "roberta": _with_blocks(BERT, counts_from_padding=True),
    "xlm-roberta": _with_blocks(BERT, counts_from_padding=True),
    "camembert": _with_blocks(BERT, counts_from_padding=True),
    "electra": _with_blocks(BERT),
    "distilbert": _with_blocks(DISTILBERT, "transformer"),
    "mpnet": Architecture(
        ("attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o"),
        ("intermediate.dense", "layer.*.output.dense"),
    ),
    "deberta-v2": Architecture(
        (
            "attention.self.query_proj",
            "attention.self.key_proj",
            "attention.self.value_proj",
            "attention.output.dense",
        ),
        ("intermediate.dense", "layer.*.output.dense"),
    ),
    "modernbert": Architecture(("attn.Wqkv", "attn.Wo"), ("mlp.Wi", "mlp.Wo")),
}
