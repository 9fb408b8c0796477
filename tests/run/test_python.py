"""ftclf from Python: what the commands do, as functions that print nothing and leave the process as it was."""

from __future__ import annotations

import csv
import gc
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ftclf
from conftest import make_rows, tiny_words, write_csv
from ftclf.cli.main import run
from ftclf.storage.run_folder import Run, read_json
from ftclf.system.library import process_kept

pytestmark = pytest.mark.usefixtures("no_pictures")

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [text for text, _ in make_rows(60, seed=7)]


def state_of_the_process() -> dict[str, Any]:
    import torch
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf
    from transformers.utils import logging as logs

    loggers = {name: logging.getLogger(name) for name in ("", "ftclf", "transformers")}
    return {
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "words": list(sys.argv),
        "loggers": {name: (one.level, [*one.handlers], one.propagate) for name, one in loggers.items()},
        "warnings": [*warnings.filters],
        "bars": logs.is_progress_bar_enabled(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "hydra": GlobalHydra.instance().hydra,
        "schemas": sorted(name for name in ConfigStore.instance().repo if name != "hydra"),
        "resolvers": [OmegaConf.has_resolver(name) for name in ("times", "oc.env")],
        "threads": torch.get_num_threads(),
        "random": (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()),  # type: ignore[index]
        "collections": (gc.isenabled(), gc.get_freeze_count()),
    }


@pytest.fixture
def another_process() -> Iterator[None]:
    """Threads and random states as nothing in ftclf would leave them."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(12345)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Run:
    """A finished run with several labels per row."""
    folder = tmp_path_factory.mktemp("several")
    rows = [(text, [label, *(["long"] if len(text.split()) > 8 else [])]) for text, label in make_rows(240)]
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps({"text": text, "label": labels}) + "\n" for text, labels in rows))
    words = ["dataset.task=multi_label", "method=full", "training.epochs=6", "baselines=[]"]
    assert run(tiny_words(tiny_models["bert"], data, folder / "run", *words)) == 0
    return Run(folder / "run")


@pytest.fixture(scope="module")
def abstaining(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path], reviews: Path) -> Run:
    """A finished run that leaves some rows to a human."""
    folder = tmp_path_factory.mktemp("abstaining") / "run"
    words = ["training.epochs=30", "training.batch_size=8", "training.learning_rate=2e-3", "decision.precision=0.95"]
    assert (
        run(tiny_words(tiny_models["bert"], reviews, folder, *words, "baselines=[]", "dataset.validation_size=0.3"))
        == 0
    )
    return Run(folder)


# ---- the package


def test_the_package_has_eleven_rooms_and_three_files_and_imports_nothing_heavy() -> None:
    entries = {path.name for path in (ROOT / "src" / "ftclf").iterdir() if path.name != "__pycache__"}
    files = {"__init__.py", "__main__.py", "py.typed"}
    assert files <= entries
    assert len(entries) == 14
    assert not (entries & set(ftclf.__all__)), "a room of this name would take the function's place"
    probe = "import sys, ftclf; sys.exit(bool({'torch', 'numpy', 'hydra', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", probe]).returncode == 0


def test_the_functions_are_listed_and_stay_functions_when_every_room_is_imported() -> None:
    import ftclf.cli.compare
    import ftclf.cli.compose
    import ftclf.training.run

    assert dir(ftclf) == ["__version__", "compare", "compose", "errors", "evaluate", "load", "train"]
    assert all(callable(getattr(ftclf, name)) for name in ("compare", "compose", "evaluate", "load", "train"))
    from ftclf.errors import ConfigError  # type: ignore[import-not-found]

    assert ConfigError is ftclf.errors.ConfigError


def test_a_user_of_mypy_sees_the_types_and_the_errors(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import ftclf\n"
        "from ftclf import errors\n"
        "try:\n"
        "    config = ftclf.compose('method=lora')\n"
        "except errors.ConfigError as error:\n"
        "    print(error.exit_code)\n"
        "reveal_type(ftclf.load('run').predict(['a'])[0].labels)\n"
        "reveal_type(ftclf.train(config).metrics)\n"
        "ftclf.load(3)\n"
    )
    # From the root, so that what the type check of the project found is used again.
    done = subprocess.run([sys.executable, "-m", "mypy", program], capture_output=True, text=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    assert 'Revealed type is "tuple[str, ...]"' in lines[0].replace("builtins.", "")
    assert 'Revealed type is "dict[str, Any]"' in lines[1].replace("builtins.", "")
    assert ":9: error" in lines[2]
    assert lines[3].startswith("Found 1 error")


# ---- compose


def test_compose_gives_the_config_of_the_command_line() -> None:
    from ftclf.cli.compose import checked_jobs, parse, register

    words = ["dataset=go_emotions", "method=lora", "method.r=4"]
    register()
    (expected,) = checked_jobs("train", parse([*words, "training.epochs=2"]))
    assert ftclf.compose(*words, "epochs=2") == ftclf.compose(*words, "--epochs", "2") == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method.rang=8"], "method.rang: no such setting. Did you mean 'method.r'?"),
        (["training.epochs=abc", "training.seed=-1"], "training.epochs: got 'abc', allowed: a number"),
        (["-m", "method.r=2,4"], "-m: a sweep has several configs, allowed: one; compose and train each of them"),
        (["method.r=2,4"], "method.r: got several values (2,4)"),
        (["training.seeds=3"], "training.seeds: got 3, allowed: 1"),
        (["resume=run"], "resume: allowed on the command line"),
        (["--help"], "--help: allowed: --config-dir and settings"),
        (["--version"], "--version: allowed: --config-dir and settings"),
        (["--cfg", "job"], "--cfg: allowed: --config-dir and settings"),
        (["~method"], "~method: a setting cannot be taken away"),
        (["--no-such"], "unrecognized arguments"),
        ([3], "3: not a text; write settings as on the command line"),
    ],
)
def test_a_mistake_in_words_is_a_config_error(words: list[Any], message: str) -> None:
    with pytest.raises(ftclf.errors.ConfigError, match=re.escape(message)):
        ftclf.compose(*words)


def test_compose_leaves_the_process_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("times", lambda a: a, replace=True)
    ConfigStore.instance().store(name="train_schema", node={"of": "a user"})
    theirs = ConfigStore.instance().repo["train_schema.yaml"]
    before = state_of_the_process()
    try:
        ftclf.compose("epochs=2")
        with pytest.raises(ftclf.errors.ConfigError):
            ftclf.compose("no.such=1")
        assert state_of_the_process() == before
        assert ConfigStore.instance().repo["train_schema.yaml"] is theirs
        assert OmegaConf.create({"a": "${times:3}"}).a == 3
    finally:
        OmegaConf.clear_resolver("times")
        del ConfigStore.instance().repo["train_schema.yaml"]
    assert capsys.readouterr() == ("", "")


# ---- train


def test_a_run_that_is_trained_from_python_has_the_bits_of_the_command_and_prints_nothing(
    request: pytest.FixtureRequest,
    tiny_models: dict[str, Path],
    reviews: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = tiny_words(tiny_models["bert"], reviews, tmp_path / "command", "training.max_steps=4", "baselines=[]")
    assert run(words) == 0
    capsys.readouterr()
    request.getfixturevalue("another_process")
    before = state_of_the_process()
    config = ftclf.compose(*words[1:])
    trained = ftclf.train(config, tmp_path / "python")
    assert state_of_the_process() == before
    assert capsys.readouterr() == ("", "")
    assert trained.folder == tmp_path / "python"
    assert trained.metrics == read_json(tmp_path / "command" / "metrics.json")
    assert trained.config.training.max_steps == 4
    name = "checkpoint/adapter_model.safetensors"
    assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()
    assert "validation accuracy" in Run(trained.folder).log.read_text()
    again = ftclf.train(config, trained.folder)  # it is finished
    assert again == trained
    assert repr(again).startswith(f"<run {trained.folder}: test accuracy 0.")
    html = again._repr_html_()
    assert "accuracy</td>" in html
    assert f"{trained.metrics['test']['accuracy']:.4f} [" in html


def test_a_run_without_a_folder_gets_a_new_one(tiny_models: dict[str, Path], reviews: Path, tmp_path: Path) -> None:
    words = tiny_words(tiny_models["bert"], reviews, tmp_path, "training.max_steps=1", "baselines=[]", "name=mine")
    words = [word for word in words[1:] if not word.startswith("run_dir=")]
    trained = ftclf.train(ftclf.compose(*words, f"runs_dir={tmp_path / 'runs'}"))
    assert trained.folder.parent == tmp_path / "runs" / "mine"
    assert trained.checkpoint.is_dir()


def test_what_a_user_can_mend_is_raised_and_leaves_no_folder(
    tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tiny_words(tiny_models["bert"], tmp_path / "none.csv", tmp_path / "run")[1:]
    before = state_of_the_process()
    with pytest.raises(ftclf.errors.DataError, match=r"none\.csv"):
        ftclf.train(ftclf.compose(*words))
    assert state_of_the_process() == before
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr() == ("", "")


def test_a_full_disk_is_an_error_of_ftclf(monkeypatch: pytest.MonkeyPatch, trained: Run) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "weights")

    monkeypatch.setattr("ftclf.checkpoint.predictor.open_model", full)
    with pytest.raises(ftclf.errors.ResourceError, match="weights: No space left on device"):
        ftclf.load(trained.folder)


# ---- load, predict


@pytest.mark.parametrize("kind", ["trained", "several", "abstaining"])
def test_predict_gives_what_the_command_gives_to_the_digit(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftclf.checkpoint.predictor.CHUNK", 25)
    folder = request.getfixturevalue(kind).folder
    source = write_csv(tmp_path / "in.csv", [(text, "?") for text in TEXTS])
    for ending in ("csv", "jsonl"):
        assert run(["predict", str(folder), str(source), f"output={tmp_path / f'out.{ending}'}"]) == 0
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    model = ftclf.load(folder)
    predictions = model.predict(TEXTS)
    assert len(predictions) == len(lines) == len(TEXTS)
    for given, line, row in zip(predictions, lines, cells, strict=True):
        assert given.text == line["text"]
        assert list(given.labels) == line.get("labels", [line.get("label")])
        assert (given.confidence, given.probabilities) == (line["confidence"], line["probabilities"])
        assert given.abstain == line.get("abstain")
        assert [float(row[f"p_{name}"]) for name in model.labels] == list(given.probabilities.values())
    if kind == "abstaining":
        assert {one.abstain is None for one in predictions} == {True, False}
        assert "abstain</th>" in predictions._repr_html_()
    probabilities = model.predict_proba(TEXTS)
    assert (probabilities.dtype, probabilities.shape) == (np.float64, (len(TEXTS), len(model.labels)))
    assert (probabilities.round(6) == [list(one.probabilities.values()) for one in predictions]).all()


def test_a_model_takes_one_text_and_none(trained: Run) -> None:
    model = ftclf.load(trained.checkpoint)
    (one,) = model.predict("tasty soup")
    assert one.label == one.labels[0] == max(one.probabilities, key=one.probabilities.__getitem__)
    assert list(model.predict([])) == []
    assert model.predict_proba([]).shape == (0, len(model.labels))
    with pytest.raises(ftclf.errors.DataError, match="texts: text 2: the text is empty"):
        model.predict(["soup", " "])
    with pytest.raises(ftclf.errors.DataError, match="texts: text 1: got a number"):
        model.predict([3])  # type: ignore[list-item]


def test_predictions_are_a_sequence_and_a_table(trained: Run) -> None:
    model = ftclf.load(trained.folder)
    texts = ["<b>soup</b>", *TEXTS[:30]]
    predictions = model.predict(texts)
    assert [one.text for one in predictions[1:3]] == TEXTS[:2]
    assert predictions[-1].text == TEXTS[29]
    assert predictions == list(predictions)
    assert predictions[:2] != predictions[1:3]
    html = predictions._repr_html_()
    assert "&lt;b&gt;soup" in html
    assert "<b>" not in html
    assert "20 of 31 texts" in html
    assert repr(predictions) == "<31 predictions>"


@pytest.mark.usefixtures("another_process")
def test_eight_threads_get_equal_answers_in_turn_and_the_process_stays_as_it_was(
    trained: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftclf.score.logits import compute_logits

    at_once = threading.Semaphore(1)

    def alone(*arguments: Any, **options: Any) -> Any:
        assert at_once.acquire(blocking=False)
        time.sleep(0.01)
        logits = compute_logits(*arguments, **options)
        at_once.release()
        return logits

    monkeypatch.setattr("ftclf.score.logits.compute_logits", alone)
    before = state_of_the_process()
    model = ftclf.load(trained.folder)
    expected = model.predict_proba(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: (model.predict_proba(TEXTS), model.predict(TEXTS)), range(24)))
    assert all((probabilities == expected).all() for probabilities, _ in answers)
    assert all(predictions == answers[0][1] for _, predictions in answers)
    assert state_of_the_process() == before
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("another_process")
def test_the_process_is_put_back_when_the_last_of_several_calls_ends() -> None:
    import torch

    with process_kept():
        torch.set_num_threads(2)
        with process_kept():
            pass
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("another_process")
def test_models_that_are_loaded_side_by_side_leave_the_process_as_it_was(trained: Run, several: Run) -> None:
    before = state_of_the_process()
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(ftclf.load, [trained.folder, several.folder] * 2))
    assert state_of_the_process() == before
    assert models[0].labels == models[2].labels != models[1].labels


def test_a_bar_is_shown_where_it_is_asked_for(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("ftclf.system.progress_bar.Phase._open_bar", lambda self: opened.append(self.what))
    model = ftclf.load(trained.folder)
    model.predict(TEXTS)
    ftclf.evaluate(trained.folder)
    assert opened == []
    model.predict(TEXTS, progress=True)
    ftclf.evaluate(trained.folder, progress=True)
    assert opened == ["predicting", "reading files", "evaluation"]


def test_a_path_that_is_no_run_is_a_run_error(tmp_path: Path) -> None:
    with pytest.raises(ftclf.errors.RunError, match="checkpoint: no folder"):
        ftclf.load(tmp_path / "none")


def test_the_only_run_of_a_folder_is_loaded_in_silence(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert ftclf.load(trained.folder.parent).folder == trained.checkpoint
    assert capsys.readouterr() == ("", "")


def test_another_decision_rule_is_loaded_by_its_name(several: Run) -> None:
    model = ftclf.load(several.folder, decide="argmax")
    assert {len(one.labels) for one in model.predict(TEXTS)} == {1}
    with pytest.raises(ftclf.errors.ConfigError, match="decide: no decision rule 'none'"):
        ftclf.load(several.folder, decide="none")


# ---- evaluate, compare


@pytest.mark.usefixtures("another_process")
def test_evaluate_gives_the_numbers_of_training(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = state_of_the_process()
    scores = ftclf.evaluate(trained.folder, "split=validation")
    assert state_of_the_process() == before
    assert capsys.readouterr() == ("", "")
    assert scores.metrics == read_json(trained.metrics)["validation"]
    assert repr(scores).startswith("<validation accuracy ")
    assert f"{scores.metrics['accuracy']:.4f} [" in scores._repr_html_()


def test_a_warning_of_the_command_is_a_warning_of_python(trained: Run, reviews: Path) -> None:
    with pytest.warns(
        ftclf.errors.FtclfWarning, match="of these rows have texts that the checkpoint was trained on"
    ) as caught:
        ftclf.evaluate(trained.folder, f"dataset.test={reviews}")
    assert caught[0].filename == __file__


def test_compare_gives_the_leaderboard(trained: Run, abstaining: Run, capsys: pytest.CaptureFixture[str]) -> None:
    board = ftclf.compare([trained.folder, abstaining.folder])
    assert run(["compare", str(trained.folder), str(abstaining.folder)]) == 0
    assert board.differences[0].verdict in " ".join(capsys.readouterr().out.split())
    assert len(board) == 2
    assert board[0]["validation accuracy"] >= board[1]["validation accuracy"]
    assert "validation accuracy" in repr(board)
    assert board._repr_html_().count("<table>") == 2
    assert len(ftclf.compare(trained.folder)) == 1
    with pytest.raises(ftclf.errors.ConfigError, match="no score 'speed'"):
        ftclf.compare(trained.folder, sort="speed")
