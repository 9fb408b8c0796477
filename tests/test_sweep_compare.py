"""Sweeps: every job in a folder of its own, one failure harms no other, a table at the end, compare later."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from conftest import TrainTiny, tiny_words
from ftclf.cli import run
from ftclf.runs import Run, read_json

SHORT = ("training.max_steps=2",)


@pytest.fixture
def sweep_words(tiny_models: dict[str, Path], reviews: Path, tmp_path: Path) -> list[str]:
    words = tiny_words(tiny_models["bert"], reviews, tmp_path / "sweep", *SHORT)
    return [words[0], "-m", *words[1:]]


def test_a_sweep_over_ranks_ends_with_a_table_and_a_plot(
    sweep_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*sweep_words, "method.r=2,4"]) == 0
    shown = capsys.readouterr().out
    assert "2 jobs in" in shown
    assert "best first" in shown
    runs = [Run(tmp_path / "sweep" / str(job)) for job in (0, 1)]
    assert [read_json(run.config)["method"]["r"] for run in runs] == [2, 4]
    assert all(read_json(run.manifest)["tokens_from_cache"] for run in runs[1:])
    assert (tmp_path / "sweep" / "method.r.png").is_file()


def test_a_sweep_described_in_yaml_moves_rank_and_alpha_together(sweep_words: list[str], tmp_path: Path) -> None:
    assert run([*sweep_words, "sweep=lora_rank_alpha"]) == 0
    jobs = sorted((tmp_path / "sweep").glob("*/config.json"))
    alphas = {read_json(job)["method"]["r"]: read_json(job)["method"]["alpha"] for job in jobs}
    assert alphas == {4: 8, 8: 16, 16: 32, 32: 64}


def test_one_failing_job_harms_no_other_and_is_listed(
    sweep_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*sweep_words, "method.target_modules=[query],[nothing],[key]"]) == 1
    captured = capsys.readouterr()
    assert "sweep: 1 of 3 jobs failed" in captured.err
    assert "no linear layer 'nothing'" in captured.err
    assert [(tmp_path / "sweep" / str(job) / "metrics.json").is_file() for job in range(3)] == [True, False, True]
    assert "no linear layer" in read_json(tmp_path / "sweep" / "1" / "failure.json")["reason"]


def test_a_setting_is_swept_in_one_place(sweep_words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*sweep_words, "sweep=lora_rank", "method.r=2,4"]) == 2
    assert "given on the command line and swept by the config" in capsys.readouterr().err


def test_the_same_sweep_folder_is_refused(sweep_words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*sweep_words, "method.r=2,4"]) == 0
    capsys.readouterr()
    assert run([*sweep_words, "method.r=2,4"]) == 2
    assert "holds a finished run" in capsys.readouterr().err


@pytest.mark.slow
def test_jobs_run_side_by_side_in_processes(sweep_words: list[str], tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = [*sweep_words, "method.r=2,4", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    assert run(words) == 0
    assert len(list((tmp_path / "sweep").glob("*/metrics.json"))) == 2


def test_compare_shows_what_differs_best_first(
    train_tiny: TrainTiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_tiny("training.max_steps=1", folder="runs/weak")
    train_tiny("training.epochs=6", "method=full", folder="runs/strong")
    capsys.readouterr()
    table, plot = tmp_path / "table.csv", tmp_path / "steps.png"
    words = ["compare", str(tmp_path / "runs"), "--csv", str(table)]
    assert run(words) == 0
    assert "best first" in capsys.readouterr().out
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["strong", "weak"]
    assert float(rows[0]["validation accuracy"]) > float(rows[1]["validation accuracy"])
    assert {"training.epochs", "training.max_steps"} <= set(rows[0])
    assert run([*words, "--plot", "training.epochs", "--output", str(plot)]) == 0
    assert plot.is_file()
    assert run([*words, "--plot", "training.epoch", "--output", str(plot)]) == 2
    assert "Did you mean 'training.epochs'?" in capsys.readouterr().err


def test_scores_on_different_test_rows_get_tables_of_their_own(
    train_tiny: TrainTiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_tiny(*SHORT, folder="a")
    train_tiny(*SHORT, "dataset.split_seed=5", folder="b")
    capsys.readouterr()
    assert run(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    shown = capsys.readouterr().out
    assert "2 different sets of test rows" in shown
    assert shown.count("best first") == 2


def test_compare_says_where_no_run_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", str(tmp_path)]) == 2
    assert "no finished run there" in capsys.readouterr().err
    assert run(["compare", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
