"""What the machine can do: the rate of matrix products at a model's shapes, in a process of its own.

python -m benchmark.hardware MODEL_FOLDER DEVICE prints JSON: FLOP/s of each shape and of the mix that a text passes
through, in fp32 and bf16, and the weights that every token meets.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

TOKENS = 640  # 32 texts of 20 tokens
BLOCKS, BLOCK_SECONDS = 7, 0.15


def rates(folder: str, device: str) -> dict[str, Any]:
    """Measure every shape of the encoder's linear layers, and count their weights: no embeddings, pooler or head."""
    import torch
    from transformers import AutoModel

    layers = AutoModel.from_pretrained(folder).base_model
    shapes: dict[tuple[int, int], int] = {}
    weights = 0
    for name, module in layers.named_modules():
        if isinstance(module, torch.nn.Linear) and "pooler" not in name:
            shape = (module.in_features, module.out_features)
            shapes[shape] = shapes.get(shape, 0) + 1
            weights += module.weight.numel() if meets_every_token(name, layers.config, device) else 0
    found: dict[str, Any] = {"weights": weights}
    for name, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
        seconds = {shape: product_seconds(*shape, dtype, device) for shape in shapes}
        found[name] = {f"{TOKENS}x{k}x{n}": flop(k, n) / seconds[k, n] for k, n in shapes}
        total = sum(seconds[shape] * count for shape, count in shapes.items())
        found[name]["mix"] = sum(flop(k, n) * count for (k, n), count in shapes.items()) / total
    return found


def meets_every_token(layer: str, config: Any, device: str) -> bool:
    """Return whether ftclf passes every token through this layer.

    On a CPU it computes keys and values of all tokens in the last block, and the rest of it for the first token of each
    text alone: what is not computed is not counted as work.
    """
    last = f"layer.{config.num_hidden_layers - 1}."
    return device != "cpu" or last not in layer or layer.endswith(("key", "value", "k_lin", "v_lin"))


def flop(k: int, n: int) -> float:
    return 2.0 * TOKENS * k * n


def product_seconds(k: int, n: int, dtype: Any, device: str) -> float:
    """Return the seconds of one product in the fastest of several blocks."""
    import torch

    a, b = (torch.randn(shape, device=device).to(dtype) for shape in ((TOKENS, k), (n, k)))
    best = float("inf")
    times = 3
    for _ in range(BLOCKS):
        start = time.perf_counter()
        for _ in range(times):
            torch.nn.functional.linear(a, b)
        if device == "cuda":
            torch.cuda.synchronize()
        passed = time.perf_counter() - start
        best = min(best, passed / times)
        times = max(3, int(BLOCK_SECONDS / best))
    return best


if __name__ == "__main__":
    print(json.dumps(rates(*sys.argv[1:])))
