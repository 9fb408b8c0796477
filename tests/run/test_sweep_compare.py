"""Sweeps: every job in a folder of its own, one failure harms no other, a table at the end, compare later."""

from __future__ import annotations

import csv
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from conftest import TrainTiny, tiny_words
from ftclf.cli.main import run
from ftclf.cli.sweep_jobs import Job
from ftclf.data import Data, Split
from ftclf.data.text_store import write_texts
from ftclf.report.leaderboard import by_config, compare_runs, leaderboard, read_outcome, seed_means, setting_differences
from ftclf.score.calibration import Calibration
from ftclf.score.decisions import Decision
from ftclf.score.evaluation import score
from ftclf.score.metrics import one_hot
from ftclf.score.predictions import write_predictions
from ftclf.storage.lock import taken
from ftclf.storage.run_folder import Run, read_json, write_json
from ftclf.storage.run_paths import typed_path
from ftclf.training.resume import stored_config as read_config

pytestmark = pytest.mark.usefixtures("no_pictures")

SHORT = ("training.max_steps=2",)
MakeRun = Callable[..., Run]
NAMES = ["[red]x[/]", "=1+1", "c\x1b[2J"]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write a run folder as train does, without training: of its test rows the first `right` are right."""

    def make(
        folder: str,
        *,
        right: int,
        rows: int = 200,
        several: bool = False,
        seed: int = 0,
        rank: int = 16,
        seconds: float = 60.0,
    ) -> Run:
        found = Run(tmp_path / folder)
        labels = np.arange(rows) % len(NAMES)
        given = np.where(np.arange(rows) < right, labels, (labels + 1) % len(NAMES))
        logits = np.where(one_hot(given, len(NAMES)), 2.0, -2.0).astype(np.float32)
        texts = ["=HYPERLINK(1)", "@x", "\tx", "+x", "-x", "[bold]x", *(f"text {row}" for row in range(6, rows))]
        split = Split(write_texts(texts[:rows]), one_hot(labels, len(NAMES)) if several else labels)
        decision = Decision("threshold", [0.5]) if several else Decision()
        task = "multi_label" if several else "single_label"
        info: Any = SimpleNamespace(
            label_names=NAMES, task=task, calibration=Calibration(), decision=decision, other_decisions={}
        )
        evaluation = score(logits, split, info)
        config = {
            "dataset": {"name": "d"},
            "model": {"name": "m", "pin": {"name": "m", "alias": "m"}},
            "method": {"kind": "lora", "r": rank},
            "training": {"seed": seed},
        }
        about = {
            "dataset": "d",
            "task": task,
            "digests": {"test": Data("d", NAMES, {"test": split}).digest("test")},
            "parameters": {"trainable": 1000 * rank, "share": 0.1},
            "examples_per_second": 100.0,
            "seconds": {"total": seconds},
        }
        write_json(found.config, config)
        write_json(found.manifest, about)
        write_json(found.checkpoint / "ftclf.json", {"label_names": NAMES})
        found.predictions.mkdir()
        write_predictions(found.predictions / "test.parquet", evaluation, split, NAMES)
        write_json(found.metrics, {"validation": evaluation.metrics, "test": evaluation.metrics})
        return found

    return make


@pytest.fixture
def sweep_words(tiny_models: dict[str, Path], reviews: Path, tmp_path: Path) -> list[str]:
    words = tiny_words(tiny_models["bert"], reviews, tmp_path / "sweep", *SHORT)
    return [words[0], "-m", *words[1:]]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["compare", "plot=dataset.name"], "error: plot: dataset.name is no number in ['d']"),
        (["compare", "--sort", "nothing"], "error: sort: no score 'nothing', allowed: accuracy, "),
    ],
)
def test_what_cannot_be_drawn_or_sorted_by_is_one_line(
    make_run: MakeRun, words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, str(make_run("a", right=9).folder)]) == 2
    assert capsys.readouterr().err.startswith(expected)


def test_a_run_whose_scores_are_of_another_kind_has_no_report(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    found = make_run("a", right=9)
    write_json(found.metrics, {"test": 1})
    assert run(["report", str(found.folder)]) == 2
    assert "its files are damaged or of another version" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_over_ranks_ends_with_a_table_and_a_plot(
    sweep_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*sweep_words, "method.r=2,4"]) == 0
    shown = " ".join(capsys.readouterr().out.split())  # however wide the terminal is
    assert "2 jobs in" in shown
    assert "best on validation first" in shown
    runs = [Run(tmp_path / "sweep" / str(job)) for job in (0, 1)]
    assert [read_json(run.config)["method"]["r"] for run in runs] == [2, 4]
    assert (tmp_path / "sweep" / "method.r.png").is_file()
    assert "differences" in (tmp_path / "sweep" / "report.html").read_text(encoding="utf-8").casefold()


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


def test_one_setting_trains_under_several_seeds_and_says_how_they_scatter(
    tiny_models: dict[str, Path], reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tiny_words(tiny_models["bert"], reviews, tmp_path / "sweep", *SHORT, "training.seeds=3", "training.seed=5")
    assert run(words) == 0
    configs = [read_json(tmp_path / "sweep" / str(job) / "config.json") for job in range(3)]
    assert [config["training"]["seed"] for config in configs] == [5, 6, 7]
    shown = capsys.readouterr().out
    assert "mean over seeds" in shown
    assert "±" in shown


def test_two_runs_never_share_a_folder_whatever_the_clock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import datetime, timedelta

    from ftclf.config import TrainConfig
    from ftclf.storage import new_folder

    times = [datetime(2026, 1, 1) + timedelta(microseconds=tick) for tick in (0, 0, 0, 1)]  # the clock stands still
    monkeypatch.setattr(new_folder, "datetime", SimpleNamespace(now=lambda: times.pop(0)))
    config = TrainConfig(name="n", runs_dir=str(tmp_path))
    new = new_folder.new_run_folder
    with new(config, sweep=False) as one, new(config, sweep=False) as another:
        assert one != another
        assert one.is_dir()
        assert another.is_dir()


def test_seeds_are_given_in_one_place(sweep_words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*sweep_words, "training.seeds=2", "training.seed=1,2"]) == 2
    assert "training.seeds: the sweep has seeds of its own" in capsys.readouterr().err


def test_a_setting_is_swept_in_one_place(sweep_words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*sweep_words, "sweep=lora_rank", "method.r=2,4"]) == 2
    assert "given on the command line and swept by the config" in capsys.readouterr().err


def test_the_same_sweep_again_trains_what_is_missing_and_rewrites_nothing(
    sweep_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*sweep_words, "method.r=2,4"]) == 0
    jobs = [Run(tmp_path / "sweep" / str(job)) for job in (0, 1)]
    before = {path: path.read_bytes() for path in jobs[0].folder.rglob("*") if path.is_file()}
    wanted = jobs[1].metrics.read_bytes()
    jobs[1].metrics.unlink()  # as if it had been killed at its end
    assert run([*sweep_words, "method.r=2,4"]) == 0
    assert {path: path.read_bytes() for path in jobs[0].folder.rglob("*") if path.is_file()} == before
    assert jobs[1].metrics.read_bytes() == wanted
    capsys.readouterr()
    assert run([*sweep_words, "method.r=2,8"]) == 2
    assert "method.r was 4, now it is 8" in capsys.readouterr().err


def test_a_job_that_another_sweep_trains_is_left_alone(
    sweep_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*sweep_words, "method.r=2,4", *SHORT]
    with taken(tmp_path / "sweep" / "1"):
        assert run(words) == 1
        assert not (tmp_path / "sweep" / "1" / "failure.json").exists()
    said = capsys.readouterr().err
    assert "job 1: another process trains it in this folder; wait for it" in said
    assert "killed" not in said
    assert run(words) == 0
    assert not list((tmp_path / "sweep").rglob("failure.json"))


def test_a_finished_job_is_no_failed_one_whatever_another_sweep_says(trained: Run, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "metrics.json").write_text("{}")
    Job(read_config(trained), folder, []).fail("RunError", "another process works in it")
    assert not (folder / "failure.json").exists()


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGKILL, "the system does that when memory runs out: run fewer jobs at a time (jobs=1), or lower"),
        (signal.SIGTERM, "it was stopped by a signal"),
    ],
)
def test_a_job_whose_process_is_ended_takes_no_other_with_it(
    sweep_words: list[str], tmp_path: Path, number: int, reason: str
) -> None:
    thread = when_locked(tmp_path / "sweep" / "0" / ".lock", lambda pid: os.kill(pid, number))
    assert run([*sweep_words, "method.r=2,4", "jobs=2"]) == 1
    thread.join()
    assert reason in read_json(tmp_path / "sweep" / "0" / "failure.json")["reason"]
    assert (tmp_path / "sweep" / "1" / "metrics.json").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_a_job_does_not_depend_on_the_server_that_forked_it(
    sweep_words: list[str], tmp_path: Path, number: int
) -> None:
    """Schedulers and `timeout` send their signals to every process; the kernel kills whichever is largest."""
    servers: list[int] = []

    def end_server(pid: int) -> None:
        servers.append(int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]))
        os.kill(servers[0], number)

    thread = when_locked(tmp_path / "sweep" / "0" / ".lock", end_server)
    assert run([*sweep_words, "method.r=2,4"]) == 0
    thread.join()
    assert servers
    assert all((tmp_path / "sweep" / job / "metrics.json").is_file() for job in "01")


@pytest.mark.slow
def test_a_signal_that_comes_while_a_job_is_started_is_handed_on_once_and_ends_the_sweep(
    sweep_words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, kill = BaseProcess.start, os.kill
    handed_on: list[int] = []

    def begin(process: BaseProcess) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)  # it waits until the process is there
        start(process)

    def count(pid: int, number: int) -> None:
        handed_on.append(number)
        kill(pid, number)

    monkeypatch.setattr(BaseProcess, "start", begin)
    monkeypatch.setattr(os, "kill", count)
    assert run([*sweep_words, "method.r=2,4"]) == 143
    assert handed_on == [signal.SIGTERM]
    assert not list((tmp_path / "sweep").glob("*/metrics.json"))


def when_locked(lock: Path, do: Callable[[int], None]) -> threading.Thread:
    """Do something, in a thread, with the process that holds a run folder's lock, as soon as one does."""
    pause = threading.Event()

    def wait() -> None:
        for _ in range(6000):
            if lock.exists() and (pid := lock.read_text()):
                do(int(pid))
                return
            pause.wait(0.01)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.slow
