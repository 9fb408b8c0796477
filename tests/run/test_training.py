"""A run from the command to its folder, and what the Trainer must not get wrong."""

from __future__ import annotations

import gc
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from conftest import TrainTiny, make_rows, tiny_words, write_csv
from ftclf.cli.main import run
from ftclf.score.logits import compute_logits
from ftclf.storage.run_folder import Run, read_json

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_the_run_folder_holds_everything(trained: Run) -> None:
    found = {str(path.relative_to(trained.folder)) for path in trained.folder.rglob("*") if path.is_file()}
    assert {
        "config.json",
        "manifest.json",
        "history.jsonl",
        "log.txt",
        "metrics.json",
        "predictions/validation.parquet",
        "predictions/test.parquet",
        "plots/confusion_test.png",
        "plots/confusion_test.csv",
        "plots/history.png",
        "checkpoint/ftclf.json",
        "checkpoint/adapter_model.safetensors",
        "checkpoint/tokenizer.json",
        "checkpoint/README.md",
    } <= found
    assert not [name for name in found if name.startswith("resumable") or name.endswith((".bin", ".pt", ".pth"))]


def test_the_manifest_says_what_the_run_was_made_with(trained: Run) -> None:
    manifest = read_json(trained.manifest)
    assert manifest["parameters"]["trainable"] < manifest["parameters"]["total"]
    assert manifest["examples_per_second"] > 0
    assert manifest["peak_memory_mb"] > 100
    assert {"data", "preparation", "training", "evaluation", "total"} <= set(manifest["seconds"])
    assert manifest["versions"]["torch"]
    assert set(manifest["digests"]) == {"train", "validation", "test"}


