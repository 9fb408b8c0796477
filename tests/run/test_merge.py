"""A merged checkpoint is the same model: for ftclf, and for transformers, which needs neither peft nor the base."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TrainTiny
from ftclf.checkpoint.format import CheckpointError
from ftclf.cli.main import run
from ftclf.storage.run_folder import Run, read_json

pytestmark = pytest.mark.usefixtures("no_pictures")

TEXTS = ["the rocket left the orbit", "bread and cheese with salt", "a goal for the new team", "very old"]

PIPELINE = """
import sys
sys.modules["peft"] = None
from transformers import pipeline
classify = pipeline("text-classification", model=sys.argv[1], top_k=None)
for scores in classify(sys.argv[2:]):
    print(scores[0]["label"])
"""


def predicted(checkpoint: Path, folder: Path) -> list[dict[str, str]]:
    texts, output = folder / "texts.txt", folder / f"{checkpoint.name}.csv"
    texts.write_text("\n".join(TEXTS) + "\n")
    assert run(["predict", f"checkpoint={checkpoint}", f"input={texts}", f"output={output}"]) == 0
    with output.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_merged_run_gives_the_scores_and_predictions_of_the_run(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merged = tmp_path / "merged"
    assert run(["merge", str(trained.folder), "--output", str(merged)]) == 0
    assert f"merged: {merged}" in capsys.readouterr().out
    assert not list(merged.glob("adapter*"))
    assert predicted(merged, tmp_path) == predicted(trained.folder, tmp_path)
    said = []
    for checkpoint in (trained.folder, merged):
        capsys.readouterr()
        assert run(["eval", f"checkpoint={checkpoint}"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != ""
    assert (merged / "README.md").read_text() == (trained.checkpoint / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.slow
def test_transformers_opens_a_merged_run_without_peft_or_the_base(
    train_tiny: TrainTiny, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_models["bert"], tmp_path / "base"))
    trained = train_tiny("method=lora", f"model.name={base}", "training.epochs=4", "baselines=[]")
    merged = tmp_path / "merged"
    assert run(["merge", str(trained.checkpoint), "--output", str(merged)]) == 0
    shutil.rmtree(base)
    wanted = [row["label"] for row in predicted(merged, tmp_path)]
    shown = subprocess.run(
        [sys.executable, "-c", PIPELINE, merged, *TEXTS],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert shown.stdout.split() == wanted, shown.stderr


@pytest.mark.slow
def test_transformers_gives_each_of_several_labels_its_own_probability(train_tiny: TrainTiny, tmp_path: Path) -> None:
    from transformers import AutoConfig

    def saved(method: str, *words: str) -> Path:
        folder = f"{method}-{len(words)}"
        words = (f"method={method}", "training.max_steps=1", "baselines=[]", *words)
        checkpoint = train_tiny(*words, folder=folder).checkpoint
        if method == "full":
            return checkpoint
        assert run(["merge", str(checkpoint), "--output", str(tmp_path / f"merged-{folder}")]) == 0
        return tmp_path / f"merged-{folder}"

    for method in ("full", "lora"):
        one, several = saved(method), saved(method, "dataset.task=multi_label")
        assert AutoConfig.from_pretrained(one).problem_type == "single_label_classification"
        assert AutoConfig.from_pretrained(several).problem_type == "multi_label_classification"


@pytest.mark.parametrize("model", ["bert", "bert_no_pooler", "distilbert", "roberta"])
@pytest.mark.parametrize("extra", [(), ("method.dora=true",), ("method.init=pissa",), ("method.init=olora",)], ids=str)
def test_every_kind_of_adapter_can_be_merged(
    train_tiny: TrainTiny, model: str, extra: tuple[str, ...], tmp_path: Path
) -> None:
    few = ("training.max_steps=2", "baselines=[]", "decision.calibration=none")
    trained = train_tiny("method=lora", "method.r=4", *extra, *few, model=model)
    assert run(["merge", str(trained.folder), "--output", str(tmp_path / "merged")]) == 0
    assert predicted(tmp_path / "merged", tmp_path) == predicted(trained.folder, tmp_path)


def test_what_cannot_be_merged_is_one_line_and_nothing_is_touched(
    trained: Run, train_tiny: TrainTiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train_tiny("method=full", "training.max_steps=1", "baselines=[]").folder
    there = tmp_path / "there"
    there.mkdir()

    def refused(checkpoint: Path, output: Path, expected: str) -> None:
        capsys.readouterr()
        assert run(["merge", str(checkpoint), "--output", str(output)]) == 2
        error = capsys.readouterr().err
        assert expected in error
        assert error.count("\n") == 1

    refused(whole, tmp_path / "new", "has no adapter: it is a folder of whole weights already")
    refused(trained.folder, there, f"{there} exists; choose another name")
    refused(trained.folder, tmp_path / "no" / "new", f"no folder {tmp_path / 'no'}; make it first")
    refused(tmp_path / "nothing", tmp_path / "new", "no folder")
    assert not list(there.iterdir())
    assert not (tmp_path / "new").exists()
    capsys.readouterr()
    assert run(["merge", str(trained.folder)]) == 2
    assert "output=FOLDER" in capsys.readouterr().err


def test_whole_weights_beside_an_adapter_are_not_taken_for_it(
    trained: Run, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(trained.checkpoint, tmp_path / "copy"))
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(tiny_models["bert"] / name, copy / name)
    assert predicted(copy, tmp_path) == predicted(trained.folder, tmp_path)


def test_a_merged_run_that_gives_other_logits_is_not_left_behind(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    monkeypatch.setattr("ftclf.model.method.merged", lambda network: network.unload())
    assert run(["merge", str(trained.folder), "--output", str(tmp_path / "merged")]) == CheckpointError.exit_code
    assert "gives other logits" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_merged_run_is_sealed_and_damage_is_found(trained: Run, tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    assert run(["merge", str(trained.folder), "--output", str(merged)]) == 0
    assert "model.safetensors" in read_json(merged / "files.json")["files"]
    weights = merged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert run(["eval", f"checkpoint={merged}"]) == 3
