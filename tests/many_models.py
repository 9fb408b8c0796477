"""Tiny random networks of many architectures, each unlike BERT in something that training could stumble over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import word_tokenizer

BLOCKS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
BEHIND = {"max_position_embeddings": 64, "pad_token_id": 1, "type_vocab_size": 1}  # positions begin behind padding
BART = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in (("layers", 1), ("ffn_dim", 64))}
BART |= {"d_model": 32, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 64}

# By name: the class of the settings, what they are, and what stands out.
MANY: dict[str, tuple[str, dict[str, Any], str]] = {
    "bart": (
        "BartConfig",
        {**BART, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3},
        "weights that stand under several names, and the last token decides",
    ),
    "gpt2": (
        "GPT2Config",
        {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2, "bos_token_id": 3, "eos_token_id": 3},
        "no padding, linear layers of another class, an output without bias",
    ),
    "llama": (
        "LlamaConfig",
        {**BLOCKS, "max_position_embeddings": 64, "bos_token_id": 3, "eos_token_id": 3},
        "no padding, no position embeddings",
    ),
    "ibert": ("IBertConfig", {**BLOCKS, **BEHIND}, "embeddings and linear layers of other classes"),
    "deberta": (
        "DebertaConfig",
        {**BLOCKS, "max_position_embeddings": 64, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
        "nothing but float32",
    ),
    "data2vec": ("Data2VecTextConfig", {**BLOCKS, **BEHIND}, "positions behind padding"),
    "mpnet": ("MPNetConfig", {**BLOCKS, "max_position_embeddings": 64, "pad_token_id": 1}, "positions behind padding"),
    "xlmr_xl": ("XLMRobertaXLConfig", {**BLOCKS, **BEHIND}, "positions behind padding"),
    "nomic_bert": ("NomicBertConfig", {**BLOCKS, "max_position_embeddings": 64}, "saved under other names"),
    "fnet": (
        "FNetConfig",
        {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "max_position_embeddings": 64},
        "padding counts as text",
    ),
    "canine": ("CanineConfig", {**BLOCKS, "max_position_embeddings": 64, "num_hash_buckets": 64}, "no embeddings"),
    "squeezebert": (
        "SqueezeBertConfig",
        {**BLOCKS, "embedding_size": 32, "max_position_embeddings": 64}
        | {f"{name}_groups": 1 for name in ("q", "k", "v", "post_attention", "intermediate", "output")},
        "no linear layer at all",
    ),
    "bigbird": (
        "BigBirdConfig",
        {**BLOCKS, "max_position_embeddings": 256, "block_size": 8, "num_random_blocks": 1},
        "another attention for short texts, once and for all",
    ),
    "xmod": ("XmodConfig", {**BLOCKS, **BEHIND, "languages": ["en_XX"]}, "asks for a language"),
}


def make_many(root: Path, *names: str) -> dict[str, Path]:
    """Write networks of these architectures below a folder, each with its tokenizer."""
    import transformers

    for name in names:
        config, settings, _ = MANY[name]
        tokenizer = word_tokenizer(padded=name not in ("gpt2", "llama"))
        make: Callable[..., Any] = getattr(transformers, config)
        own = {} if config == "CanineConfig" else {"vocab_size": len(tokenizer)}
        network = transformers.AutoModel.from_config(make(**settings, **own))
        network.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return {name: root / name for name in names}
