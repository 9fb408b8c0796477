"""Weights of blocks that are stepped apart: they must be those of torch's AdamW."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch

from ftclf.fast.cpu import passes
from ftclf.fast.cpu.block_weights import BlockWeights, train_blocks_apart
from ftclf.fast.cpu.encoder import fuse
from ftclf.training.averaging import AverageWeights
from test_fused import batch, classifier

LABELS = torch.tensor([0, 1, 2, 3, 4, 0])
STEPS = 6


@pytest.fixture(autouse=True)
def _small_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "SHARE", 16)


def adamw(network: Any, **variant: Any) -> torch.optim.AdamW:
    """Return an optimizer with no decay for biases, and settings of its own for one layer of a product of three."""
    trained = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    own = next(name for name in trained if name.endswith("1.attention.self.key.weight"))
    decayed = [weight for name, weight in trained.items() if weight.ndim == 2 and name != own]
    groups = [
        {"params": decayed, "weight_decay": 0.1},
        {"params": [weight for weight in trained.values() if weight.ndim == 1], "weight_decay": 0.0},
        {"params": [trained[own]], "lr": 3e-3, "weight_decay": 0.3},
    ]
    return torch.optim.AdamW(groups, lr=1e-2, **{"fused": True} | variant)


@contextmanager
def in_type(dtype: torch.dtype) -> Iterator[None]:
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        yield


def train(dtype: torch.dtype, *, apart: bool, passes_a_step: int = 1, clip: bool = False) -> dict[str, Any]:
    """Train a few steps; return weights, moments, norms and what evaluations gave between the steps."""
    network = classifier()
    fuse(network, 2)
    optimizer, average = adamw(network), AverageWeights(network, 0.9)
    blocks = train_blocks_apart(network, optimizer, 2) if apart else None
    norms, logits = [], []
    for step in range(1, STEPS + 1):
        for number in range(passes_a_step):
            with in_type(dtype):
                loss = torch.nn.functional.cross_entropy(network(**batch(9 + number)).logits, LABELS)
            loss.backward()
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm([*gradients, *(blocks.norms() if blocks else [])])
        optimizer.grad_scale = norm / 0.1 if clip else None  # type: ignore[attr-defined]
        optimizer.step()
        network.zero_grad()
        norms.append(norm)
        average.update(step)
        if step % 2 == 0:
            for place in (average.in_place, nullcontext):
                network.eval()
                with torch.inference_mode(), in_type(dtype), place():
                    logits.append(network(**batch()).logits.clone())
                network.train()
    state = optimizer.state_dict()["state"]
    moments = {f"{number}.{name}": value for number, one in state.items() for name, value in one.items()}
    return {**network.state_dict(), **moments, "norms": torch.stack(norms), "logits": torch.stack(logits)}


@pytest.mark.parametrize("passes_a_step", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_moments_and_evaluations_are_to_the_bit_those_of_torchs_step(
    dtype: torch.dtype, passes_a_step: int
) -> None:
    wanted = train(dtype, apart=False, passes_a_step=passes_a_step)
    found = train(dtype, apart=True, passes_a_step=passes_a_step)
    assert found.keys() == wanted.keys()
    for name in wanted.keys() - {"norms"}:
        assert torch.equal(found[name], wanted[name]), name
    torch.testing.assert_close(found["norms"], wanted["norms"], rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_clipped_steps_are_those_of_torch_within_the_rounding_of_the_norm(dtype: torch.dtype) -> None:
    """In bf16 a weight's copy may be rounded the other way after a last bit of the norm: later steps see it."""
    wanted, found = train(dtype, apart=False, clip=True), train(dtype, apart=True, clip=True)
    assert (wanted["norms"] > 0.1).all()
    for name in (name for name in wanted if name.endswith("weight")):
        atol = 1e-6 if dtype == torch.float32 else 1e-3
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=atol)


def test_gradients_are_kept_for_the_step_alone() -> None:
    network = classifier()
    fuse(network, 1)
    optimizer = adamw(network)
    blocks = train_blocks_apart(network, optimizer, 1)
    assert isinstance(blocks, BlockWeights)
    network(**batch()).logits.sum().backward()
    weight = network.bert.encoder.layer[0].intermediate.dense.weight
    assert weight.grad is None
    assert network.bert.encoder.layer[0].intermediate.dense.bias.grad is not None
    assert len(blocks.norms()) == len(blocks.products)
    before = weight.detach().clone()
    optimizer.step()
    assert not blocks.norms()
    assert not torch.equal(weight, before)
    before = weight.detach().clone()
    optimizer.step()  # without a pass
    assert torch.equal(weight, before)


def test_a_product_of_which_a_weight_stands_still_is_left_to_the_optimizer() -> None:
    network = classifier()
    still = network.bert.encoder.layer[0].attention.self.value.weight.requires_grad_(False)
    before = still.detach().clone()
    fuse(network, 1)
    optimizer = adamw(network)
    blocks = train_blocks_apart(network, optimizer, 1)
    assert blocks
    assert not any(weight is still for product in blocks.products for weight in product.weights)
    network(**batch()).logits.sum().backward()
    beside = network.bert.encoder.layer[0].attention.self.key.weight
    moving = beside.detach().clone()
    optimizer.step()
    assert torch.equal(still, before)
    assert not torch.equal(beside, moving)


@pytest.mark.parametrize("variant", [{"amsgrad": True}, {"maximize": True}, {"fused": False}])
def test_other_optimizers_and_networks_keep_torchs_step(variant: dict[str, bool]) -> None:
    network = classifier()
    assert train_blocks_apart(network, adamw(network), 1) is None  # its blocks are not computed at once
    fuse(network, 1)
    assert train_blocks_apart(network, adamw(network, **variant), 1) is None
    network(**batch()).logits.sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())
