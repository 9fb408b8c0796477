"""Word embeddings that are stepped by rows: the weights must be those of the full step. Resumed runs: test_training."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

import ftclf.fast.cpu.engine
from conftest import TrainTiny
from ftclf.fast.cpu.embedding_rows import History, RowEmbedding, train_by_rows
from ftclf.storage.run_folder import read_json
from ftclf.training.averaging import AverageWeights

pytestmark = pytest.mark.usefixtures("no_pictures")

STEPS, WORDS = 200, 300


class Bag(nn.Module):
    """A classifier of bags of words, padded with word 0."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 16, padding_idx=0)
        self.head = nn.Linear(16, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self.words(ids)).mean(dim=1))  # type: ignore[no-any-return]

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def set_input_embeddings(self, embedding: nn.Embedding) -> None:
        self.words = embedding


def adamw(network: Bag, **settings: Any) -> torch.optim.AdamW:
    groups = [{"params": [network.words.weight, network.head.weight], "weight_decay": 0.1}]
    return torch.optim.AdamW([*groups, {"params": [network.head.bias], "weight_decay": 0.0}], lr=1e-2, **settings)


def batch(step: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Words that come, go and stay away: a window that moves on over two thirds of them, a few common ones, padding."""
    ids = torch.randint(step % 200, step % 200 + 30, (8, 5), generator=draw)
    ids[:, 0] = torch.randint(0, 8, (8,), generator=draw)
    ids[:, 4] = 0
    return ids, torch.randint(0, 3, (8,), generator=draw)


def train(*, by_rows: bool) -> dict[str, Tensor]:
    """Train with warm-up, decay, clipping and two passes a step; return weights, mean and moments."""
    torch.manual_seed(0)
    network, draw = Bag(), torch.Generator().manual_seed(1)
    optimizer, average = adamw(network, fused=True), AverageWeights(network, 0.999)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: min(t / 20, (STEPS - t) / (STEPS - 20)))
    rows = average.rows = train_by_rows(network, optimizer) if by_rows else None
    for step in range(1, STEPS + 1):
        for _ in range(2):
            ids, labels = batch(step, draw)
            nn.functional.cross_entropy(network(ids), labels).backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        if rows:
            found = rows.gradient()
            assert found
            assert network.words.weight.grad is None
            gradients.append(found[1])
        excess = torch.nn.utils.get_total_norm(gradients) / 0.5
        optimizer.grad_scale = excess if excess > 1 else None  # type: ignore[attr-defined]
        optimizer.step()
        schedule.step()
        network.zero_grad()
        average.update(step)
    moments = {name: value.clone() for name, value in optimizer.state_dict()["state"][0].items()}
    with average.in_place():
        mean = network.words.weight.detach().clone()
    return {**network.state_dict(), "mean": mean, **moments}


@pytest.mark.parametrize("size", [History.SIZE, 20])
def test_rows_come_to_the_weights_the_mean_and_the_moments_of_the_full_step(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Weights go up to 4 in fp32; against float64 the full step is as far off as the rows are from it (5e-6)."""
    monkeypatch.setattr(History, "SIZE", size)
    full, rows = train(by_rows=False), train(by_rows=True)
    assert full.keys() == rows.keys()
    assert full["step"] == rows["step"] == STEPS
    for name in ("words.weight", "head.weight", "mean"):
        torch.testing.assert_close(rows[name], full[name], atol=1e-5, rtol=0)
    for name in ("exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(rows[name], full[name], atol=1e-9, rtol=1e-4)


def test_catching_up_twice_changes_no_bit_and_whoever_reads_the_network_gets_the_rows_caught_up() -> None:
    torch.manual_seed(0)
    network, draw = Bag(), torch.Generator().manual_seed(1)
    optimizer = adamw(network, fused=True)
    rows = train_by_rows(network, optimizer)
    assert isinstance(rows, RowEmbedding)
    start = network.words.weight.detach().clone()
    for step in range(9):
        network(batch(step, draw)[0]).sum().backward()
        optimizer.step()
    behind = network.words.weight.detach().clone()
    assert torch.equal(behind[-1], start[-1])  # a word that was in no batch waits
    found = network.state_dict()["words.weight"].clone()
    torch.testing.assert_close(found[-1], start[-1] * (1 - 1e-2 * 0.1) ** 9)
    rows.catch_up()
    assert torch.equal(network.words.weight, found)
    network(batch(9, draw)[0]).sum().backward()
    optimizer.step()
    last, ids = network.words.weight[-1].clone(), torch.tensor([[WORDS - 1]])
    with torch.no_grad():
        assert not torch.equal(network.eval().words(ids)[0, 0], last)


def test_it_is_left_alone_where_rows_cannot_be_stepped_on_their_own() -> None:
    for optimizer in (adamw(Bag()), adamw(Bag(), fused=True, amsgrad=True), torch.optim.SGD(Bag().parameters())):
        network = Bag()
        assert train_by_rows(network, optimizer) is None  # nor is its weight in any group
        assert type(network.words) is nn.Embedding
    for settings in ({}, {"fused": True, "amsgrad": True}, {"fused": True, "maximize": True}):
        network = Bag()
        assert train_by_rows(network, adamw(network, **settings)) is None
    network = Bag()
    assert train_by_rows(network, torch.optim.AdamW(network.head.parameters(), fused=True)) is None
    network.words.max_norm = 1.0
    assert train_by_rows(network, adamw(network, fused=True)) is None


@pytest.mark.parametrize("limit", ["0.1", "0"])
def test_a_run_by_rows_is_the_run_of_the_full_step_and_of_the_other_adamw(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    words = ("method=full", "training.max_steps=24", "training.batch_size=8", "training.accumulation=2", "baselines=[]")
    words += ("training.weight_decay=0.1", f"training.max_grad_norm={limit}", "training.log_steps=6")
    rows = train_tiny(*words, folder="rows")
    other = train_tiny(*words, "training.optimizer=adamw_torch", folder="other")
    monkeypatch.setattr(ftclf.fast.cpu.engine, "train_by_rows", lambda *_: None)
    full = train_tiny(*words, folder="full")
    weights = load_file(rows.checkpoint / "model.safetensors")
    norms = [json.loads(line).get("grad_norm") for line in rows.history.read_text().splitlines()]
    for run in (other, full):
        scores = [read_json(one.metrics)["test"]["log_loss"] for one in (run, rows)]
        assert scores[0] == pytest.approx(scores[1], rel=1e-4)
        for name, weight in load_file(run.checkpoint / "model.safetensors").items():
            if not name.endswith("key.bias"):  # softmax makes its gradient rounding noise, and AdamW that a full step
                assert np.allclose(weights[name], weight, atol=1e-4), (name, abs(weights[name] - weight).max())
        found = [json.loads(line).get("grad_norm") for line in run.history.read_text().splitlines()]
        assert [n for n in found if n] == pytest.approx([n for n in norms if n], rel=1e-3)
    table = "bert.embeddings.word_embeddings.weight"
    assert (weights[table] != load_file(full.checkpoint / "model.safetensors")[table]).any()  # by rows it was


@pytest.mark.parametrize(
    "betas", [(0.9, 0.0), (0.0, 0.0), (0.9, 0.5), (0.99999, 0.999), (0.0, 0.2), (0.5, 0.8), (0.94, 0.9)]
)
def test_betas_whose_powers_are_no_numbers_take_the_full_step(betas: tuple[float, float]) -> None:
    network = Bag()
    assert train_by_rows(network, adamw(network, fused=True, betas=betas)) is None


@pytest.mark.parametrize("betas", [(0.0, 0.9), (0.9, 0.9), (0.0, 0.9999999), (0.99, 0.9999999)])
def test_rows_of_any_betas_that_are_taken_stay_numbers(betas: tuple[float, float]) -> None:
    history = History()
    while not history.full:
        history.step({"betas": betas, "lr": 1e-3, "weight_decay": 0.01}, history.now + 1)
    assert torch.isfinite(history.since(np.arange(History.SIZE))).all()
