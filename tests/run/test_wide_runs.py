"""Runs of more labels than a table can show: their files, what reads them, their report, card and pictures."""

from __future__ import annotations

import csv
import importlib.machinery
import importlib.util
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftclf.cli.main import run as run_command
from ftclf.config import DecisionConfig
from ftclf.data import Data, Split
from ftclf.data.label_sets import WIDE
from ftclf.data.text_store import write_texts
from ftclf.report.card import MOST_LABELS, examples
from ftclf.report.charts import nice_axis
from ftclf.report.evaluation_files import write_evaluation
from ftclf.report.leaderboard import read_outcome
from ftclf.report.material import read_material
from ftclf.report.plots import plot_confusion, plot_history, plot_setting
from ftclf.score.calibration import Calibration
from ftclf.score.confusion import SHOWN, worst_labels
from ftclf.score.decisions import Decision
from ftclf.score.evaluation import Evaluation, choosing_scores, score, settle
from ftclf.score.predictions import TOP, read_predictions
from ftclf.storage.run_folder import Run, write_json
from ftclf.system.text import counted, data_name, short_names

ROOT = Path(__file__).resolve().parents[2]
TASKS = ["single_label", "multi_label"]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are drawn without pictures, which take longer than all the rest."""
    monkeypatch.setattr("ftclf.report.plots.plot_confusion", lambda *_, **__: None)


def make(folder: Path, labels: int, task: str, *, rows: int = 400, seed: int = 0) -> tuple[Run, Evaluation]:
    """Make the folder of a run of many labels from random logits, by the functions that training calls."""
    random, of_rows = np.random.default_rng(seed), np.random.default_rng(99)
    names = [f"=label {number}" for number in range(labels)]
    truth: Any = np.arange(rows) % labels
    logits = random.normal(-4, 1, (rows, labels)).astype(np.float32)
    logits[np.arange(rows), truth] += random.normal(4, 2, rows)
    if task == "multi_label":
        several = of_rows.random((rows, labels)) < 1 / labels
        several[np.arange(rows), truth] = True
        several[0] = False
        truth = several
    split = Split(
        write_texts(f"text {row}" for row in range(rows)), truth, {"source": write_texts(["a", "b"] * (rows // 2))}
    )
    info: Any = SimpleNamespace(
        label_names=names, task=task, calibration=Calibration(), decision=Decision(), other_decisions={}
    )
    settle(info, logits, split.labels, DecisionConfig(min_positives=2))
    evaluation, run = score(logits, split, info), Run(folder)
    write_evaluation(evaluation, split, names, "test", predictions=run.predictions, plots=run.plots)
    digests = {"test": Data("d", names, {"test": split}).digest("test")}
    about = {"dataset": "files", "task": task, "date": "", "rows": {"test": rows}, "digests": digests, "notes": []}
    about |= {"parameters": {"trainable": seed, "share": 0.1}, "examples_per_second": 1.0, "seconds": {"total": 1.0}}
    dataset = {"name": "files", "train": "my data/tickets.csv", "about": "", "terms": ""}
    model = {"name": "m", "pin": {"name": "m", "alias": "m"}}
    write_json(
        run.config,
        {
            "dataset": dataset,
            "model": model,
            "method": {"kind": "lora"},
            "training": {"seed": 0, "x": seed, "metric": None},
        },
    )
    write_json(run.manifest, about)
    others = {name: vars(rule) for name, rule in info.other_decisions.items()}
    write_json(
        run.checkpoint / "ftclf.json",
        {"label_names": names, "decision": vars(info.decision), "other_decisions": others},
    )
    write_json(run.metrics, {"validation": evaluation.metrics, "test": evaluation.metrics, "baselines": {}})
    return run, evaluation


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("labels", [WIDE, WIDE + 1])
def test_predictions_of_many_labels_are_read_as_those_of_few(tmp_path: Path, labels: int, task: str) -> None:
    run, evaluation = make(tmp_path / "run", labels, task)
    table = pq.read_table(run.predictions / "test.parquet")
    names = [f"=label {number}" for number in range(labels)]
    assert ("p_=label 0" in table.column_names) == (labels <= WIDE)
    assert ("top_labels" in table.column_names) == (labels > WIDE)
    result = read_predictions(run.predictions / "test.parquet", names, texts=True)
    assert result.targets.equals(evaluation.targets)
    assert result.chosen.equals(evaluation.chosen)
    assert result.losses == pytest.approx(evaluation.losses, rel=1e-9)
    assert result.texts[7] == "text 7"
    assert result.columns == {"source": ["a", "b"] * 200}
    known = evaluation.chosen & evaluation.targets
    given = np.take_along_axis(evaluation.probabilities.whole()[known.rows], known.ids[:, None].astype(int), axis=1)
    assert result.probability(known.rows, known.ids) == pytest.approx(given[:, 0], abs=1e-6)
    outcome = read_outcome(run)
    assert outcome.draws.observed["accuracy"] == pytest.approx(float(evaluation.chosen.same(evaluation.targets).mean()))
    if labels > WIDE:
        listed = table["top_probabilities"].to_pylist()
        assert all(len(row) >= TOP and row == sorted(row, reverse=True) for row in listed)
        assert not result.probability(np.array([3]), np.array([1]))  # a label that is not listed


@pytest.mark.parametrize("labels", [WIDE, WIDE + 1])
def test_the_results_read_what_other_rules_gave(tmp_path: Path, labels: int) -> None:
    run, evaluation = make(tmp_path / "run", labels, "multi_label")
    loader = importlib.machinery.SourceFileLoader("results", str(ROOT / "scripts" / "results"))
    results = importlib.util.module_from_spec(importlib.util.spec_from_loader("results", loader))  # type: ignore[arg-type]
    loader.exec_module(results)
    for rule, expected in evaluation.metrics["decisions"].items():
        observed = results.outcome(run.folder, rule).draws.observed
        assert {name: observed[name] for name in expected["scores"]} == pytest.approx(expected["scores"])


@pytest.mark.parametrize("task", TASKS)
def test_runs_of_many_labels_are_compared(tmp_path: Path, task: str, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        make(tmp_path / str(seed), WIDE + 50, task, seed=seed)
    flips = tmp_path / "flips.csv"
    assert run_command(["compare", str(tmp_path / "0"), str(tmp_path / "1"), f"flips={flips}"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("tickets, ")
    assert len(flips.read_text().splitlines()) - 1 == int(said.partition("flips: ")[2].split()[0])


@pytest.mark.parametrize("task", TASKS)
def test_every_label_and_every_confusion_stands_in_a_csv(tmp_path: Path, task: str) -> None:
    run, evaluation = make(tmp_path / "run", WIDE + 1, task)
    with (run.plots / "confusion_test.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == ["true", "predicted", "count"]
    assert sum(int(count) for *_, count in lines) == evaluation.counts.sum()
    assert all(count != "0" and true.startswith("'=label ") for true, _, count in lines)
    with (run.plots / "classes_test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [f"'=label {number}" for number in range(WIDE + 1)]
    for row, kept in zip(rows, evaluation.metrics["per_class"], strict=True):
        assert (float(row["f1"]), int(row["rows"])) == (kept["f1"], kept["support"])
        assert [float(row["f1_low"]), float(row["f1_high"])] == list(kept["intervals"]["f1"])


@pytest.mark.parametrize("task", TASKS)
def test_the_report_of_5000_labels_shows_what_matters_and_says_what_it_leaves_out(tmp_path: Path, task: str) -> None:
    run, evaluation = make(tmp_path / "run", 5000, task, rows=200)
    assert run_command(["report", str(run.folder)]) == 0
    page = run.report.read_text(encoding="utf-8")
    assert len(page) < 2_000_000
    assert "The 500 labels with the most test rows, of 5,000." in page
    assert f"{SHOWN} of the 5,000 labels" in page
    errors = evaluation.counts.sum() - evaluation.counts.diagonal().sum()
    assert f"of {counted(int(errors), 'error')}" in page
    assert "<title>tickets · m · lora – ftclf report</title>" in page
    material = read_material(run)
    assert (material.confusion != evaluation.counts).nnz == 0
    split = Split(
        write_texts(f"text {row}" for row in range(200)),
        np.zeros(200) if task == "single_label" else np.zeros((200, 2)),
    )
    assert len(examples(evaluation, split, material.labels)) == MOST_LABELS


def test_what_is_shown_of_many_labels_are_those_confused_most_side_by_side() -> None:
    random = np.random.default_rng(0)
    counts = (random.random((300, 300)) < 0.001).astype(np.int64) + np.diag(random.integers(5, 90, 300))
    groups = [[7, 250, 90], [30, 31], [299, 12, 150, 200]]
    for group in groups:
        for label in group:
            counts[label, [other for other in group if other != label]] += 20
    shown = worst_labels(counts)
    assert len(shown) == SHOWN
    for group in groups:
        places = sorted(shown.index(label) for label in group)
        assert places == list(range(places[0], places[0] + len(group)))
    assert set(shown[:4]) == set(groups[2])
    assert sorted(worst_labels(counts, 9)) == sorted(label for group in groups for label in group)
    assert worst_labels(np.diag([5] * 300)) == []


def size_of(png: Path) -> tuple[int, int]:
    return struct.unpack(">II", png.read_bytes()[16:24])


@pytest.mark.parametrize("labels", [41, 150, 1500])
@pytest.mark.parametrize("errors", [False, True])
def test_the_picture_of_many_labels_can_be_looked_at(tmp_path: Path, labels: int, errors: bool) -> None:
    counts = np.eye(labels, dtype=np.int64) * 9 + errors * np.eye(labels, k=1, dtype=np.int64)
    plot_confusion(tmp_path / "c.png", counts, [f"label {number}" * 9 for number in range(labels)], title="test")
    assert max(size_of(tmp_path / "c.png")) < 2600


def test_a_history_has_no_panel_without_a_curve(tmp_path: Path) -> None:
    both = [{"step": 1, "loss": 2.0}, {"step": 2, "validation_accuracy": 0.5}]
    widths = []
    for name, history in (("both", both), ("loss", both[:1]), ("score", both[1:])):
        plot_history(tmp_path / f"{name}.png", history, "accuracy")
        widths.append(size_of(tmp_path / f"{name}.png")[0])
    assert widths[1] == widths[2] == widths[0] / 2
    plot_history(tmp_path / "none.png", [{"step": 1, "epoch": 1.0}], "accuracy")
    assert not (tmp_path / "none.png").exists()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_no_axis_of_scores_begins_below_0(values: list[float]) -> None:
    axis = nice_axis("score", values)
    assert 0 <= axis.low <= min(values)
    assert axis.high >= max(values)


def test_no_drawn_axis_of_scores_begins_below_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bottoms: list[float] = []
    monkeypatch.setattr(
        "ftclf.report.plots._save", lambda figure, _: bottoms.extend(axis.get_ylim()[0] for axis in figure.axes)
    )
    history = [{"step": step, "loss": 0.01 * step, "validation_accuracy": 0.002 * step} for step in range(5)]
    plot_history(tmp_path / "h.png", history, "accuracy")
    plot_setting(tmp_path / "s.png", "method.r", [4, 8], {"test": [0.0, 0.9]}, "accuracy")
    assert bottoms == [0, 0, 0]
    plot_setting(tmp_path / "s.png", "method.r", [4, 8], {"test": [0.8, 0.9]}, "accuracy")
    assert 0.7 < bottoms[-1] < 0.8


@settings(max_examples=200, deadline=None)
@example(["aaaaaaaaa1zzzz9", "aaaaaaaaa1zzzz8", "aaaaaaaaa2zzzzz"], 6)
@given(st.lists(st.text("ab…", max_size=14), max_size=12, unique=True), st.integers(6, 10))
def test_cut_names_are_all_different_and_marked(names: list[str], longest: int) -> None:
    result = short_names(names, longest)
    assert len(set(result)) == len(names)
    for name, short in zip(names, result, strict=True):
        assert len(short) <= longest
        assert short == name or "…" in short


def test_what_is_cut_shows_where_names_differ() -> None:
    names = ["card payment fee charged twice", "card payment fee charged once", "card payment wrong rate"]
    assert short_names(names, 16) == ["card … twice", "card … once", "card payment wr…"]


@pytest.mark.parametrize(
    ("name", "file", "shown"),
    [
        ("files", "data/reviews.csv", "reviews"),
        ("files", "a(1).b.jsonl", "a(1).b"),
        ("files", None, "files"),
        ("bbc_news", "train.csv", "bbc_news"),
    ],
)
def test_a_users_files_are_called_by_their_name(name: str, file: str | None, shown: str) -> None:
    assert data_name(name, file) == shown


def test_one_is_not_several() -> None:
    assert [counted(number, "row") for number in (0, 1, 2, 5427)] == ["0 rows", "1 row", "2 rows", "5,427 rows"]


@pytest.mark.parametrize("task", TASKS)
def test_scores_that_choose_a_checkpoint_can_be_broken_off(task: str) -> None:
    looked = []

    def look() -> None:
        looked.append(1)
        if len(looked) == 3:
            raise InterruptedError

    logits = np.zeros((2000, 300), dtype=np.float32)
    labels = np.zeros(2000, dtype=np.int64) if task == "single_label" else np.zeros((2000, 300), dtype=bool)
    with pytest.raises(InterruptedError):
        choosing_scores(logits, Split(write_texts(["x"] * 2000), labels), np.zeros(300), look)