def test_jobs_run_side_by_side_in_processes(sweep_words: list[str], tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = [*sweep_words, "method.r=2,4", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    assert run(words) == 0
    assert len(list((tmp_path / "sweep").glob("*/metrics.json"))) == 2


def test_compare_shows_what_differs_best_first(
    train_tiny: TrainTiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_tiny("training.epochs=0.2", folder="runs/weak")
    train_tiny("training.epochs=6", "method=full", folder="runs/strong")
    capsys.readouterr()
    table, plot = tmp_path / "table.csv", tmp_path / "steps.png"
    words = ["compare", str(tmp_path / "runs"), f"csv={table}"]
    assert run(words) == 0
    assert "best on validation first" in " ".join(capsys.readouterr().out.split())
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["run"]).name for row in rows] == ["strong", "weak"]
    assert float(rows[0]["validation accuracy"]) > float(rows[1]["validation accuracy"])
    assert "training.epochs" in rows[0]
    assert run([*words, "plot=training.epochs", f"output={plot}"]) == 0
    assert plot.is_file()
    assert run([*words, "--plot", "training.epoch", "--output", str(plot)]) == 2
    assert "Did you mean 'training.epochs'?" in capsys.readouterr().err


def test_scores_on_different_test_rows_get_tables_of_their_own(
    train_tiny: TrainTiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_tiny(*SHORT, folder="runs/a")
    train_tiny(*SHORT, "dataset.split_seed=5", folder="runs/b")
    capsys.readouterr()
    assert run(["compare", str(tmp_path / "runs")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "2 different sets of test rows" in shown
    assert shown.count("best on validation first") == 2
    assert "differences from" not in shown


def test_runs_named_one_by_one_must_have_the_same_test_rows(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("a", right=60)
    make_run("b", right=50, rows=150)
    assert run(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for name in ("a", "b"):
        assert str(tmp_path / name) in error
        assert read_json(tmp_path / name / "manifest.json")["digests"]["test"][:12] in error
    assert "do not compare" in error


def test_compare_says_where_no_run_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", str(tmp_path)]) == 2
    assert "no finished run there" in capsys.readouterr().err
    assert run(["compare", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("several", [False, True])
def test_two_runs_are_compared_second_against_first(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, several: bool
) -> None:
    a, b = make_run("a", right=150, rank=8, several=several), make_run("b", right=190, several=several)
    assert run(["compare", str(a.folder), str(b.folder)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"differences from {typed_path(a.folder)}" in shown
    assert "method.r: 8 and 16" in shown
    assert "over 1 comparison " in shown
    (found,) = compare_runs([a, b], margin=0.01)
    (difference,) = found.differences
    assert (difference.a, difference.b, difference.verdict) == (f"{tmp_path.name}/b", f"{tmp_path.name}/a", "better")
    assert (difference.only_a_right, difference.only_b_right) == (40, 0)
    assert difference.score == ("macro_f1" if several else "accuracy")
    name = "subset_accuracy" if several else "accuracy"
    value, low, high = difference.scores[name]
    assert value == pytest.approx(0.2)
    assert low < value < high
    outcome, metrics = read_outcome(b), read_json(b.metrics)["test"]
    assert outcome.right.mean() == metrics[name]
    assert outcome.losses.mean() == pytest.approx(metrics["log_loss"])
    assert outcome.draws.observed["macro_f1"] == pytest.approx(metrics["macro_f1"])
    assert setting_differences(a, b) == [("method.r", 8, 16)]


def test_of_many_runs_each_is_compared_with_the_best_on_validation(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(f"runs/{rank}", right=150 + rank, rank=rank) for rank in (4, 32, 8)]
    (found,) = compare_runs(runs, name=lambda folder: folder.name)
    assert [(one.a, one.b) for one in found.differences] == [("8", "32"), ("4", "32")]
    assert [one.p_corrected for one in found.differences] == [
        max(one.p_value for one in found.differences),
        2 * min(one.p_value for one in found.differences),
    ]
    (found,) = compare_runs(runs, sort="macro_f1")
    assert {one.score for one in found.differences} == {"macro_f1"}


def test_p_values_are_corrected_over_all_sets_of_test_rows(make_run: MakeRun) -> None:
    runs = [
        make_run(f"{rows}/{right}", right=right, rows=rows, rank=right) for rows in (200, 240) for right in (150, 158)
    ]
    found = [one for comparison in compare_runs(runs) for one in comparison.differences]
    assert len(found) == 2
    assert [one.p_corrected for one in found] == [2 * one.p_value for one in found]


def test_runs_that_differ_only_in_their_seed_are_one_config(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [make_run(f"runs/good{seed}", right=180 + seed, seed=seed) for seed in range(3)]
    bad = [make_run(f"runs/bad{seed}", right=120 + seed, seed=seed, rank=4) for seed in range(2)]
    again = make_run("runs/once_more", right=180)
    assert by_config([*bad, *good, again]) == [bad, good, [again]]
    (found,) = compare_runs([*bad, *good])
    (difference,) = found.differences
    assert (difference.seeds, difference.verdict, difference.mcnemar) == ((3, 2), "better", None)
    first, second = seed_means(found)
    assert first["seeds"] == 3
    assert first["accuracy"] == pytest.approx((181 / 200, 1 / 200))
    assert second["accuracy"] == pytest.approx((120.5 / 200, 0.5**0.5 / 200))
    assert run(["compare", str(tmp_path / "runs")]) == 0
    shown = capsys.readouterr().out
    assert "0.905 ± 0.005" in shown
    assert "good0 (3 seeds)" in shown
    (alone,) = compare_runs(good)
    assert alone.differences == []
    (two,) = compare_runs(good[:2])
    assert [one.seeds for one in two.differences] == [(1, 1)]


def test_the_front_is_marked_and_takes_latency_where_every_run_has_it(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    runs = [
        make_run("fast", right=100, seconds=10, rank=4),
        make_run("slow", right=100, seconds=20, rank=8),
        make_run("good", right=180, seconds=90),
    ]
    (found,) = compare_runs(runs)
    assert {row["run"].rpartition("/")[2]: row["pareto"] for row in leaderboard(found)} == {
        "good": "yes",
        "fast": "yes",
        "slow": "",
    }
    for one, time in zip(runs, (5.0, 1.0, 2.0), strict=True):
        write_json(one.manifest, {**read_json(one.manifest), "milliseconds_per_text": time})
    assert [row["pareto"] for row in leaderboard(found)] == ["yes", "yes", "yes"]
    assert run(["compare", *(str(one.folder) for one in runs)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Pareto: optimal in accuracy on validation, trained weights, seconds and latency" in shown


def test_flips_are_written_so_that_no_spreadsheet_runs_them(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, file = make_run("a", right=2, rank=8), make_run("=b", right=9), tmp_path / "flips.csv"
    assert run(["compare", str(a.folder), str(b.folder), "--flips", str(file)]) == 0
    assert "flips: 7 rows" in capsys.readouterr().out
    with file.open(newline="", encoding="utf-8") as opened:
        header, *lines = list(csv.reader(opened))
    assert header == ["row", "text", "label", f"{a.folder} predicted", f"{b.folder} predicted", "right"]
    assert [line[0] for line in lines] == [str(row) for row in range(2, 9)]
    assert [line[1] for line in lines][:4] == ["'\tx", "'+x", "'-x", "[bold]x"]
    assert lines[2][2:] == ["'=1+1", NAMES[2], "'=1+1", str(b.folder)]
    assert run(["compare", str(a.folder), "--flips", str(file)]) == 2
    assert "flips: rows flip" in capsys.readouterr().err


def test_flips_of_several_labels_a_row_show_all_of_them(make_run: MakeRun, tmp_path: Path) -> None:
    a, b = (make_run(name, right=right, several=True, rank=right) for name, right in (("a", 2), ("b", 3)))
    file = tmp_path / "flips.csv"
    assert run(["compare", str(a.folder), str(b.folder), "--flips", str(file)]) == 0
    with file.open(newline="", encoding="utf-8") as opened:
        header, line = list(csv.reader(opened))
    assert header[2] == "labels"
    assert line[2:4] == [NAMES[2], NAMES[0]]


def test_names_from_data_and_folders_stand_for_themselves(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(("[red]x[-red]", "y\x1b[2J", "[blink]", "plain")):
        make_run(f"runs/{name}", right=150 + number, rank=4 if number > 2 else 8, seed=number)
    assert run(["compare", str(tmp_path / "runs")]) == 0
    shown = capsys.readouterr().out
    assert "[red]x[-red]" in shown
    assert "y\\x1b[2J" in shown
    assert "\x1b" not in shown


def test_a_run_without_predictions_is_listed_and_left_out_of_the_differences(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [make_run(f"runs/{rank}", right=150 + rank, rank=rank) for rank in (4, 8, 16)]
    (runs[2].predictions / "test.parquet").unlink()
    assert run(["compare", str(tmp_path / "runs")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"differences from {typed_path(runs[0].folder)}" in shown
    assert f"no differences for {typed_path(runs[2].folder)}" in shown


def test_damaged_predictions_are_named(make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = make_run("a", right=150, rank=8), make_run("b", right=190)
    file = b.predictions / "test.parquet"
    whole = pq.read_table(file)
    pq.write_table(whole.slice(1), file)
    assert run(["compare", str(a.folder), str(b.folder)]) == 2
    assert "was changed" in capsys.readouterr().err
    pq.write_table(whole.drop_columns(["predicted"]), file)
    assert run(["compare", str(a.folder), str(b.folder)]) == 0
    file.write_bytes(b"PAR1")
    assert run(["compare", str(a.folder), str(b.folder)]) == 0
    assert capsys.readouterr().err.count("the file is damaged") == 2
    assert run(["compare", str(b.folder)]) == 2


def test_the_margin_of_equality_is_a_share(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", str(make_run("a", right=150).folder), str(make_run("b", right=151, rank=4).folder)]
    assert run([*words, "--equal-within", "0.2"]) == 0
    assert "equal within 0.2" in capsys.readouterr().out
    assert run([*words, "equal_within=2"]) == 2
    assert "equal_within: got 2" in capsys.readouterr().err


def test_another_model_is_another_config(make_run: MakeRun) -> None:
    runs = [make_run(f"runs/{seed}", right=150, seed=seed) for seed in range(2)]
    config = read_json(runs[1].config)
    config["model"] = {"name": "other", "pin": {"name": "m", "alias": "m"}}
    write_json(runs[1].config, config)
    assert [len(group) for group in by_config(runs)] == [1, 1]
    assert ("model.name", "m", "other") in setting_differences(*runs)


def test_flips_of_runs_on_different_rows_are_refused(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("runs/a", right=150)
    make_run("runs/b", right=150, rows=201)
    assert run(["compare", str(tmp_path / "runs"), "--flips", str(tmp_path / "flips.csv")]) == 2
    assert "different test rows" in capsys.readouterr().err


@pytest.mark.parametrize("several", [False, True])
def test_a_sweep_that_levels_says_what_each_way_gains_over_plain_and_costs(make_run: MakeRun, several: bool) -> None:
    from ftclf.report.leaderboard import compare_runs
    from ftclf.report.levelling import gains, gains_table
    from ftclf.report.sweep import config_names

    runs = [make_run(f"{right}", right=right, several=several) for right in (150, 120, 180)]
    for run_, kind in zip(runs, ("plain", "focal", "weighted"), strict=True):
        write_json(run_.config, read_json(run_.config) | {"loss": {"kind": kind}, "sampler": {"kind": "plain"}})
    (found,) = compare_runs(runs, name=str)
    better, worse = gains(found)
    assert (better.runs, worse.runs) == ([runs[2]], [runs[1]])
    for row in (better, worse):
        own, plain = (read_json(one.metrics)["test"] for one in (row.runs[0], runs[0]))
        for name in ("macro_f1", "rare_f1", "micro_f1", "log_loss"):
            assert row.scores[name][0] == pytest.approx(own[name] - plain[name])
            assert row.scores[name][1] <= row.scores[name][0] <= row.scores[name][2]
        assert (row.ece, row.reference_ece) == (own["calibration"]["ece"], plain["calibration"]["ece"])
    table = gains_table(found, config_names(found))
    assert table is not None
    assert [row["name"] for row in table["rows"]] == ["loss=weighted", "loss=focal"]  # type: ignore[index, attr-defined]


def test_other_sweeps_have_no_table_of_levelling(make_run: MakeRun) -> None:
    from ftclf.report.leaderboard import compare_runs
    from ftclf.report.levelling import gains

    runs = [make_run(f"{rank}", right=150, rank=rank) for rank in (4, 8)]
    (found,) = compare_runs(runs)
    assert gains(found) == []
