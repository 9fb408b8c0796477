"""What is saved is what was trained, for every model and method; and what cannot be trusted is refused."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import redirect_stderr
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import TrainTiny, tiny_words
from ftclf.checkpoint.format import load_checkpoint, prove_reload, read_info
from ftclf.cli.main import run
from ftclf.score.calibration import Calibration
from ftclf.storage.durable import FILES, seal
from ftclf.storage.run_folder import Run, read_json
from ftclf.system.errors import CheckpointError

pytestmark = pytest.mark.usefixtures("no_pictures")

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


FEW = ("training.max_steps=2", "baselines=[]", "decision.calibration=none")


def most(method: tuple[str, ...]) -> float:
    """Return how far logits may be off: OLoRA's base is what is left without large adapters, and their sum rounds."""
    return 3e-5 if "method.init=olora" in method else 1e-5


@pytest.mark.parametrize("method", METHODS, ids=" ".join)
def test_a_run_says_how_far_the_logits_of_its_checkpoint_are_off(
    train_tiny: TrainTiny, method: tuple[str, ...]
) -> None:
    run = train_tiny(f"method={method[0]}", *method[1:], *FEW)
    assert read_json(run.manifest)["reload_difference"] < most(method)


@pytest.mark.parametrize("model", ["bert_no_pooler", "distilbert", "roberta"])
@pytest.mark.parametrize("method", METHODS, ids=" ".join)
def test_a_checkpoint_loads_to_the_same_logits(
    tiny_models: dict[str, Path],
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    method: tuple[str, ...],
) -> None:
    """The run ends with its proof: scores and report follow from the checkpoint that was proven."""
    differences = []

    def prove(*given: Any, **named: Any) -> Any:
        differences.append(prove_reload(*given, **named)[1])
        raise KeyboardInterrupt

    monkeypatch.setattr("ftclf.training.network_learner.prove_reload", prove)
    words = [f"method={method[0]}", *method[1:], *FEW]
    assert run(tiny_words(tiny_models[model], reviews, tmp_path / "run", *words)) == 130
    assert differences[0] < most(method)


@pytest.mark.parametrize("extra", [(), ("method.dora=true",), ("method.rslora=true", "method.r=4")])
def test_merging_an_adapter_moves_logits_by_rounding_alone(train_tiny: TrainTiny, extra: tuple[str, ...]) -> None:
    import torch

    run = train_tiny("method=lora", *extra, "training.max_steps=2", "baselines=[]")
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
    import ftclf.model.method

    monkeypatch.setattr(ftclf.model.method, "head_modules", lambda classifier: ["classifier"])
    with pytest.raises(AssertionError):
        train_tiny("method=lora", model="bert_no_pooler")


@pytest.fixture
def copy(trained: Run, tmp_path: Path) -> Path:
    """A checkpoint that a test may damage."""
    return Path(shutil.copytree(trained.checkpoint, tmp_path / "copy"))


def edit(folder: Path, **changes: Any) -> None:
    """Change a checkpoint's json as if it had been saved so."""
    info = {**json.loads((folder / "ftclf.json").read_text()), **changes}
    (folder / "ftclf.json").write_text(json.dumps(info))
    seal(folder)


def refused(folder: Path) -> str:
    """Return the one line with which a command refuses a checkpoint."""
    with redirect_stderr(io.StringIO()) as said:
        assert run(["eval", f"checkpoint={folder}"]) == 3
    assert said.getvalue().count("\n") == 1
    return said.getvalue()