def test_an_evaluation_begins_without_the_memory_that_steps_keep(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def scored(*words: Any, **named: Any) -> Any:
        calls.append("scored")
        return compute_logits(*words, **named)

    monkeypatch.setattr("ftclf.training.trainer.hand_back_memory", lambda **_: calls.append("handed back"))
    monkeypatch.setattr("ftclf.training.trainer.compute_logits", scored)
    train_tiny("training.max_steps=2", "baselines=[]")
    assert calls == ["handed back", "scored"]


def test_a_tiny_model_learns_its_topics(trained: Run) -> None:
    assert read_json(trained.metrics)["test"]["accuracy"] > 0.8


def test_predictions_agree_with_the_metrics(trained: Run) -> None:
    rows = pq.read_table(trained.predictions / "test.parquet").to_pydict()
    right = np.mean([label == predicted for label, predicted in zip(rows["label"], rows["predicted"], strict=True)])
    assert right == read_json(trained.metrics)["test"]["accuracy"]
    probabilities = np.array([rows[f"p_{name}"] for name in ("food", "space", "sport")])
    assert np.allclose(probabilities.sum(axis=0), 1)


def test_the_model_card_shows_the_scores_of_the_metrics(trained: Run) -> None:
    card = (trained.checkpoint / "README.md").read_text()
    assert f"{read_json(trained.metrics)['test']['accuracy']:.4f}" in card


def test_accumulation_gives_the_same_loss_and_the_same_step(train_tiny: TrainTiny) -> None:
    """16 x 1 and 4 x 4 see the same rows; the Trainer's own loss would be four times as large."""
    same = (
        "method=full",
        "training.max_steps=1",
        "training.batching=random",
        "training.log_steps=1",
        "training.warmup=0",
        "training.optimizer=sgd",
        "training.schedule=constant",
        "model.dropout=0",
    )
    one = train_tiny(*same, "training.batch_size=16", folder="one")
    four = train_tiny(*same, "training.batch_size=4", "training.accumulation=4", folder="four")
    losses = [json.loads(r.history.read_text().splitlines()[0])["loss"] for r in (one, four)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] < 3  # four times log 3 would be 4.4
    weights = [load_file(r.checkpoint / "model.safetensors") for r in (one, four)]
    for name, tensor in weights[0].items():
        assert np.allclose(tensor, weights[1][name], atol=1e-6), name


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_same_command_gives_the_same_bits(train_tiny: TrainTiny, method: str) -> None:
    first, second = (train_tiny(f"method={method}", folder=name) for name in ("first", "second"))
    name = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    assert (first.checkpoint / name).read_bytes() == (second.checkpoint / name).read_bytes()
    assert first.metrics.read_bytes() == second.metrics.read_bytes()


def test_another_seed_gives_another_model_on_the_same_splits(train_tiny: TrainTiny) -> None:
    first, second = (train_tiny(f"training.seed={seed}", folder=str(seed)) for seed in (0, 1))
    assert read_json(first.manifest)["digests"] == read_json(second.manifest)["digests"]
    assert first.metrics.read_bytes() != second.metrics.read_bytes()


def test_tokens_are_reused_by_the_next_run(train_tiny: TrainTiny) -> None:
    train_tiny("training.max_steps=1", "dataset.max_length=9", folder="first")
    second = train_tiny("training.max_steps=1", "dataset.max_length=9", folder="second")
    assert read_json(second.manifest)["tokens_from_cache"]


def test_early_stopping_ends_before_the_epochs_and_keeps_the_best(train_tiny: TrainTiny) -> None:
    run = train_tiny(
        "training.epochs=30", "training.early_stopping=2", "training.eval_steps=5", "training.metric=accuracy"
    )
    assert read_json(run.manifest)["steps"] < 30 * 6
    history = [json.loads(line) for line in run.history.read_text().splitlines()]
    best = max(row["validation_accuracy"] for row in history if "validation_accuracy" in row)
    assert read_json(run.metrics)["validation"]["accuracy"] == best


def test_the_checkpoint_is_chosen_by_the_metric_that_is_named(train_tiny: TrainTiny) -> None:
    run = train_tiny("training.metric=log_loss", "training.epochs=4", "decision.calibration=none")
    history = [json.loads(line) for line in run.history.read_text().splitlines()]
    best = min(row["validation_log_loss"] for row in history if "validation_log_loss" in row)
    assert read_json(run.metrics)["validation"]["log_loss"] == pytest.approx(best, rel=1e-6)


def test_extra_arguments_reach_the_trainer_and_a_wrong_one_gets_the_nearest(
    train_tiny: TrainTiny,
    tiny_models: dict[str, Path],
    reviews: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train_tiny("training.extra.adam_beta2=0.95", "training.max_steps=1")
    words = tiny_words(tiny_models["bert"], reviews, tmp_path / "other", "training.extra.adam_beta22=1")
    assert run(words) == 2
    assert "Did you mean 'adam_beta2'?" in capsys.readouterr().err
    words = tiny_words(tiny_models["bert"], reviews, tmp_path / "other", "training.extra.logging_strategy=now")
    assert run(words) == 2
    assert "error: training.extra: now is not a valid" in capsys.readouterr().err


def test_gradient_checkpointing_and_other_optimizers_run(train_tiny: TrainTiny) -> None:
    train_tiny("training.gradient_checkpointing=true", "training.max_steps=2", "method=full", folder="a")
    train_tiny("training.optimizer=adafactor", "training.schedule=cosine", "training.max_steps=2", folder="b")


def test_a_tracker_that_is_not_installed_says_how_to_get_it(
    tiny_models: dict[str, Path], reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tiny_words(tiny_models["bert"], reviews, tmp_path / "run", "training.trackers=[wandb]")) == 2
    assert capsys.readouterr().err == "error: training.trackers: wandb is not installed; pip install wandb\n"


def test_half_precision_on_a_cpu_is_refused(
    tiny_models: dict[str, Path],
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = tiny_words(tiny_models["bert"], reviews, tmp_path / "run", "training.device=cpu")
    assert run([*words, "training.precision=fp16"]) == 2
    assert "auto, bf16, fp32" in capsys.readouterr().err
    monkeypatch.setattr("ftclf.model.compute.choose_device", lambda wanted: "cpu")  # what auto comes to without a GPU
    assert run([*words[:-1], "training.precision=fp16"]) == 2
    assert "fp16 does nothing on a CPU" in capsys.readouterr().err


def test_bf16_trains_and_scores_alike_in_eval(train_tiny: TrainTiny, capsys: pytest.CaptureFixture[str]) -> None:
    finished = train_tiny("training.precision=bf16")
    printed = capsys.readouterr().out
    assert run(["eval", f"checkpoint={finished.folder}"]) == 0
    scores = [line.split("]")[0] for line in capsys.readouterr().out.splitlines() if re.search(r"\d to \d", line)]
    assert len(scores) == 4
    assert all(score in printed for score in scores)


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_says_so_and_is_not_overwritten_unless_told(
    train_tiny: TrainTiny,
    tiny_models: dict[str, Path],
    reviews: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    finished = train_tiny("training.max_steps=1")
    before = files_of(finished.folder)
    words = tiny_words(tiny_models["bert"], reviews, tmp_path / "run", "training.max_steps=1")
    for same in (words, ["train", f"resume={tmp_path / 'run'}"]):
        assert run(same) == 0
        assert "holds this run, finished: test accuracy" in capsys.readouterr().out
    assert run([*words, "training.seed=1"]) == 2
    error = capsys.readouterr().err
    assert "training.seed was 0, now it is 1; choose another folder or add overwrite=true" in error
    assert files_of(finished.folder) == before
    (finished.folder / "my_notes.txt").write_text("kept")
    assert run([*words, "training.seed=1", "overwrite=true"]) == 0
    assert (finished.folder / "my_notes.txt").read_text() == "kept"
    assert read_json(finished.config)["training"]["seed"] == 1


def test_an_old_run_is_not_lost_to_a_mistake_in_its_replacement(
    train_tiny: TrainTiny, tiny_models: dict[str, Path], reviews: Path, tmp_path: Path
) -> None:
    finished = train_tiny("training.max_steps=1")
    before = {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()}
    for mistake in ("training.extra.adam_betaa=1", "method.target_modules=[nothing]", "dataset.max_length=500"):
        words = tiny_words(tiny_models["bert"], reviews, tmp_path / "run", "overwrite=true", mistake)
        assert run(words) == 2
    assert {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()} == before


def test_a_folder_with_something_elses_checkpoint_is_refused(
    tiny_models: dict[str, Path], reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    (tmp_path / "run" / "checkpoint" / "precious").write_text("kept")
    assert run(tiny_words(tiny_models["bert"], reviews, tmp_path / "run")) == 2
    assert "holds checkpoint/ of something else" in capsys.readouterr().err
    assert (tmp_path / "run" / "checkpoint" / "precious").read_text() == "kept"


@pytest.mark.parametrize("replaces", ["overwrite=true", "overwrite=false"])
def test_a_folder_with_a_config_of_something_else_is_refused_even_to_be_replaced(
    tiny_models: dict[str, Path], reviews: Path, tmp_path: Path, replaces: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {"config.json": '{"training": {"epochs": 3}}', "plots/figure.png": "drawn for weeks"}
    for name, text in kept.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text(text)
    assert run(tiny_words(tiny_models["bert"], reviews, tmp_path / "run", replaces)) == 2
    assert "holds config.json of something else; choose another folder" in capsys.readouterr().err
    assert {name: (tmp_path / "run" / name).read_text() for name in kept} == kept


def test_texts_longer_than_the_model_reaches_are_refused_before_training(
    tiny_models: dict[str, Path], reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, longest in (("bert", 128), ("roberta", 128)):
        words = tiny_words(tiny_models[model], reviews, tmp_path / model, "dataset.max_length=129")
        assert run(words) == 2
        assert f"got 129, allowed with this model: up to {longest}" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_ends_the_run_with_exit_code_4(
    tiny_models: dict[str, Path], reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["training.learning_rate=10", "training.max_grad_norm=0", "method=full", "training.warmup=0"]
    words += ["training.schedule=constant", "training.epochs=50", "method.head_rate=1000"]
    assert run(tiny_words(tiny_models["bert"], reviews, tmp_path / "run", *words)) == 4
    assert "the loss is" in capsys.readouterr().err
    assert not Run(tmp_path / "run").finished


@pytest.mark.pictures
def test_labels_that_look_like_markup_or_paths_come_through(
    tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = {"food": "x[/]", "space": "../up", "sport": "=1+1|<b>"}
    path = write_csv(tmp_path / "odd.csv", [(text, renamed[label]) for text, label in make_rows(90)])
    words = tiny_words(tiny_models["bert"], path, tmp_path / "run", "training.max_steps=2")
    assert run(words) == 0
    names = {row["label"] for row in read_json(Run(tmp_path / "run").metrics)["test"]["per_class"]}
    assert names == set(renamed.values())
    assert run(["compare", str(tmp_path)]) == 0


@pytest.mark.parametrize("frozen", [False, True])
def test_a_run_leaves_the_garbage_collector_as_it_was(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    """What was there before a run is not collected during it; afterwards it is, unless the caller had said the same."""
    during: list[int] = []
    collect = gc.collect
    monkeypatch.setattr(gc, "collect", lambda *given: during.append(gc.get_freeze_count()) or collect(*given))
    if frozen:
        gc.freeze()
    try:
        train_tiny("training.max_steps=1")
        assert min(during, default=0) > 10_000
        assert bool(gc.get_freeze_count()) == frozen
    finally:
        gc.unfreeze()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_compiled_run_differs_from_another_by_rounding_alone(
    train_tiny: TrainTiny, quickly_compiled: list[Any], method: str
) -> None:
    words = [f"method={method}", "model.dropout=0", "training.average=0", "baselines=[]", "training.max_steps=4"]
    words += ["method.dropout=0"] if method == "lora" else []
    plain = train_tiny(*words, folder="plain")
    assert not quickly_compiled
    compiled = train_tiny(*words, "training.compile=true", folder="compiled")
    assert len(quickly_compiled) == 1
    names = [load_file(one).keys() for run in (plain, compiled) for one in run.checkpoint.glob("*model.safetensors")]
    assert names[0] == names[1]
    for score, value in read_json(plain.metrics)["test"].items():
        if isinstance(value, float):
            assert read_json(compiled.metrics)["test"][score] == pytest.approx(value, abs=1e-4), score


@pytest.mark.slow
def test_a_compiled_network_predicts_the_same_labels(
    trained: Run, reviews: Path, tmp_path: Path, quickly_compiled: list[Any]
) -> None:
    def labels(*words: str) -> list[str]:
        output = tmp_path / f"{len(words)}.parquet"
        assert run(["predict", f"checkpoint={trained.folder}", f"input={reviews}", f"output={output}", *words]) == 0
        return pq.read_table(output)["label"].to_pylist()  # type: ignore[no-any-return]

    assert labels("compile=true") == labels()
    assert len(quickly_compiled) == 1


def test_nothing_is_compiled_without_a_compiler(
    tiny_models: dict[str, Path],
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert run(tiny_words(tiny_models["bert"], reviews, tmp_path / "run", "training.compile=true")) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "training.compile: got true, without a C++ compiler (no-such-compiler); install one" in said
    assert not (tmp_path / "run").exists()


def test_a_batch_that_is_larger_than_all_rows_is_told(
    train_tiny: TrainTiny, capsys: pytest.CaptureFixture[str]
) -> None:
    for size, said in ((512, True), (16, False)):
        train_tiny("method=head", "baselines=[]", f"training.batch_size={size}", folder=str(size))
        assert ("training.batch_size is larger than the 173 rows" in capsys.readouterr().err) == said


@pytest.mark.parametrize("rows", [33, 100, 130])
def test_the_logged_loss_is_the_mean_of_the_rows_there_are(
    rows: int, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    """Untrained, with a tiny rate: each row's loss is about the log of 3 labels, however many rows a batch lacks."""
    data = write_csv(tmp_path / "rows.csv", make_rows(rows))
    write_csv(tmp_path / "validation.csv", make_rows(rows)[::-1])
    write_csv(tmp_path / "test.csv", make_rows(30, seed=9))
    words = [f"dataset.{name}={tmp_path / name}.csv" for name in ("validation", "test")]
    words += [
        "training.learning_rate=1e-9",
        "training.log_steps=1",
        "training.epochs=1",
        "baselines=[]",
        "model.dropout=0",
        "decision.calibration=none",
    ]
    assert run(tiny_words(tiny_models["bert"], data, tmp_path / "run", *words, "method=full")) == 0
    lines = [json.loads(line) for line in Run(tmp_path / "run").history.read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    (trained,) = [line["train_loss"] for line in lines if "train_loss" in line]
    validated = next(line["validation_log_loss"] for line in lines if "validation_log_loss" in line)
    assert trained == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert trained == pytest.approx(validated, rel=1e-3)


@pytest.mark.parametrize("name", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
@pytest.mark.parametrize("command", ["train", "eval", "predict"])
def test_a_launcher_of_several_processes_is_refused(
    name: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "2")
    assert run([command]) == 2
    assert capsys.readouterr().err.startswith(f"error: {name}: got 2, allowed: 1; ftclf works in one process")


@pytest.mark.parametrize("betas", [("0", "0"), ("0", "0.9"), ("0.9", "0"), ("0.99999", "0")])
def test_betas_at_their_bounds_train_to_numbers(betas: tuple[str, str], train_tiny: TrainTiny) -> None:
    words = [f"training.extra.adam_beta{number}={beta}" for number, beta in enumerate(betas, start=1)]
    finished = train_tiny("method=full", "training.max_steps=3", "baselines=[]", *words)
    weights = load_file(finished.checkpoint / "model.safetensors")
    assert all(np.isfinite(weight).all() for weight in weights.values())
