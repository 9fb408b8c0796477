"""Whether a network can be trained on texts: tried on a few of them before anything of a run is written.

transformers knows more than a hundred architectures that classify. What one of them can do is asked of the network, not
of a list: a step with two texts of different lengths, and one with a text of the largest length.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ftclf.model.base_weights import first_line
from ftclf.model.batches import model_inputs
from ftclf.model.compute import Compute
from ftclf.model.network import OF_A_NETWORK, raise_if_of_memory
from ftclf.model.tokens import Tokens, tokenise
from ftclf.system.console import warn
from ftclf.system.errors import ConfigError, UserError, WeightsError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHORT = 9  # tokens of a text that shares a batch with the shortest there can be, which is filled up
FREELY = 512  # tokens; a longer text is tried where the data has one, since its step takes seconds
READS_PADDING = 1e-3  # of the logits' size: rounding moves them by a hundredth of it


@dataclass(frozen=True)
class Probe:
    """Texts to try a network on: two short ones that share a batch, and a long one."""

    pair: Tokens
    long: Tokens
    labels: int
    max_length: int


def make_probe(text: str, tokenizer: PreTrainedTokenizerBase, *, labels: int, max_length: int, longest: int) -> Probe:
    """Make the texts out of one of the data; `longest` is the number of tokens of its longest text."""
    shortest = 1 + tokenizer.num_special_tokens_to_add(pair=False)
    pair = [_repeated(text, tokenizer, min(size, max_length)) for size in (SHORT, shortest)]
    ids, bounds = np.concatenate([one.ids for one in pair]), np.cumsum([0, *(len(one.ids) for one in pair)])
    long = _repeated(text, tokenizer, min(max_length, max(FREELY, longest)))
    return Probe(Tokens(ids, bounds, 0, long.pad_id), long, labels, max_length)


def able_compute(network: Any, probe: Probe, compute: Compute, *, name: str, may_change: bool) -> Compute:
    """Return how a network can be trained: in the given precision, or in float32 where it `may_change`.

    Network and random states are left as they were. Raises WeightsError where the network cannot be trained at all,
    ConfigError where it cannot in this precision, or on texts of this length.
    """
    model = f"{name} ({network.config.model_type})"
    with restored_network(network):
        network.train()
        exact = replace(compute, precision="fp32")
        if reason := _problem(network, probe.pair, probe, compute):
            if cause := _problem(network, probe.pair, probe, exact):
                raise WeightsError(f"model.name: {model} cannot be trained on texts ({cause}); choose another model")
            _refuse_precision(compute, model, reason, may_change=may_change)
            compute = exact
        if reason := _problem(network, probe.long, probe, compute):
            raise _refused_length(network, probe, compute, model, reason)
        network.eval()
        _refuse_read_padding(network, probe, model)
    return compute


@contextmanager
def restored_network(network: Any) -> Iterator[None]:
    """Put back after the block all that a step may change: random states, modules, buffers, settings."""
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    holders = [network.config, network.config.get_text_config(), *network.modules()]
    kept = [(vars(holder), dict(vars(holder))) for holder in holders]
    parts = [vars(module)[name] for module in network.modules() for name in ("_modules", "_buffers", "_parameters")]
    kept += [(part, dict(part)) for part in parts]
    buffers = [(buffer, buffer.detach().clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        for held, before in kept:
            held.clear()
            held.update(before)
        for buffer, content in buffers:
            buffer.copy_(content)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _repeated(text: str, tokenizer: PreTrainedTokenizerBase, length: int) -> Tokens:
    """Return the tokens of a text, repeated until they are so many, with the special ones at their places."""
    once = len(tokenise([text], tokenizer, length).ids)
    return tokenise([" ".join([text] * (1 + length // max(1, once - 2)))], tokenizer, length)


def _problem(network: Any, tokens: Tokens, probe: Probe, compute: Compute) -> str:
    """Return why a network cannot make a step with these texts, or nothing.

    Gradients are asked of the trained vectors alone, where there are some: all layers are gone through for them, and
    those of the matrices take most of the time.
    """
    import torch

    trained = [one for one in network.parameters() if one.requires_grad]
    asked = [one for one in trained if one.ndim == 1] or trained
    autocast = torch.autocast("cpu", dtype=compute.dtype, enabled=compute.precision != "fp32")
    try:
        with torch.enable_grad(), autocast:
            logits = network(**model_inputs(tokens, np.arange(len(tokens)), "cpu")).logits.float()
        gradients = torch.autograd.grad(logits.square().sum(), asked, allow_unused=True)
    except OF_A_NETWORK as error:
        raise_if_of_memory(error)
        return first_line(error)
    found = [one for one in gradients if one is not None]
    if logits.shape != (len(tokens), probe.labels):
        return f"its output has the shape {tuple(logits.shape)} for {len(tokens)} texts and {probe.labels} labels"
    if not found:
        return "no weight that is trained gets a gradient"
    return "" if all(one.isfinite().all() for one in (logits, *found)) else "its logits or gradients are not finite"


def _refuse_precision(compute: Compute, model: str, reason: str, *, may_change: bool) -> None:
    """Raise ConfigError for a precision that was asked for; where it was chosen here, say that it is another."""
    if not may_change:
        raise ConfigError(
            f"training.precision: got {compute.precision}, which {model} cannot be trained in ({reason}); "
            "allowed with this model: auto, fp32"
        )
    warn(f"training.precision: fp32, since {model} cannot be trained in {compute.precision} ({reason})")


def _refused_length(network: Any, probe: Probe, compute: Compute, model: str, reason: str) -> UserError:
    """Return what is wrong with texts of the largest length, with the length that the network reads."""
    works, fails = int(probe.pair.lengths.max()), len(probe.long.ids)
    while fails - works > 1:
        middle = (works + fails) // 2
        if _problem(network, _cut(probe.long, middle), probe, compute):
            fails = middle
        else:
            works = middle
    return ConfigError(
        f"dataset.max_length: got {probe.max_length}, allowed with this model: up to {works} ({model}: {reason})"
    )


def _cut(tokens: Tokens, length: int) -> Tokens:
    """Return a text without what stands before its last token, which may be a special one."""
    ids = np.concatenate([tokens.ids[: length - 1], tokens.ids[-1:]])
    return Tokens(ids, np.array([0, length]), 0, tokens.pad_id)


def _refuse_read_padding(network: Any, probe: Probe, model: str) -> None:
    """Say so where a text's logits depend on what fills up its batch; refuse it where one setting is to blame."""
    try:
        if not _reads_padding(network, probe):
            return
    except OF_A_NETWORK as error:
        raise_if_of_memory(error)
        raise WeightsError(
            f"model.name: {model} cannot read a text of {probe.pair.lengths[-1]} tokens alone ({first_line(error)}); "
            "choose another model"
        ) from error
    settings, pad_id = network.config.get_text_config(), probe.pair.pad_id
    own, settings.pad_token_id = getattr(settings, "pad_token_id", None), pad_id
    if own != pad_id and not _reads_padding(network, probe):
        raise WeightsError(
            f"model.name: {model} looks for padding {own}, and its tokenizer pads with {pad_id}; "
            f"set pad_token_id in its config.json to {pad_id}"
        )
    warn(f"{model} reads padding as text: what it says of a text depends a little on the texts beside it")


def _reads_padding(network: Any, probe: Probe) -> bool:
    import torch

    with torch.no_grad():
        both, alone = (network(**model_inputs(probe.pair, np.array(rows), "cpu")).logits for rows in ([0, 1], [1]))
    return not (both[-1] - alone[-1]).norm() <= READS_PADDING * alone[-1].norm()
