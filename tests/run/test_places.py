"""A run whose paths are relative is found, scored and gone on with from any working folder."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from conftest import make_rows, write_csv
from ftclf.cli.main import run
from ftclf.config import ModelConfig
from ftclf.model.base_weights import find_weights
from ftclf.storage.run_paths import home_of, way
from ftclf.system.errors import WeightsError

pytestmark = pytest.mark.usefixtures("no_pictures")

WORDS = ["dataset=files", "dataset.train=data/rows.csv", "dataset.test=data/test.csv", "model.name=models/bert"]
WORDS += ["training.max_steps=4", "training.eval_steps=2", "training.learning_rate=5e-3", "training.precision=fp32"]
WORDS += ["training.batch_size=8", "baselines=[]", "run_dir=runs/a"]


@pytest.fixture
def project(tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model and rows in it, which is the current one; `elsewhere` lies beside it."""
    folder = tmp_path / "project"
    shutil.copytree(tiny_models["bert"], folder / "models" / "bert")
    (folder / "data").mkdir()
    write_csv(folder / "data" / "rows.csv", make_rows(60))
    write_csv(folder / "data" / "test.csv", make_rows(30, seed=1))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_run_is_used_and_gone_on_with_from_another_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "method=lora", *WORDS, "training.keep_checkpoints=true"]) == 0
    folder = project / "runs" / "a"
    files = [folder / "checkpoint" / name for name in ("ftclf.json", "adapter_model.safetensors")]
    whole = [path.read_bytes() for path in files]
    for path in (files[0], folder / "checkpoint" / "README.md", folder / "manifest.json", folder / "config.json"):
        assert str(tmp_path) not in path.read_text().partition('"command"')[0]
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "texts.txt").write_text("goal match\n")
    capsys.readouterr()
    assert run(["eval", "../project/runs/a"]) == 0
    assert run(["eval", "../project/runs/a", "split=validation"]) == 0
    assert run(["predict", "../project/runs/a", "input=texts.txt"]) == 0
    assert run(["merge", "../project/runs/a", "--output", "merged"]) == 0
    assert run(["eval", "merged"]) == 0
    assert not capsys.readouterr().err
    (folder / "metrics.json").unlink()
    shutil.rmtree(folder / "resumable" / "checkpoint-4")
    assert run(["train", "resume=../project/runs/a"]) == 0
    assert "the run goes on after step 2" in capsys.readouterr().out
    assert [path.read_bytes() for path in files] == whole
    assert json.loads((folder / "manifest.json").read_text())["started_in"] == "../.."


def test_what_is_here_comes_first_and_what_is_nowhere_is_named_with_both_places(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "method=lora", *WORDS]) == 0
    elsewhere = tmp_path / "elsewhere"
    shutil.move(project / "models", elsewhere / "models")
    monkeypatch.chdir(elsewhere)
    assert run(["eval", "../project/runs/a"]) == 0  # the data are there, the model is here
    shutil.move(elsewhere / "models" / "bert", tmp_path / "gone")
    capsys.readouterr()
    start = time.perf_counter()
    assert run(["eval", "../project/runs/a"]) == 3
    error = capsys.readouterr().err
    assert f"model.name: no folder models/bert in {elsewhere} or {project}." in error
    assert error.count("\n") == 1
    assert time.perf_counter() - start < 20


def test_a_folder_that_is_not_there_is_no_hub_id_where_its_name_begins_with_a_folder(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *WORDS, "model.name=models/brt", "run_dir=runs/b"]) == 2
    assert capsys.readouterr().err == "error: model.name: no folder models/brt. Did you mean 'bert'?\n"
    with pytest.raises(WeightsError, match="cannot be reached"):
        find_weights(ModelConfig(name="org/bert"))


def test_the_way_to_the_working_folder_names_no_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home" / "alice"
    monkeypatch.setenv("HOME", str(home))
    (project := home / "project").mkdir(parents=True)
    assert way(project / "runs" / "a" / "checkpoint", project) == "../../.."
    assert way(home / "scratch" / "a", project) == "../../project"
    assert way(tmp_path / "home" / "shared" / "a", project) == ""
    assert way(Path("/dev/shm/a"), project) == ""
    assert home_of(project / "runs" / "a", "../..") == project
    assert home_of(project / "runs" / "a", "") is None
    assert home_of(project / "runs" / "a", "../../none") is None


def test_a_checkpoint_that_was_moved_is_looked_for_where_its_user_is(project: Path, tmp_path: Path) -> None:
    assert run(["train", "method=lora", *WORDS]) == 0
    shutil.move(project / "runs" / "a" / "checkpoint", tmp_path / "deep")
    assert json.loads((tmp_path / "deep" / "ftclf.json").read_text())["started_in"] == "../../.."
    assert run(["eval", str(tmp_path / "deep")]) == 0