def test_an_adapter_on_another_base_is_refused(copy: Path, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    other = Path(shutil.copytree(tiny_models["bert"], tmp_path / "other"))
    tensors = load_file(other / "model.safetensors")
    save_file(
        {name: t + torch.ones_like(t) for name, t in tensors.items()}, other / "model.safetensors", {"format": "pt"}
    )
    edit(copy, model={**asdict(read_info(copy).model), "name": str(other)})
    assert "put the same base there" in refused(copy)


def test_a_base_that_is_gone_is_named(copy: Path) -> None:
    edit(copy, model={**asdict(read_info(copy).model), "name": "/nowhere/base"})
    assert "no folder /nowhere/base" in refused(copy)


def several(**decision: Any) -> dict[str, Any]:
    return {"task": "multi_label", "calibration": {}, "decision": decision}


def isotonic(step: list[list[float]]) -> dict[str, Any]:
    return {"task": "multi_label", "calibration": {"method": "isotonic", "steps": [step] * 3}}


def platt(slopes: list[float], offsets: list[float]) -> dict[str, Any]:
    return {"task": "multi_label", "calibration": {"method": "platt", "slopes": slopes, "offsets": offsets}}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": 99}, "format 99, allowed: 4"),
        ({"surprise": 1}, "surprise is not known"),
        ({"other_decisions": {"macro_f1": {"rule": "foo"}}}, "rule: got 'foo', allowed: "),
        (isotonic([[0.1], [0.2, 0.3]]), "calibration has steps without as many values"),
        (isotonic([[0.1, 0.0], [0.2, 0.3]]), "calibration has steps that fall"),
        (isotonic([[0.0, 0.1], [0.3, 0.2]]), "calibration has steps that fall"),
        (isotonic([[0.0, 0.1], [0.3, 7]]), "calibration has steps to probabilities that are not between 0 and 1"),
        (isotonic([[0.0, 0.1], [-0.1, 1]]), "calibration has steps to probabilities that are not between 0 and 1"),
        ({"task": "multi_label", "calibration": {"method": "isotonic"}}, "calibration has 0 steps for 3 labels"),
        (platt([1, 1, -1], [0, 0, 0]), "calibration.slopes are not all above 0 and at most 1e+09"),
        (platt([1, 1, 1e300], [0, 0, 0]), "calibration.slopes are not all above 0 and at most 1e+09"),
        (platt([1, 1, 1], [0, 0, -1e300]), "calibration.offsets are not all between -1e+09 and 1e+09"),
        ({"calibration": {"method": "platt"}}, "calibration.method is platt, allowed with single_label: none, temper"),
        ({"calibration": {"method": "isotonic"}}, "calibration.method is isotonic, allowed with single_label: none"),
        ({"task": "multi_label", "calibration": {"method": "temperature"}}, "allowed with multi_label: none, platt, "),
        ({"calibration": {"method": "temperature", "temperature": 1e-320}}, "temperature: got 1e-320, allowed: from "),
        ({"calibration": {"method": "temperature", "temperature": 1e300}}, "temperature: got 1e+300, allowed: from "),
        ({"calibration": {"guarded": ["x"]}}, "calibration.guarded names 'x', which is no label"),
        ({"decision": {"rule": "top_k"}}, "decision.rule is top_k, allowed with single_label: argmax"),
        ({"decision": {"abstain_below": -1}}, "abstain_below: got -1, allowed: from 0 to 2"),
        ({"decision": {"wanted_precision": 2}}, "wanted_precision: got 2, allowed: from 0 to 1"),
        ({"other_decisions": {"macro_f1": {}}}, "other_decisions are for several labels per row"),
        (several(rule="threshold", thresholds=[-1]), "decision.thresholds are not all between 0 and 2"),
        (several(rule="threshold", thresholds=[1e300]), "decision.thresholds are not all between 0 and 2"),
        (several(rule="top_k", k=10**9), "k: got 1000000000, allowed: from 1 to 1000"),
        (several(guarded=["x"]), "decision.guarded names 'x', which is no label"),
        ({"threads": "2"}, "threads is '2', not of type int"),
        ({"calibration": {}, "decision": {"k": "1"}}, "decision.k is '1', not of type int"),
        ({"label_names": ["food", "food", "sport"]}, "not several different ones"),
        ({"task": "multi_label", "calibration": {"method": "platt"}}, "has 0 slopes and 0 offsets for 3 labels"),
        (several(rule="thresholds", thresholds=[0.5, 0.5]), "decision has 2 thresholds for 3 labels"),
        ({"method": {"kind": "magic"}}, "method.kind is 'magic', none of full, head, lora"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused(copy: Path, change: dict[str, Any], expected: str) -> None:
    edit(copy, **change)
    assert expected in refused(copy)


def test_a_run_folder_and_its_checkpoint_folder_are_the_same_to_a_user(trained: Run) -> None:
    assert read_info(trained.checkpoint).label_names == ["food", "space", "sport"]
    assert run(["eval", f"checkpoint={trained.folder}"]) == run(["eval", f"checkpoint={trained.checkpoint}"]) == 0


def test_a_sealed_checkpoint_that_contradicts_itself_is_refused_in_one_line(
    copy: Path, train_tiny: TrainTiny, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    def ends(folder: Path, expected: str) -> None:
        seal(folder)
        capsys.readouterr()
        assert run(["eval", f"checkpoint={folder}"]) == 3
        error = capsys.readouterr().err
        assert expected in error
        assert error.count("\n") == 1

    info = json.loads((copy / "ftclf.json").read_text())
    edit(copy, dataset={**info["dataset"], "max_length": 200})
    ends(copy, "dataset.max_length is 200, its network reads 128")
    (copy / "ftclf.json").write_text(json.dumps({name: info[name] for name in info if name != "version"}))
    ends(copy, "version is missing")
    edit(copy, version=info["version"])
    (copy / "adapter_model.safetensors").write_bytes(b"x" * 99)
    ends(copy, "no usable safetensors file")
    whole = train_tiny("method=full", "training.max_steps=1", "baselines=[]").checkpoint
    weights, config = whole / "model.safetensors", json.loads((whole / "config.json").read_text())
    save_file({**load_file(weights), "more": load_file(weights)["classifier.bias"]}, weights, {"format": "pt"})
    ends(whole, "the weights are of another network (more)")
    (whole / "config.json").write_text(json.dumps({**config, "id2label": {"0": "a", "1": "b", "2": "c"}}))
    ends(whole, "config.json names the labels ['a', 'b', 'c']")
    (whole / "config.json").write_text(json.dumps({**config, "id2label": None}))
    ends(whole, "it names no labels")


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "ftclf.json"])
@pytest.mark.parametrize("way", ["missing", "cut", "changed"])
def test_a_damaged_checkpoint_is_refused_in_one_line_by_eval_and_predict(
    copy: Path, tmp_path: Path, name: str, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (copy / name).read_bytes()
    (copy / name).unlink()
    if way != "missing":
        (copy / name).write_bytes(content[:-1] if way == "cut" else content[:-2] + b"x" + content[-1:])
    (tmp_path / "texts.txt").write_text("goal match\n")
    for words in (["eval"], ["predict", f"input={tmp_path / 'texts.txt'}"]):
        assert run([*words, f"checkpoint={copy}"]) == 3
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert name in captured.err
        assert not captured.out


def test_a_checkpoint_without_its_list_of_files_is_refused_and_one_that_was_edited_says_how(copy: Path) -> None:
    info = json.loads((copy / "ftclf.json").read_text())
    (copy / "ftclf.json").write_text(json.dumps({**info, "data_name": "mine"}))
    assert f"take their lines out of {FILES}" in refused(copy)
    files = json.loads((copy / FILES).read_text())
    del files["files"]["ftclf.json"]
    (copy / FILES).write_text(json.dumps(files))
    assert load_checkpoint(copy).info.data_name == "mine"
    (copy / FILES).unlink()
    assert f"has no {FILES}" in refused(copy)


def test_what_happens_to_the_file_after_loading_reaches_no_weight(train_tiny: TrainTiny, tmp_path: Path) -> None:
    import torch

    finished = train_tiny("method=full", "training.max_steps=2", "baselines=[]")
    network: Any = load_checkpoint(finished.checkpoint).network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with (finished.checkpoint / "model.safetensors").open("r+b") as file:
        file.seek(-4096, 2)
        file.write(bytes(4096))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("way", ["missing", "more", "other shape", "not finite"])
def test_an_adapter_of_other_tensors_is_refused_though_its_hash_is_right(copy: Path, way: str) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "adapter_model.safetensors")
    name = min(tensors)
    if way == "more":
        tensors["more"] = tensors[name].clone()
    elif way == "missing":
        del tensors[name]
    else:
        tensors[name] = tensors[name][:1].clone() if way == "other shape" else tensors[name] / 0
    save_file(tensors, copy / "adapter_model.safetensors", {"format": "pt"})
    seal(copy)
    assert "not finite" in refused(copy) if way == "not finite" else "of another network or method" in refused(copy)


def test_an_adapter_is_what_its_method_says_and_its_own_json_is_not_asked(copy: Path, trained: Run) -> None:
    import torch

    (copy / "adapter_config.json").write_text('{"peft_type": "LORA", "lora_alpha": 1, "auto_mapping": {"a": "b"}}')
    seal(copy)
    ids = torch.tensor([[2, 5, 6, 3]])
    networks: list[Any] = [load_checkpoint(folder).network for folder in (copy, trained.checkpoint)]
    assert torch.equal(networks[0](ids).logits, networks[1](ids).logits)


def test_a_list_of_files_reaches_no_file_outside_its_folder(copy: Path) -> None:
    files = json.loads((copy / FILES).read_text())
    files["files"]["../secret"] = {"bytes": 1, "sha256": "0" * 64}
    (copy / FILES).write_text(json.dumps(files))
    assert "names ../secret, which is not in its folder" in refused(copy)


def test_logits_that_are_not_finite_are_refused_by_every_command_that_makes_some(
    train_tiny: TrainTiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights of 3e38 are finite, what comes of them is not."""
    from safetensors.torch import load_file, save_file

    (tmp_path / "texts.txt").write_text("goal match\n")
    for method, file, key in (
        ("full", "model.safetensors", "classifier.weight"),
        ("lora", "adapter_model.safetensors", "base_model.model.classifier.weight"),
    ):
        folder = train_tiny(f"method={method}", "training.max_steps=2", "baselines=[]", folder=method).checkpoint
        weights = load_file(folder / file)
        weights[key] = 3e38 * weights[key].sign()
        save_file(weights, folder / file, {"format": "pt"})
        seal(folder)
        lines = [["eval"], ["predict", f"input={tmp_path / 'texts.txt'}"]]
        lines += [["predict", f"input={tmp_path / 'texts.txt'}", f"output={tmp_path / 'out.csv'}"]]
        for words in lines:
            capsys.readouterr()
            assert run([words[0], str(folder), *words[1:]]) == 3
            captured = capsys.readouterr()
            assert f"{folder}: " in captured.err
            assert "get logits that are not finite: its weights are damaged, or too large for fp32" in captured.err
            assert captured.err.count("\n") == 1
            assert not captured.out
        assert not (tmp_path / "out.csv").exists()
    assert run(["merge", str(folder), "--output", str(tmp_path / "merged")]) == 3
    assert not (tmp_path / "merged").exists()


def test_probabilities_are_guarded_where_they_arise() -> None:
    for scaling in (
        Calibration("isotonic", steps=[[[0.0, 1.0], [0.0, 7.0]]]),
        Calibration("temperature", temperature=float("nan")),
        Calibration("platt", slopes=[float("nan")], offsets=[0.0]),
    ):
        task = "single_label" if scaling.method == "temperature" else "multi_label"
        with pytest.raises(CheckpointError, match="gets a probability that is not between 0 and 1"):
            scaling.probabilities(np.array([[0.5]], dtype=np.float32), task)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_a_reload_is_proven_to_the_rounding_of_logits_of_any_size(
    train_tiny: TrainTiny, scale: float, tmp_path: Path
) -> None:
    """What is off by rounding is kept, by a thousandth of the logits it is refused: at 1 as at 10,000."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = train_tiny("method=full", "training.max_steps=2", "baselines=[]").checkpoint
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"] *= scale
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    seal(folder)
    inputs = {"input_ids": torch.randint(4, 40, (5, 9)), "attention_mask": torch.ones(5, 9, dtype=torch.long)}
    network: Any = load_checkpoint(folder).network
    with torch.inference_mode():
        logits = network(**inputs).logits
    size = max(1.0, logits.abs().max().item())
    assert size > scale / 10
    _, difference = prove_reload(folder, inputs, logits + 3e-5 * size, seed=0)
    assert difference == pytest.approx(3e-5 * size, rel=0.1)
    with pytest.raises(CheckpointError, match=r"loaded again it gives other logits \(by "):
        prove_reload(folder, inputs, logits + 1e-3 * size, seed=0)


@pytest.fixture
def own_base(tiny_models: dict[str, Path], tmp_path: Path) -> Path:
    """A base that a test may change."""
    return Path(shutil.copytree(tiny_models["bert"], tmp_path / "base"))


def reset(folder: Path, **changes: Any) -> None:
    """Change a model folder's config.json."""
    settings = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"hidden_act": "relu"}, False),
        ({"layer_norm_eps": 1e-3}, False),
        ({"num_hidden_layers": 1}, False),
        ({"num_attention_heads": 4}, False),
        (
            {"transformers_version": "9.9", "_name_or_path": "/home/x", "architectures": ["Y"], "dtype": "bfloat16"},
            True,
        ),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}, "hidden_dropout_prob": 0.5}, True),
    ],
    ids=["activation", "epsilon", "layers", "heads", "names", "labels"],
)
def test_another_config_beside_the_same_weights_is_another_base(
    change: dict[str, Any], same: bool, copy: Path, own_base: Path, tmp_path: Path
) -> None:
    """An adapter's logits would be others, and only a score would tell."""
    edit(copy, model={**asdict(read_info(copy).model), "name": str(own_base)})
    reset(own_base, **change)
    if same:
        assert run(["eval", str(copy)]) == 0
    else:
        assert "describes another network than the adapter was trained on; put back the one that was" in refused(copy)


def test_a_run_goes_on_with_the_settings_of_its_base_alone(
    own_base: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tiny_words(own_base, reviews, tmp_path / "run", "training.max_steps=2", "baselines=[]", "method=lora")
    assert run(words) == 0
    (tmp_path / "run" / "metrics.json").unlink()
    reset(own_base, hidden_act="relu")
    assert run(words) == 2
    assert "base.settings was " in capsys.readouterr().err
