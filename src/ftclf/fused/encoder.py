"""A network's encoder with all its blocks computed at once, its rows shared out over the cores."""

from __future__ import annotations

import types
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ftclf.dropout import cut_of
from ftclf.fused.block import Activations, Block
from ftclf.fused.linear import Gradients, Product
from ftclf.fused.sections import Section
from ftclf.fused.workers import in_parallel

BERT_LIKE = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
SHARE = 128  # tokens that a core gets at least


@dataclass
class Pass:
    """How one batch goes through the blocks: each share is a list of sections that one core computes."""

    blocks: list[Block]
    shares: list[list[Section]]
    dtype: torch.dtype
    training: bool

    @property
    def workers(self) -> int:
        return len(self.shares)

    def forward(self, x: Tensor, *, keep: bool) -> tuple[Tensor, list[list[Activations]]]:
        """Return the last block's output, shape (tokens, width), and what `backward` needs if it is to be kept."""
        self._prepare()
        done = in_parallel(
            [partial(self._forward_share, x, sections, keep=keep) for sections in self.shares], self.workers
        )
        return _put_back([y for y, _ in done], self.shares, x), [kept for _, kept in done]

    def backward(
        self, g: Tensor, kept: list[list[Activations]], *, wants_input: bool
    ) -> tuple[Tensor | None, Gradients]:
        """Return the gradient of x, or None, and those of all trained parameters, in their types.

        The cores go through the blocks first, each with its share; weights are then shared out, each with all rows.
        """
        shares = list(zip(self.shares, kept, strict=True))
        done = in_parallel(
            [partial(self._backward_share, g, *share, wants_input=wants_input) for share in shares], self.workers
        )
        grads = _summed([norms for _, norms in done])
        tasks = [
            partial(product.gradients, [activations[index].products[place] for activations in kept])
            for index, block in enumerate(self.blocks)
            for place, product in enumerate(block.products)
        ]
        for found in in_parallel(tasks, self.workers):
            grads |= found
        inputs = [dx for dx, _ in done if dx is not None]
        return (_put_back(inputs, self.shares, g) if wants_input else None), grads

    def _prepare(self) -> None:
        copies, sources = [], []
        for block in self.blocks:
            for product in block.products:
                to, of = product.prepare(self.dtype)
                copies += to
                sources += of
        if copies:
            with torch.no_grad():
                torch._foreach_copy_(copies, sources)

    def _forward_share(self, x: Tensor, sections: list[Section], *, keep: bool) -> tuple[Tensor, list[Activations]]:
        x, sections = _taken(x, sections)
        kept = []
        for block in self.blocks:
            x, activations = block.forward(x, sections, self.dtype, training=self.training)
            if keep:
                kept.append(activations)
        return x, kept

    def _backward_share(
        self, g: Tensor | None, sections: list[Section], kept: list[Activations], *, wants_input: bool
    ) -> tuple[Tensor | None, Gradients]:
        assert g is not None
        g, sections = _taken(g, sections)
        grads: Gradients = {}
        for index in reversed(range(len(self.blocks))):
            assert g is not None
            wants = wants_input or index > 0
            g, norms = self.blocks[index].backward(g, kept[index], sections, wants_input=wants, training=self.training)
            grads |= norms
        return g, grads


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


def can_fuse(network: nn.Module) -> bool:
    """Return whether the network's blocks are of a kind that is written out here."""
    core = _core(network)
    if core.config.model_type not in (*BERT_LIKE, "distilbert"):
        return False
    if _activation(core.config) != "gelu" or getattr(core.config, "is_decoder", False):
        return False
    if getattr(core.config, "position_embedding_type", "absolute") != "absolute":
        return False
    return all(_plain(module) for module in network.modules() if hasattr(module, "lora_A"))


def fuse(network: nn.Module, workers: int) -> None:
    """Compute the network's blocks at once from now on, shared out over as many cores.

    Call it when the layers and adapters are in place. torch itself gets one thread: threads of its own wait in a loop
    for its next operation, on the core that a worker needs.
    """
    torch.set_num_threads(1)
    core = _core(network)
    encoder = core.transformer if core.config.model_type == "distilbert" else core.encoder
    fused_kernel = core.config._attn_implementation == "sdpa"
    blocks = [_block(layer, core.config, fused_kernel) for layer in encoder.layer]
    parameters = [parameter for block in blocks for parameter in block.parameters]

    def forward(self: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, **_: Any) -> Any:
        rows, length, width = hidden_states.shape
        x = hidden_states.reshape(-1, width)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        shares = [[section] for section in cut(rows, length, _added(attention_mask), workers, training=self.training)]
        one = Pass(blocks, shares, dtype, self.training)
        if torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in parameters)):
            y = EncoderFunction.apply(x, one, parameters, *parameters)  # type: ignore[no-untyped-call]
        else:
            with torch.autocast("cpu", enabled=False):
                y = one.forward(x, keep=False)[0]
        return _output(y.view(rows, length, width))

    encoder.forward = types.MethodType(forward, encoder)


