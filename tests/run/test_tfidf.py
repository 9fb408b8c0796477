"""method=tfidf: the linear model as a run like any other, and its checkpoint."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ftclf
from conftest import make_rows, tiny_words, write_csv
from ftclf.checkpoint.tfidf import VOCABULARY, WEIGHTS
from ftclf.cli.main import run
from ftclf.config import TfidfConfig
from ftclf.report.page import write_report
from ftclf.score.baselines import MOST_ROWS
from ftclf.storage.durable import FILES
from ftclf.storage.run_folder import Run, read_json

pytestmark = pytest.mark.usefixtures("no_pictures")

TASKS = ("single_label", "multi_label")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Rows by task that no model has all right."""
    folder, chooser, rows = tmp_path_factory.mktemp("tfidf"), random.Random(0), make_rows(400)
    labels = sorted({label for _, label in rows})
    single = [(text, chooser.choice(labels) if chooser.random() < 0.3 else label) for text, label in rows]
    several = [(text, ";".join({label, chooser.choice(labels)})) for text, label in rows]
    return {
        "single_label": write_csv(folder / "single.csv", single),
        "multi_label": write_csv(folder / "several.csv", several),
    }


def data_words(task: str, files: dict[str, Path]) -> list[str]:
    of_task = {
        "single_label": ["decision.calibration=temperature"],
        "multi_label": ["decision.calibration=platt", "dataset.task=multi_label", "dataset.label_delimiter=;"],
    }
    return ["dataset=files", f"dataset.train={files[task]}", *of_task[task]]


Trained = Callable[..., Run]


