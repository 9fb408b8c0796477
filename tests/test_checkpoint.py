"""What is saved is what was trained, for every model and method; and what cannot be trusted is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import TrainTiny
from ftclf.checkpoint import load_checkpoint, read_info
from ftclf.cli import run
from ftclf.errors import CheckpointError
from ftclf.runs import Run, read_json

METHODS = [
    ("full",),
    ("head",),
    ("lora",),
    ("lora", "method.dora=true"),
    ("lora", "method.rslora=true", "method.r=4"),
    ("lora", "method.init=pissa", "method.r=4"),
    ("lora", "method.init=olora", "method.r=4"),
    ("lora", "method.init=orthogonal", "method.r=4"),
    ("lora", "method.init=gaussian"),
    ("lora", "method.targets=attention"),
]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bert", "bert_no_pooler", "distilbert", "roberta"])
@pytest.mark.parametrize("method", METHODS, ids=" ".join)
def test_a_checkpoint_loads_to_the_same_logits(train_tiny: TrainTiny, model: str, method: tuple[str, ...]) -> None:
    run = train_tiny(f"method={method[0]}", *method[1:], "training.epochs=0.5", model=model)
    assert read_json(run.manifest)["reload_difference"] < 1e-5


@pytest.mark.parametrize("extra", [(), ("method.dora=true",), ("method.rslora=true", "method.r=4")])
def test_merging_an_adapter_moves_logits_by_rounding_alone(train_tiny: TrainTiny, extra: tuple[str, ...]) -> None:
    import torch

    run = train_tiny("method=lora", *extra, "training.epochs=0.5")
    inputs = {"input_ids": torch.randint(4, 40, (5, 9)), "attention_mask": torch.ones(5, 9, dtype=torch.long)}
    network: Any = load_checkpoint(run.checkpoint).network
    with torch.inference_mode():
        before = network(**inputs).logits
        after = network.merge_and_unload()(**inputs).logits
    assert (before - after).abs().max() < 1e-4


def test_a_missing_weight_is_found_before_the_run_is_called_finished(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Break the saving: the proof must see it. Here the pooler, which starts at random, is left out of the adapter."""
    import ftclf.method

    monkeypatch.setattr(ftclf.method, "head_modules", lambda classifier: ["classifier"])
    with pytest.raises(AssertionError):
        train_tiny("method=lora", model="bert_no_pooler")


@pytest.fixture
def copy(trained: Run, tmp_path: Path) -> Path:
    """A checkpoint that a test may damage."""
    return Path(shutil.copytree(trained.checkpoint, tmp_path / "copy"))


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    return str(caught.value)


def test_an_adapter_on_another_base_is_refused(copy: Path, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    other = Path(shutil.copytree(tiny_models["bert"], tmp_path / "other"))
    tensors = load_file(other / "model.safetensors")
    save_file(
        {name: t + torch.ones_like(t) for name, t in tensors.items()}, other / "model.safetensors", {"format": "pt"}
    )
    info = json.loads((copy / "ftclf.json").read_text())
    info["model"]["name"] = str(other)
    (copy / "ftclf.json").write_text(json.dumps(info))
    assert "put the same base there" in refused(copy)


def test_a_base_that_is_gone_is_named(copy: Path) -> None:
    info = json.loads((copy / "ftclf.json").read_text())
    info["model"]["name"] = "/nowhere/base"
    (copy / "ftclf.json").write_text(json.dumps(info))
    assert "no folder /nowhere/base" in refused(copy)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": 99}, "format 99, allowed: 2"),
        ({"surprise": 1}, "a field is missing or unknown"),
        ({"method": {"kind": "magic"}}, "method 'magic', allowed: full, head, lora"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused(
    copy: Path, change: dict[str, Any], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    info = {**json.loads((copy / "ftclf.json").read_text()), **change}
    (copy / "ftclf.json").write_text(json.dumps(info))
    assert expected in refused(copy)
    assert run(["eval", f"checkpoint={copy}"]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_folder_and_its_checkpoint_folder_are_the_same_to_a_user(trained: Run) -> None:
    assert read_info(trained.checkpoint).label_names == ["food", "space", "sport"]
    assert run(["eval", f"checkpoint={trained.folder}"]) == run(["eval", f"checkpoint={trained.checkpoint}"]) == 0
