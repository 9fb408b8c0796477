"""The seam around speed: engines agree with plain torch, and each can be turned off."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TrainTiny
from ftclf.cli.main import run
from ftclf.fast.cpu.encoder import fuse
from ftclf.fast.cpu.trial import blocks_agree
from ftclf.model.compute import Compute
from ftclf.storage.run_folder import read_json
from test_gpu_blocks import classifier

pytestmark = pytest.mark.usefixtures("no_pictures")

ROOM = Path(__file__).resolve().parents[2] / "src" / "ftclf"
SEAM = {"training/prepare.py", "training/trainer.py", "score/logits.py"}


def test_three_files_import_the_room_of_speed() -> None:
    found = {
        str(path.relative_to(ROOM))
        for path in ROOM.rglob("*.py")
        if path.relative_to(ROOM).parts[0] != "fast"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ftclf.fast")
    }
    assert found == SEAM


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", ["bert", "distilbert", "roberta"])
def test_blocks_agree_with_torch_and_the_network_is_left_as_it_was(
    model: str, precision: str, adapted: bool, tiny_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    network = classifier(tiny_models[model], adapted)
    before = {name: one.clone() for name, one in network.state_dict().items()}
    random, modes = torch.get_rng_state(), [one.training for one in network.modules()]
    assert blocks_agree(network, Compute("cpu", precision, 2), training=True), capsys.readouterr().err
    assert torch.equal(torch.get_rng_state(), random)
    assert [one.training for one in network.modules()] == modes
    assert all(torch.equal(network.state_dict()[name], one) for name, one in before.items())
    assert all(one.grad is None for one in network.parameters())


def test_blocks_that_give_something_else_are_told_in_a_line(
    tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = classifier(tiny_models["bert"], False)
    monkeypatch.setattr("ftclf.fast.cpu.trial.fuse", fuse_with_other_weights)
    assert not blocks_agree(network, Compute("cpu", "fp32", 1), training=False)
    assert "computed by transformers, which is slower: blocks give other logits here (" in capsys.readouterr().err


def fuse_with_other_weights(network: Any, workers: int) -> None:
    fuse(network, workers)
    with torch.no_grad():
        network.bert.encoder.layer[0].intermediate.dense.weight.mul_(2)


def test_an_encoder_that_is_called_with_another_mask_is_told_in_a_line(
    tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As if transformers had renamed the argument: what is ignored would be attended to."""
    network = classifier(tiny_models["bert"], False)

    def renamed(network: Any, workers: int) -> None:
        fuse(network, workers)
        fused = network.bert.encoder.forward
        network.bert.encoder.forward = lambda states, attention_mask=None, **more: fused(
            states, padding_mask=attention_mask, **more
        )

    monkeypatch.setattr("ftclf.fast.cpu.trial.fuse", renamed)
    assert not blocks_agree(network, Compute("cpu", "fp32", 1), training=True)
    assert "argument padding_mask is not known to the blocks" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_plain_engine_trains_scores_and_predicts_what_the_fast_one_does(method: str, train_tiny: TrainTiny) -> None:
    words = [f"method={method}", "model.dropout=0", "model.attention_dropout=0", "training.precision=fp32"]
    words += ["baselines=[]", *(["method.dropout=0"] if method == "lora" else [])]
    fast = train_tiny(*words, folder="fast")
    plain = train_tiny(*words, "training.engine=plain", folder="plain")
    assert [read_json(one.manifest)["engine"] for one in (fast, plain)] == ["cpu_blocks", "plain"]
    for score, value in read_json(fast.metrics)["test"].items():
        if isinstance(value, float):
            assert read_json(plain.metrics)["test"][score] == pytest.approx(value, abs=1e-3), score


@pytest.mark.slow
def test_the_plain_engine_imports_no_hand_made_code(train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def used(*_: Any, **__: Any) -> None:
        raise AssertionError("hand-made code")

    for name in ("encoder.fuse", "embedding_rows.train_by_rows", "block_weights.train_blocks_apart"):
        monkeypatch.setattr(f"ftclf.fast.cpu.{name}", used)
        monkeypatch.setattr(f"ftclf.fast.cpu.engine.{name.split('.')[1]}", used)
    done = train_tiny("training.engine=plain", "training.max_steps=2", "baselines=[]")
    assert run(["eval", str(done.folder)]) == 0
    assert run(["predict", str(done.folder), "a text"]) == 0
