"""What a training step leaves out of the Trainer's walks over all modules: nothing may differ."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from conftest import TrainTiny
from ftclf.fast.module_walks import spare_walks
from ftclf.training.trainer import ClassifierTrainer


def network() -> torch.nn.Sequential:
    inner = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5))
    return torch.nn.Sequential(inner, torch.nn.Linear(2, 1)).eval()


def test_the_mode_still_reaches_every_module() -> None:
    walked = network()
    spare_walks(walked)
    for change, mode in ((walked.train, True), (walked.train, True), (walked.eval, False), (walked.train, True)):
        assert change() is walked
        assert {module.training for module in walked.modules()} == {mode}


def test_a_wrapper_in_another_mode_than_what_it_wraps_hides_nothing() -> None:
    walked = network()
    walked.training = True  # as peft leaves it
    spare_walks(walked)
    walked.train()
    assert all(module.training for module in walked.modules())


def test_a_mode_that_stands_walks_through_no_module() -> None:
    walked = network()
    spare_walks(walked)
    walked.train()
    walked[0].eval()  # what only a walk would find
    walked.train()
    assert not walked[0].training


def test_zero_grad_takes_the_gradients_of_all_that_trains() -> None:
    walked = network()
    walked[1].bias.requires_grad_(False)
    spare_walks(walked)
    walked(torch.ones(3, 2)).sum().backward()
    assert walked[0][0].weight.grad is not None
    walked.zero_grad()
    assert all(parameter.grad is None for parameter in walked.parameters())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_every_module_of_a_network_trains_in_every_step(
    train_tiny: TrainTiny, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, modes = ClassifierTrainer.compute_loss, []

    def seen(self: Any, model: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        modes.append({module.training for module in model.modules()})
        return original(self, model, *args, **kwargs)

    monkeypatch.setattr(ClassifierTrainer, "compute_loss", seen)
    train_tiny(f"method={method}", "training.eval_steps=2", "training.max_steps=5", "baselines=[]")
    assert modes == [{True}] * 5
