"""Kernels that do not run, or give something else than torch, are seen before anything is trained with them.

Without a GPU the kernels run in triton's interpreter.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from test_gpu_blocks import DEVICE, LOW, classifier, small_electra

pytest.importorskip("triton", reason="needs triton")
pytestmark = [
    pytest.mark.usefixtures("quick_interpreter"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # numpy's, in triton's interpreter
]

Agree = Callable[..., bool]


@pytest.fixture
def agree(monkeypatch: pytest.MonkeyPatch) -> Agree:
    """Ask anew, of small batches, which the interpreter can compute in time."""
    from ftclf.fast.gpu.trial import kernels_agree

    monkeypatch.setattr("ftclf.fast.gpu.trial._wrong", {})
    monkeypatch.setattr("ftclf.fast.gpu.trial.MOST_ATTENDED", 6)
    monkeypatch.setattr("ftclf.fast.gpu.packed.TOKENS", 8)
    monkeypatch.setattr("ftclf.fast.gpu.packed.TEXTS", 4)
    monkeypatch.setattr("ftclf.fast.gpu.updates.Layout.CHUNK", 1 << 15)
    return lambda network, training, dtype=torch.float32: kernels_agree(network, DEVICE, dtype, training=training)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "adapted", "dtype"),
    [
        ("electra", False, torch.float32),
        ("roberta", "some", torch.float32),
        ("distilbert", False, LOW),
        ("bert", True, LOW),
    ],
)
def test_kernels_agree_with_torch_and_the_network_is_left_as_it_was(
    model: str, adapted: bool | str, dtype: torch.dtype, agree: Agree, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    folder = small_electra(tmp_path) if model == "electra" else tiny_models[model]
    network = classifier(folder, adapted, layers=1).to(DEVICE)
    before = {name: one.clone() for name, one in network.state_dict().items()}
    random, modes = torch.get_rng_state(), [one.training for one in network.modules()]
    assert agree(network, training=True, dtype=dtype)
    assert torch.equal(torch.get_rng_state(), random)
    assert [one.training for one in network.modules()] == modes
    assert all(one.grad is None for one in network.parameters())
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], one) for name, one in before.items())


def test_a_network_that_only_scores_is_tried_too(agree: Agree, tiny_models: dict[str, Path]) -> None:
    with torch.inference_mode(), torch.autocast(DEVICE, dtype=torch.bfloat16):
        assert agree(classifier(tiny_models["bert"], False, layers=1).to(DEVICE).eval(), training=False)


def test_kernels_that_do_not_run_are_told_in_a_line(
    agree: Agree, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_compiler(*_: Any) -> None:
        raise RuntimeError("Failed to find C compiler.\nSet CC")

    monkeypatch.setattr("ftclf.fast.gpu.attention.attend", without_compiler)
    network = classifier(tiny_models["bert"], False, layers=1).to(DEVICE)
    for _ in range(2):
        assert not agree(network, training=True)
    assert capsys.readouterr().err.count("do not run here (Failed to find C compiler.)") == 1


def gelu_off(gelu: Any) -> Any:
    return lambda h, bias: gelu(h, bias) * 1.5


def without_gradient(gelu: Any) -> Any:
    return lambda h, bias: gelu(h, bias.detach())


def without_decay(step: Any) -> Any:
    def made(table: Any, layout: Any, dtype: Any, rates: Tensor, decays: Tensor, *rest: Any) -> None:
        step(table, layout, dtype, rates, 0 * decays, *rest)

    return made


def half_the_squares(sums: Any) -> Any:
    return lambda *given: sums(*given) / 4


@pytest.mark.parametrize(
    ("kernel", "broken", "told"),
    [
        ("elementwise.gelu", gelu_off, "packed ones give other logits here ("),
        ("elementwise.gelu", without_gradient, "another gradient of bert.encoder.layer.0.intermediate.dense.bias here"),
        ("adamw.step", without_decay, "AdamW makes another step of bert.embeddings"),
        ("adamw.sums_of_squares", half_the_squares, "a gradient's norm is "),
    ],
)
def test_kernels_that_give_something_else_are_told_in_a_line(
    kernel: str,
    broken: Any,
    told: str,
    agree: Agree,
    tiny_models: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module, name = kernel.split(".")
    own = getattr(__import__(f"ftclf.fast.gpu.{module}", fromlist=[name]), name)
    monkeypatch.setattr(f"ftclf.fast.gpu.{kernel}", broken(own))
    assert not agree(classifier(tiny_models["bert"], False, layers=1).to(DEVICE), training=True)
    error = capsys.readouterr().err
    assert "batches are padded, which is slower" in error
    assert told in error