def cut(rows: int, length: int, mask: Tensor | None, workers: int, *, training: bool, model: int = 0) -> list[Section]:
    """Cut a padded batch into as many sections as workers can share, each with a generator of its own in training."""
    shares = max(1, min(workers, rows, rows * length // SHARE))
    bounds = [rows * share // shares for share in range(shares + 1)]
    seeds = torch.randint(2**62, (shares,)).tolist() if training else [None] * shares
    return [
        Section(
            model,
            start * length,
            stop - start,
            length,
            None if mask is None else mask[start:stop],
            None if seed is None else torch.Generator().manual_seed(seed),
        )
        for start, stop, seed in zip(bounds[:-1], bounds[1:], seeds, strict=True)
    ]


def _taken(x: Tensor, sections: list[Section]) -> tuple[Tensor, list[Section]]:
    """Return the tokens of the sections end to end, and the sections as they lie there."""
    parts = [x[section.tokens] for section in sections]
    moved, start = [], 0
    for section, part in zip(sections, parts, strict=True):
        moved.append(replace(section, start=start))
        start += len(part)
    return parts[0] if len(parts) == 1 else torch.cat(parts), moved


def _put_back(parts: list[Tensor], shares: list[list[Section]], like: Tensor) -> Tensor:
    """Return the tokens of all shares where they came from."""
    if len(parts) == 1:
        return parts[0]
    out = torch.empty_like(like)
    for part, sections in zip(parts, shares, strict=True):
        start = 0
        for section in sections:
            size = section.rows * section.length
            out[section.tokens] = part[start : start + size]
            start += size
    return out


def _summed(shares: list[Gradients]) -> Gradients:
    """Return the sums over shares."""
    first, *others = shares
    return {parameter: sum((other[parameter] for other in others), grad) for parameter, grad in first.items()}


def _output(x: Tensor) -> Any:
    from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

    return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=x)


def _core(network: Any) -> Any:
    """Return the encoder's model inside a classifier or inside peft's wrapping of it."""
    while hasattr(network, "base_model") and network.base_model is not network:
        network = network.base_model if not hasattr(network.base_model, "model") else network.base_model.model
    return network


def _activation(config: Any) -> str:
    return str(getattr(config, "hidden_act", getattr(config, "activation", "")))


def _plain(layer: Any) -> bool:
    """Return whether an adapter is LoRA as in the paper: one, not merged, no direction and magnitude of its own."""
    return len(layer.active_adapters) == 1 and not layer.merged and not getattr(layer, "lora_variant", {})


def _added(mask: Tensor | None) -> Tensor | None:
    """Return transformers' mask as what is added to the scores, shape (rows, 1, 1, length)."""
    if mask is None:
        return None
    mask = mask[:, :, :1, :]
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape).masked_fill_(~mask, torch.finfo(torch.float32).min)
    return mask.float()


def _block(layer: Any, config: Any, fused_kernel: bool) -> Block:
    if config.model_type == "distilbert":
        attention, feed = layer.attention, layer.ffn
        return Block(
            Product([[attention.q_lin, attention.k_lin, attention.v_lin]]),
            Product([[attention.out_lin]]),
            layer.sa_layer_norm,
            Product([[feed.lin1]]),
            Product([[feed.lin2]]),
            layer.output_layer_norm,
            config.n_heads,
            (cut_of(attention.dropout), 0, cut_of(feed.dropout)),
            fused_kernel,
        )
    attention = layer.attention.self
    return Block(
        Product([[attention.query, attention.key, attention.value]]),
        Product([[layer.attention.output.dense]]),
        layer.attention.output.LayerNorm,
        Product([[layer.intermediate.dense]]),
        Product([[layer.output.dense]]),
        layer.output.LayerNorm,
        config.num_attention_heads,
        (cut_of(attention.dropout), cut_of(layer.attention.output.dropout), cut_of(layer.output.dropout)),
        fused_kernel,
    )
