"""The running mean of the weights: what it is, and that it is what is kept. Resumed runs: see test_training."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import TrainTiny
from ftclf.storage.run_folder import read_json
from ftclf.training.averaging import DENSE, EVERY, AverageWeights

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_the_mean_follows_the_weights_and_leaves_them_alone() -> None:
    network = torch.nn.Linear(2, 1)
    network.bias.requires_grad_(False)
    average = AverageWeights(network, 0.5)
    expected = None
    for step in range(1, DENSE + 13):
        network.weight.data.fill_(float(step))
        average.update(step)
        if expected is None:
            expected = float(step)
        elif step <= DENSE or step % EVERY == 0:
            kept = min(0.5, (1 + step) / (10 + step)) ** (1 if step <= DENSE else EVERY)
            expected = kept * expected + (1 - kept) * step
    assert list(average.means) == ["weight"]
    assert average.means["weight"].flatten().tolist() == pytest.approx([expected, expected])
    with average.in_place():
        assert network.weight[0, 0].item() == pytest.approx(expected)
    assert network.weight[0, 0].item() == DENSE + 12


def test_an_evaluation_of_the_mean_needs_no_copy_of_the_weights() -> None:
    network = torch.nn.Linear(2, 1)
    average = AverageWeights(network, 0.5)
    average.update(1)
    mean, own = average.means["weight"].data_ptr(), network.weight.data_ptr()
    with average.in_place():
        assert (network.weight.data_ptr(), average.means["weight"].data_ptr()) == (mean, own)
    assert (network.weight.data_ptr(), average.means["weight"].data_ptr()) == (own, mean)


def test_a_mean_is_loaded_into_the_room_of_the_one_before(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 1)
    average = AverageWeights(network, 0.5)
    average.update(1)
    average.save(tmp_path)
    saved, room = average.means["weight"].clone(), average.means["weight"].data_ptr()
    network.weight.data.add_(1)
    average.update(2)
    assert not torch.equal(average.means["weight"], saved)
    average.load(tmp_path)
    assert torch.equal(average.means["weight"], saved)
    assert average.means["weight"].data_ptr() == room


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_mean_of_the_best_evaluation_is_what_the_checkpoint_holds(train_tiny: TrainTiny, method: str) -> None:
    run = train_tiny(f"method={method}", "training.average=0.9", "training.keep_checkpoints=true", "baselines=[]")
    states = sorted(run.resumable.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    best = read_json(states[-1] / "trainer_state.json")["best_global_step"]
    means = load_file(run.resumable / f"checkpoint-{best}" / "average.safetensors")
    (file,) = run.checkpoint.glob("*model.safetensors")
    kept = load_file(file)
    stripped = {re.sub(r"(\.modules_to_save)?\.default", "", name): mean for name, mean in means.items()}
    assert [name for name in kept if "classifier" in name]
    assert all(torch.equal(kept[name], stripped[name]) for name in kept)


def test_without_it_the_last_weights_are_kept(train_tiny: TrainTiny) -> None:
    run = train_tiny("training.average=0", "training.keep_checkpoints=true", "training.max_steps=3", "baselines=[]")
    assert not list(run.resumable.rglob("average.safetensors"))