@pytest.fixture(scope="module")
def trained_on(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a task's data with method=tfidf once for all tests of these words."""
    known: dict[tuple[str, ...], Run] = {}

    def train(task: str, *words: str) -> Run:
        if (task, *words) not in known:
            folder = tmp_path_factory.mktemp("run") / "run"
            # No base weights: a model that is nowhere is not looked for.
            given = [f"run_dir={folder}", "model.name=/nowhere", "decision.min_precision=0.7", *words]
            assert run(["train", *data_words(task, files), "method=tfidf", *given]) == 0
            known[task, *words] = Run(folder)
        return known[task, *words]

    return train


@pytest.mark.parametrize("task", TASKS)
def test_the_scores_are_those_of_the_baseline(
    task: str, files: dict[str, Path], trained_on: Trained, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    words = [*data_words(task, files)[2:], "training.max_steps=1", "baselines=[tfidf]", "decision.min_precision=0.7"]
    assert run(tiny_words(tiny_models["bert"], files[task], tmp_path / "network", *words)) == 0
    baseline = read_json(Run(tmp_path / "network").metrics)["baselines"]["tfidf"]
    metrics = read_json(trained_on(task).metrics)["test"]
    assert baseline["scores"] == pytest.approx({name: metrics[name] for name in baseline["scores"]}, abs=1e-6)
    intervals = {name: metrics["intervals"][name] for name in baseline["intervals"]}
    assert baseline["intervals"] == {name: pytest.approx(pair, abs=1e-6) for name, pair in intervals.items()}


def test_as_many_rows_are_fitted_as_by_the_baseline() -> None:
    assert TfidfConfig(kind="tfidf").max_rows == MOST_ROWS


@pytest.mark.parametrize("task", TASKS)
def test_the_run_folder_holds_what_any_run_does(task: str, trained_on: Trained, tmp_path: Path) -> None:
    finished = trained_on(task)
    metrics, manifest = read_json(finished.metrics), read_json(finished.manifest)
    assert list(metrics["baselines"]) == ["majority"]  # not its twin
    assert metrics["test"]["calibration"]["method"] == {"single_label": "temperature", "multi_label": "platt"}[task]
    assert metrics["test"]["selective"]["abstain"]["wanted_precision"] == 0.7
    assert (finished.predictions / "test.parquet").is_file()
    assert manifest["reload_difference"] == 0
    assert manifest["parameters"]["total"] > 1000
    assert read_json(finished.config)["model"]["name"] == "none"
    card = (finished.checkpoint / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# TF-IDF on ")
    assert "without a network" in card
    assert "from transformers import" not in card
    assert "none" not in card.split("## Scores")[0]
    write_report([finished], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<bdi>none</bdi>" not in page.partition("</h1>")[0]
    assert "ftclf.load" in page
    assert "from transformers import" not in page
    assert "training.batch_size" not in page  # no effect, no setting


@pytest.mark.parametrize("task", TASKS)
def test_eval_gives_the_scores_that_training_printed(task: str, trained_on: Trained, tmp_path: Path) -> None:
    finished = trained_on(task)
    assert run(["eval", str(finished.folder), f"output={tmp_path / 'eval'}"]) == 0
    assert read_json(tmp_path / "eval" / "metrics.json")["test"] == read_json(finished.metrics)["test"]


@pytest.mark.parametrize("task", TASKS)
def test_predict_and_python_give_the_labels_of_the_run(
    task: str, trained_on: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished = trained_on(task)
    texts = ["soup and bread", "rocket moon", "a word nobody knows"]
    capsys.readouterr()
    assert run(["predict", str(finished.folder), *texts]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    predictions = ftclf.load(finished.folder).predict(texts)
    assert [line["probabilities"] for line in lines] == [one.probabilities for one in predictions]
    assert [line["abstain"] for line in lines] == [one.abstain for one in predictions]
    given = [line.get("labels") or [line["label"]] for line in lines if line.get("labels") != []]
    assert given == [list(one.labels) for one in predictions if one.labels]
    assert max(lines[0]["probabilities"], key=lines[0]["probabilities"].__getitem__) == "food"


def test_a_single_text_and_no_text_are_labelled(trained_on: Trained) -> None:
    model = ftclf.load(trained_on("single_label").folder)
    assert len(model.predict("soup")) == 1
    assert model.predict_proba([]).shape == (0, 3)


def test_it_is_compared_with_a_network(
    files: dict[str, Path],
    trained_on: Trained,
    tiny_models: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["training.max_steps=1", "baselines=[tfidf]", "decision.calibration=temperature"]
    assert run(tiny_words(tiny_models["bert"], files["single_label"], tmp_path / "network", *words)) == 0
    out = capsys.readouterr().out
    data = f"dataset=files dataset.train={files['single_label']}"
    again = f"ftclf train {data} decision.calibration=temperature method=tfidf"
    assert f"or keep TF-IDF: {again}\n" in out  # it is better, so its command is named
    assert run(["compare", str(trained_on("single_label").folder), str(tmp_path / "network")]) == 0
    out = capsys.readouterr().out
    differing = out.partition("settings that differ")[2]
    assert "method.kind: tfidf and lora" in differing
    assert "training." not in differing.replace("training.max_steps", "")  # what only one of them has
    assert run([*again.split()[1:], f"run_dir={tmp_path / 'again'}"]) == 0


def test_a_sweep_over_methods_trains_both(
    files: dict[str, Path], tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tiny_words(tiny_models["bert"], files["single_label"], tmp_path / "sweep", "training.max_steps=1")
    assert run([words[0], "-m", *words[1:], "method=tfidf,head", "jobs=1", "baselines=[majority]"]) == 0
    kinds = [read_json(tmp_path / "sweep" / number / "config.json")["method"]["kind"] for number in "01"]
    assert kinds == ["tfidf", "head"]
    assert "method.kind: tfidf and head" in capsys.readouterr().out


def test_a_new_run_folder_names_no_model(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", *data_words("single_label", files), "method=tfidf"]) == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["files-tfidf"]


# ---- again


def test_a_finished_run_says_so_and_trains_no_further(
    files: dict[str, Path], trained_on: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    finished = trained_on("single_label")
    before = finished.metrics.stat().st_mtime_ns
    same = ["decision.min_precision=0.7", "training.epochs=7"]  # which has no effect: the run is the same
    assert run(["train", *data_words("single_label", files), "method=tfidf", f"run_dir={finished.folder}", *same]) == 0
    assert run(["train", f"resume={finished.folder}"]) == 0
    assert capsys.readouterr().out.count("holds this run, finished") == 2
    assert run(["train", f"resume={finished.folder}", "training.epochs=9"]) == 2
    assert "method=tfidf has no more to train" in capsys.readouterr().err
    assert finished.metrics.stat().st_mtime_ns == before


def test_an_unfinished_run_begins_anew_to_the_same_scores(
    files: dict[str, Path],
    trained_on: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    folder, whole = tmp_path / "run", trained_on("single_label")
    words = ["train", *data_words("single_label", files), "method=tfidf", "decision.min_precision=0.7"]
    monkeypatch.setattr("ftclf.training.tfidf_learner.save_tfidf", interrupt)
    assert run([*words, f"run_dir={folder}"]) == 130
    monkeypatch.undo()
    monkeypatch.setenv("FTCLF_CACHE", str(tmp_path / "cache"))
    assert run(["train", f"resume={folder}"]) == 0
    assert "the run begins anew" in capsys.readouterr().out
    scores = [read_json(Run(one).metrics)["test"] for one in (folder, whole.folder)]
    assert scores[0] == scores[1]
    assert len(read_json(Run(folder).manifest)["resumes"]) == 1


# ---- settings


def test_settings_without_effect_are_named(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    useless = ["model=distilbert", "training.learning_rate=1e-4", "training.engine=plain", "dataset.max_length=64"]
    useful = ["training.seed=3", "training.threads=1", "method.max_rows=100", "method.max_features=50"]
    words = [*data_words("single_label", files), "method=tfidf", f"run_dir={tmp_path / 'run'}", "baselines=[tfidf]"]
    assert run(["train", *words, *useless, *useful]) == 0
    out, err = capsys.readouterr()
    for word in useless:
        assert f"{word.partition('=')[0]} has no effect with method=tfidf" in err
    for word in useful:
        assert f"{word.partition('=')[0]} has no effect" not in err
    assert "baseline tfidf is left out with method=tfidf" in err
    assert "method.max_rows: 100 of " in out
    vocabulary = read_json(tmp_path / "run" / "checkpoint" / VOCABULARY)
    assert {kind: len(words) for kind, words in vocabulary.items()} == {"words": 50, "pieces": 50}


def test_the_seed_draws_the_rows(files: dict[str, Path], trained_on: Trained) -> None:
    runs = [trained_on("single_label", "method.max_rows=60", f"training.seed={seed}") for seed in (0, 1)]
    first, second = (read_json(one.checkpoint / VOCABULARY) for one in runs)
    assert first != second


def test_texts_without_words_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "signs.csv", [(f"{'-' * (n + 1)}", "ab"[n % 2]) for n in range(40)])
    assert run(["train", "dataset=files", f"dataset.train={path}", "method=tfidf", f"run_dir={tmp_path / 'run'}"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "cannot be fitted on these texts (empty vocabulary" in line
    assert not (tmp_path / "run").exists()


def test_too_many_features_for_the_memory_are_refused_before_the_run_begins(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ftclf.training.tfidf_learner.free_memory", lambda: 1000)
    words = [*data_words("single_label", files), "method=tfidf", f"run_dir={tmp_path / 'run'}"]
    assert run(["train", *words]) == 2
    assert "try method.max_features=" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# ---- what needs a network


@pytest.mark.parametrize("command", ["merge", "start_from"])
def test_what_needs_a_network_says_so(
    command: str,
    files: dict[str, Path],
    trained_on: Trained,
    tiny_models: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = trained_on("single_label").folder
    network = tiny_words(tiny_models["bert"], files["single_label"], tmp_path / "run", f"start_from={folder}")
    words = {"merge": ["merge", str(folder), f"output={tmp_path / 'merged'}"], "start_from": network}[command]
    capsys.readouterr()
    assert run(words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "method=tfidf" in line
    assert not (tmp_path / "merged").exists()


def test_it_starts_from_no_weights(
    files: dict[str, Path], trained_on: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = trained_on("single_label").folder
    words = [*data_words("single_label", files), "method=tfidf", f"run_dir={tmp_path / 'run'}"]
    assert run(["train", *words, f"start_from={before}"]) == 2
    assert "start_from: method=tfidf starts from no weights" in capsys.readouterr().err


# ---- damage


def edited_vocabulary(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / VOCABULARY
        path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")

    return edit


def edited_arrays(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        from safetensors.numpy import load_file, save_file

        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)

    return edit


EDITS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a vocabulary of other lists": (edited_vocabulary(lambda found: {"words": found["words"]}), "no lists words and"),
    "a vocabulary that is none": (edited_vocabulary(lambda found: [1]), "no lists words and"),
    "a number as a word": (edited_vocabulary(lambda found: {**found, "words": [1]}), "words is no list of texts"),
    "no word": (edited_vocabulary(lambda found: {**found, "words": []}), "words is no list of texts"),
    "a word twice": (
        edited_vocabulary(lambda found: {**found, "words": [*found["words"][1:], found["words"][1]]}),
        "words holds a text twice",
    ),
    "a word less": (edited_vocabulary(lambda found: {**found, "words": found["words"][1:]}), "of shape"),
    "a weight less": (edited_arrays(lambda found: {**found, "intercepts": found["intercepts"][1:]}), "of shape"),
    "weights of another type": (
        edited_arrays(lambda found: {**found, "coefficients": found["coefficients"].astype(np.float64)}),
        "coefficients is float64",
    ),
    "no intercepts": (edited_arrays(lambda found: {k: v for k, v in found.items() if k != "intercepts"}), "is missing"),
    "weights too many": (edited_arrays(lambda found: {**found, "more": found["intercepts"]}), "more is not known"),
    "not a number": (
        edited_arrays(lambda found: {**found, "words_idf": found["words_idf"] * np.nan}),
        "words_idf holds numbers that are not finite",
    ),
    "weights that are text": (lambda folder: (folder / WEIGHTS).write_text("nothing"), "no usable safetensors file"),
    "a vocabulary that is no json": (lambda folder: (folder / VOCABULARY).write_text("{"), "not valid json"),
    "a missing vocabulary": (lambda folder: (folder / VOCABULARY).unlink(), "vocabulary.json"),
    "missing weights": (lambda folder: (folder / WEIGHTS).unlink(), "tfidf.safetensors"),
}


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "edited on purpose"])
@pytest.mark.parametrize("name", EDITS)
def test_a_damaged_checkpoint_is_refused_in_one_line(
    name: str, sealed: bool, trained_on: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit, said = EDITS[name]
    folder = shutil.copytree(trained_on("multi_label").checkpoint, tmp_path / "copy")
    edit(folder)
    if not sealed:  # as who changes a checkpoint is told to do
        known = json.loads((folder / FILES).read_text())
        known["files"] = {"ftclf.json": known["files"]["ftclf.json"]}
        (folder / FILES).write_text(json.dumps(known))
    capsys.readouterr()
    assert run(["predict", str(folder), "a text"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "copy" in line
    assert sealed or said in line


def test_weights_that_were_not_saved_are_found_before_the_run_is_called_finished(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors import numpy as saved

    save = saved.save_file
    monkeypatch.setattr(
        saved,
        "save_file",
        lambda arrays, path: save({**arrays, "coefficients": 1.01 * arrays["coefficients"]}, path),
    )
    words = [*data_words("single_label", files), "method=tfidf", f"run_dir={tmp_path / 'run'}"]
    assert run(["train", *words]) == 3
    assert "loaded again it gives other logits" in capsys.readouterr().err
    assert not Run(tmp_path / "run").finished
