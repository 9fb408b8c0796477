"""The benchmark's arithmetic, its clock, and the page that is made from its results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import page, plan, record
from benchmark.process import FailedError, Training, run
from benchmark.record import AT_LEAST, AT_MOST, NO_WORSE, Figure, Goal, Spec

ROOT = Path(__file__).resolve().parents[2]
WHERE = {"machine": "AMD EPYC, 2 cores", "date": "2026-01-02 03:04:05", "git_commit": "abc", "versions": "torch 2.13"}
HEAD = {"seed": 0}
TWENTY = Spec("padded", "examples per second", "times", "Trainer", Goal(AT_LEAST, 20))


def measured(value: float, spec: Spec = TWENTY, **details: object) -> record.Row:
    return record.row(spec, record.spread([value - 1, value, value + 1], **details), WHERE)


def test_ratios_are_those_of_neighbours_in_the_order_of_the_runs() -> None:
    # ours 10, peer 2, ours 12, peer 3: neighbours are 10/2, 12/3 and, across the rounds, 12/2
    assert record.adjacent_ratios([10, 12], [2, 3]) == [5, 4, 6]
    assert record.adjacent_ratios([10], [4]) == [2.5]


def test_a_figure_is_the_median_with_the_lowest_and_highest() -> None:
    figure = record.spread([5, 1, 3, 4], seconds=2)
    assert (figure.value, figure.low, figure.high, figure.count) == (3.5, 1, 5, 4)
    assert figure.details == {"seconds": 2}


@pytest.mark.parametrize(
    ("goal", "value", "high", "reached"),
    [
        (Goal(AT_LEAST, 20), 20, 25, True),
        (Goal(AT_LEAST, 20), 19.9, 25, False),
        (Goal(AT_MOST, 1.5), 1.5, 1.6, True),
        (Goal(AT_MOST, 1.5), 1.51, 1.6, False),
        (Goal(NO_WORSE, 0), -0.4, 0.1, True),
        (Goal(NO_WORSE, 0), -0.4, -0.1, False),
    ],
)
def test_a_goal_is_about_the_figure_and_no_worse_about_its_interval(
    goal: Goal, value: float, high: float, reached: bool
) -> None:
    assert goal.reached(value, high) is reached


def test_speed_leaves_the_warm_up_out_and_counts_no_padding() -> None:
    training = Training(
        began=5.0,
        ends=[9.0, 10.0, 11.0, 13.0],
        batches=[(32, 999, 999), (32, 999, 999), (32, 600, 800), (20, 300, 400)],
        evaluations=[(14.0, 0.4), (20.0, 0.6)],
    )
    speed = training.speed(warm_up=2)
    assert speed.examples == pytest.approx(52 / 3)
    assert speed.tokens == pytest.approx(900 / 3)
    assert speed.padding == pytest.approx(0.25)
    assert training.reached(0.5) == 20.0
    with pytest.raises(FailedError, match="the best evaluation has 0"):
        training.reached(0.7)
    with pytest.raises(FailedError, match="nothing to time"):
        training.speed(warm_up=4)


def test_a_process_tells_its_peak_memory_and_a_failure_is_one_line_without_folders() -> None:
    done = run([sys.executable, "-c", "x = bytearray(200 * 2**20); print('{\"a\": 1}')"], {})
    assert done.answer == {"a": 1}
    assert 200 < done.peak_mb < 2000
    with pytest.raises(FailedError) as caught:
        run([sys.executable, "-c", "raise SystemExit('error: no file /home/someone/x.csv')"], {})
    assert str(caught.value) == "exit code 1 after 0 s: error: no file x.csv"


def test_a_process_that_hangs_is_ended() -> None:
    with pytest.raises(FailedError, match="exit code -9"):
        run([sys.executable, "-c", "import time; time.sleep(60)"], {}, timeout=0.5)


def test_new_rows_replace_old_ones_and_the_others_stay(tmp_path: Path) -> None:
    file, other = tmp_path / "bench.json", Spec("ls", "`ftclf ls`", "s")
    record.write(file, record.merged({}, HEAD, [measured(10), measured(2, other)], ["padded", "ls"]))
    content = record.merged(record.read(file), {**HEAD, "seed": 1}, [measured(30)], ["ls", "padded"])
    assert [(one["name"], one["ratio"], one["value"]) for one in content["rows"]] == [
        ("ls", None, 2),
        ("padded", 30, None),
    ]
    assert content["seed"] == 1
    untried = record.missing(TWENTY, record.OPEN, "needs a GPU")
    assert record.merged(content, HEAD, [untried], ["padded"])["rows"][0]["ratio"] == 30
    failed = record.missing(TWENTY, record.FAILED, "exit code 1", WHERE)
    assert record.merged(content, HEAD, [failed], ["padded"])["rows"][0]["reason"] == "exit code 1"


def test_the_page_shows_figures_goals_sides_and_reasons() -> None:
    rows = [
        measured(23.456, ours={"examples_per_second": 300.0, "padding": 0.05}, peer={"examples_per_second": 12.8}),
        record.missing(Spec("gpu_padded", "the same", "times", "Trainer", Goal(AT_LEAST, 5)), record.OPEN, "no | GPU"),
        record.row(Spec("score", "accuracy", "points", "Trainer", Goal(NO_WORSE, 0)), Figure(-0.2, -1, 0.6, 3), WHERE),
    ]
    tables = page.tables(record.merged({}, HEAD, rows, ["padded", "gpu_padded", "score"]))
    cpu, gpu = "\n".join(tables["cpu"]), "\n".join(tables["gpu"])
    assert "| **23.5×** | 22.5 to 24.5 | at least 20× | reached |" in cpu
    assert "| **−0.20 points** | 95 % interval −1.00 to 0.60 | no worse than 0 points | reached |" in cpu
    assert "AMD EPYC, 2 cores, torch 2.13:\n\n* 2026-01-02, commit abc: `" in cpu
    assert r"| open | no \| GPU | at least 5× |  |" in gpu
    assert "Nothing of this was measured yet." in gpu
    assert "| `padded` | ftclf | 300 |" in "\n".join(tables["sides"])
    assert "| `padded` | Trainer | 12.8 |" in "\n".join(tables["sides"])


def test_what_is_written_by_hand_stays_and_a_page_without_a_table_is_an_error() -> None:
    names = page.tables({})
    text = "by hand\n" + "".join(f"<!-- bench: {name} -->\nold\n<!-- end: {name} -->\n" for name in names) + "the end\n"
    made = page.filled(text, {})
    assert made.startswith("by hand\n")
    assert made.endswith("the end\n")
    assert "old" not in made
    with pytest.raises(ValueError, match="no place"):
        page.filled("by hand", {})


def test_the_page_shows_what_the_results_hold() -> None:
    results = json.loads((ROOT / "results" / "bench.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    others = [record.read(path) for path in sorted((ROOT / "results").glob("bench-*.json"))]
    assert page.filled(text, results, others) == text, "run scripts/bench --docs"
    assert {row["name"] for row in results["rows"]} <= set(plan.ORDER)


def test_names_of_rows_are_unique_and_the_short_form_has_some() -> None:
    assert len(plan.ORDER) == len(set(plan.ORDER))
    assert any(task.short for task in plan.TASKS)


def test_the_benchmark_itself_imports_no_torch() -> None:
    """Linux counts the memory of whoever starts a process as the process's own."""
    probe = "import sys, benchmark.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], cwd=ROOT / "scripts").returncode == 0


@pytest.mark.slow
def test_the_clock_sees_every_step_of_the_command(tiny_models: dict[str, Path], reviews: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "ftclf", "train", "dataset=files", f"dataset.train={reviews}", "baselines=[]"]
    words += [f"model.name={tiny_models['bert']}", f"run_dir={tmp_path / 'run'}", "training.epochs=2"]
    done = run(words, {}, clock={}, warm_up=2)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))
    training = done.training
    assert len(training.ends) == manifest["steps"]
    assert sum(rows for rows, _, _ in training.batches) == 2 * manifest["rows"]["train"]
    assert all(0 < tokens <= places for _, tokens, places in training.batches)
    assert 0 < training.began < training.ends[0] < training.ends[-1] < done.seconds
    assert len(training.evaluations) == 2
    assert done.speed.examples > 0
    started = run([*words, "overwrite=true"], {}, clock={"BENCH_FIRST_STEP": "1"})
    assert started.training.ends == []
