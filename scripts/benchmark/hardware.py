"""What the machine can do: the rate of matrix products at a model's shapes, in a process of its own.

python -m benchmark.hardware MODEL_FOLDER DEVICE TEXTS prints JSON: FLOP/s of each shape and of the mix that a text
passes through, in fp32 and bf16, and the weights that every token meets; TEXTS is how many are in a batch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

TOKENS_A_TEXT = 20
BLOCKS = 7
BLOCK_SECONDS = {"cpu": 0.15, "cuda": 0.02}
RECORDED = 50  # products that a GPU is asked for at once: asking for one takes longer than a small one


def rates(folder: str, device: str, texts: str) -> dict[str, Any]:
    """Measure every shape of the encoder's linear layers, and count their weights: no embeddings, pooler or head."""
    tokens = TOKENS_A_TEXT * int(texts)
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
        seconds = {shape: product_seconds(tokens, *shape, dtype, device) for shape in shapes}
        found[name] = {f"{tokens}x{k}x{n}": flop(tokens, k, n) / seconds[k, n] for k, n in shapes}
        total = sum(seconds[shape] * count for shape, count in shapes.items())
        found[name]["mix"] = sum(flop(tokens, k, n) * count for (k, n), count in shapes.items()) / total
    return found


def meets_every_token(layer: str, config: Any, device: str) -> bool:
    """Return whether ftclf passes every token through this layer.

    In the last block it computes keys and values of all tokens, on a GPU queries too, and the rest for the first token
    of each text alone: what is not computed is not counted as work.
    """
    last = f"layer.{config.num_hidden_layers - 1}."
    queries = ("query", "q_lin") if device == "cuda" else ()
    return last not in layer or layer.endswith(("key", "value", "k_lin", "v_lin", *queries))


def flop(tokens: int, k: int, n: int) -> float:
    return 2.0 * tokens * k * n


def product_seconds(tokens: int, k: int, n: int, dtype: Any, device: str) -> float:
    """Return the seconds of one product in the fastest of several blocks."""
    import torch

    a, b = (torch.randn(shape, device=device).to(dtype) for shape in ((tokens, k), (n, k)))

    def product() -> None:
        torch.nn.functional.linear(a, b)

    ask, at_once = (recorded(product), RECORDED) if device == "cuda" else (product, 1)
    best = float("inf")
    times = 3
    for _ in range(BLOCKS):
        start = time.perf_counter()
        for _ in range(times):
            ask()
        if device == "cuda":
            torch.cuda.synchronize()
        passed = time.perf_counter() - start
        best = min(best, passed / times / at_once)
        times = max(3, int(BLOCK_SECONDS[device] / best / at_once))
    return best


def recorded(work: Callable[[], None]) -> Callable[[], None]:
    """Return what makes a GPU do the work many times at once."""
    import torch

    work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(RECORDED):
            work()
    return graph.replay


if __name__ == "__main__":
    print(json.dumps(rates(*sys.argv[1:])))
