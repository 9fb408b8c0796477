"""The running mean of the weights: what it is, that it is what is kept, and that a resumed run has the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import TrainTiny
from ftclf.averaging import EVERY, AverageWeights
from ftclf.runs import Run, read_json


def test_the_mean_follows_the_weights_and_leaves_them_alone() -> None:
    network = torch.nn.Linear(2, 1)
    network.bias.requires_grad_(False)
    average = AverageWeights(network, 0.5)
    expected = None
    for step in range(1, 13):
        network.weight.data.fill_(float(step))
        average.update(step)
        if expected is None:
            expected = float(step)
        elif step % EVERY == 0:
            kept = min(0.5, (1 + step) / (10 + step)) ** EVERY
            expected = kept * expected + (1 - kept) * step
    assert list(average.means) == ["weight"]
    assert average.means["weight"].flatten().tolist() == pytest.approx([expected, expected])
    with average.in_place():
        assert network.weight[0, 0].item() == pytest.approx(expected)
    assert network.weight[0, 0].item() == 12


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_mean_of_the_best_evaluation_is_what_the_checkpoint_holds(train_tiny: TrainTiny, method: str) -> None:
    run = train_tiny(f"method={method}", "training.average=0.9", "training.keep_checkpoints=true", "baselines=[]")
    states = sorted(run.resumable.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    best = read_json(states[-1] / "trainer_state.json")["best_model_checkpoint"]
    means = load_file(Path(best) / "average.safetensors")
    (file,) = run.checkpoint.glob("*model.safetensors")
    kept = load_file(file)
    stripped = {name.replace(".default", ""): mean for name, mean in means.items()}
    shared = [name for name in kept if name in stripped]
    assert len(shared) > 4
    assert all(torch.equal(kept[name], stripped[name]) for name in shared)


def test_without_it_the_last_weights_are_kept(train_tiny: TrainTiny) -> None:
    run = train_tiny("training.average=0", "training.keep_checkpoints=true", "training.max_steps=3", "baselines=[]")
    assert not list(run.resumable.rglob("average.safetensors"))


def test_a_resumed_run_ends_with_the_same_mean(train_tiny: TrainTiny, tmp_path: Path) -> None:
    from ftclf.cli import run

    words = ("training.epochs=3", "training.average=0.9", "training.keep_checkpoints=true", "baselines=[]")
    whole = train_tiny(*words, folder="whole")
    broken = Path(shutil.copytree(whole.folder, tmp_path / "broken"))
    for path in (broken / "metrics.json", *broken.glob("resumable/checkpoint-*")):
        step = int(path.name.rpartition("-")[2]) if path.is_dir() else None
        if step is None:
            path.unlink()
    states = sorted(broken.glob("resumable/checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    if len(states) > 1:
        shutil.rmtree(states[-1])
    assert run(["train", f"resume={broken}"]) == 0
    (a,), (b,) = whole.checkpoint.glob("*model.safetensors"), Run(broken).checkpoint.glob("*model.safetensors")
    one, other = load_file(a), load_file(b)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert np.isfinite(read_json(Run(broken).metrics)["test"]["accuracy"])
