"""Reports of sweeps: jobs by what differs, a plot with intervals whatever was swept, and the inconclusive pairs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_report import CHROMIUM, browse_frame

from ftclf.report.charts import value_axis
from ftclf.report.leaderboard import compare_runs
from ftclf.report.material import read_material
from ftclf.report.page import render
from ftclf.report.plots import plot_setting
from ftclf.report.sweep import config_names, job_names, pair_sentences, plot, varied_number
from ftclf.storage.run_folder import Run, read_json, write_json

Changes = dict[str, dict[str, Any]]


@pytest.fixture
def sweep(trained: Run, tmp_path: Path) -> Any:
    """Copy a run under other settings, the first the best on validation."""

    def make(*jobs: Changes) -> list[Run]:
        runs = []
        for number, changes in enumerate(jobs):
            run = Run(shutil.copytree(trained.folder, tmp_path / "sweep" / str(number)))
            config, metrics = read_json(run.config), read_json(run.metrics)
            for part, settings in changes.items():
                config[part] = config[part] | settings
            metrics["validation"]["accuracy"] = 0.9 - number / 10
            write_json(run.config, config)
            write_json(run.metrics, metrics)
            runs.append(run)
        return runs

    return make


RANKS = [{"method": {"r": r}} for r in (2, 4, 8)]
RANKS_AND_ALPHA = [{"method": {"r": r, "alpha": 2 * r}} for r in (2, 4, 8)]
SEEDED = [{"method": {"r": r}, "training": {"seed": seed}} for r in (2, 8) for seed in (0, 1)]
MODELS = [{"model": {"name": name}} for name in ("small", "a_large_one", "x" * 90)]
RATES = [{"training": {"learning_rate": rate}} for rate in (1e-5, 1e-4, 1e-3)]
TWO_SETTINGS = [{"method": {"r": r}, "training": {"batch_size": size}} for r in (2, 4) for size in (16, 32)]
SEEDS = [{"training": {"seed": seed}} for seed in (0, 1, 2)]


@pytest.mark.parametrize(
    ("jobs", "names", "number"),
    [
        (RANKS, ["r=2", "r=4", "r=8"], "method.r"),
        (RANKS_AND_ALPHA, ["r=2", "r=4", "r=8"], "method.r"),  # alpha follows from the rank
        (SEEDED, ["r=2 seed=0", "r=2 seed=1", "r=8 seed=0", "r=8 seed=1"], "method.r"),
        (MODELS, ["model=small", "model=a_large_one", f"model={'x' * 90}"], ""),
        (RATES, ["learning_rate=1e-05", "learning_rate=0.0001", "learning_rate=0.001"], "training.learning_rate"),
        (TWO_SETTINGS, ["r=2 batch_size=16", "r=2 batch_size=32", "r=4 batch_size=16", "r=4 batch_size=32"], ""),
        (SEEDS, ["seed=0", "seed=1", "seed=2"], ""),
    ],
)
def test_jobs_are_named_by_what_differs_and_every_sweep_has_a_plot_with_intervals(
    sweep: Any, jobs: list[Changes], names: list[str], number: str
) -> None:
    runs = sweep(*jobs)
    (found,) = compare_runs(runs)
    of_runs = job_names(found)
    assert sorted(of_runs.values()) == sorted(names)
    assert varied_number(found) == number
    figure = plot(found, [read_material(run) for run in found.runs])
    assert figure is not None
    assert len(re.findall(r'class="whisker main"', figure["svg"])) == 3 * len(runs)  # a line and its two ends
    page = render(runs)
    assert page.count(figure["svg"]) == 1
    assert all(f"<bdi>{name}</bdi>" in page for name in names)
    if not number:
        short = [name if len(name) <= 46 else f"{name[:45]}…" for name in of_runs.values()]
        assert all(f">{name}</text>" in figure["svg"] for name in short)  # what is cut has a mark


def test_two_runs_alike_in_all_settings_are_named_by_their_folders(sweep: Any) -> None:
    (found,) = compare_runs(sweep({}, {}))
    assert sorted(job_names(found).values()) == ["sweep/0", "sweep/1"]


def test_seeds_of_one_config_are_one_name(sweep: Any) -> None:
    (found,) = compare_runs(sweep(*SEEDED))
    assert {one.a for one in found.differences} <= set(config_names(found))
    assert {"r=2 (2 seeds)", "r=8 (2 seeds)"} <= set(config_names(found).values())


def test_all_pairs_of_few_configs_are_judged(sweep: Any) -> None:
    runs = sweep(*RANKS)
    (found,) = compare_runs(runs)
    (equal,) = pair_sentences(found)[1:]  # they are copies of one run
    assert pair_sentences(found)[0] == "No pair is inconclusive."
    assert equal == "Pairs that are equal within 1 point: r=2 and r=4; r=2 and r=8; r=4 and r=8."
    page = render(runs)
    assert equal in page
    assert "With one seed per config, better or worse needs p &lt; 0.01 and 1 point" in page


def test_more_configs_are_compared_with_the_best_alone(sweep: Any) -> None:
    (found,) = compare_runs(sweep(*({"method": {"r": r}} for r in range(1, 8))))
    assert sum(" and " in part for line in pair_sentences(found) for part in line.split("; ")) == 6


def test_values_far_apart_stand_by_their_logarithms_and_close_ones_have_room() -> None:
    ranks = value_axis("method.r", [4.0, 8.0, 16.0, 32.0])
    shares = [ranks.axis.share(ranks.place(value)) for value in (4, 8, 16, 32)]
    assert np.allclose(np.diff(shares), np.diff(shares)[0])
    assert [ranks.axis.words(tick) for tick in ranks.axis.ticks] == ["4", "8", "16", "32"]
    close = value_axis("x", [value / 100 for value in range(100, 200)])
    assert not close.logarithmic
    assert 3 < len(close.axis.ticks) < 15


def test_the_picture_of_a_setting_has_error_bars_and_a_line_through_the_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.axes import Axes

    bars: list[Any] = []
    lines: list[Any] = []
    draw, bar = Axes.plot, Axes.errorbar
    monkeypatch.setattr(Axes, "plot", lambda self, *args, **kw: (lines.append(args), draw(self, *args, **kw))[1])
    monkeypatch.setattr(
        Axes, "errorbar", lambda self, *args, **kw: (bars.append(kw["yerr"]), bar(self, *args, **kw))[1]
    )
    bounds = {"test": [[0.4, 0.6], None, [0.6, 0.9]]}
    plot_setting(tmp_path / "x.png", "r", [2, 2, 4], {"test": [0.5, 0.7, 0.8]}, "accuracy", bounds=bounds)  # type: ignore[arg-type]
    assert np.allclose(bars[0], [[0.1, 0, 0.2], [0.1, 0, 0.1]])
    assert [values.tolist() if hasattr(values, "tolist") else list(values) for values in lines[0]] == [
        [2, 4],
        [pytest.approx(0.6), pytest.approx(0.8)],
    ]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("jobs", [RANKS, MODELS, TWO_SETTINGS])
def test_a_sweep_fits_a_phone_and_a_screen(sweep: Any, tmp_path: Path, jobs: list[Changes], width: int) -> None:
    page = tmp_path / "sweep.html"
    page.write_text(render(sweep(*jobs)), encoding="utf-8")
    script = """
      page.querySelectorAll("details").forEach((part) => { part.open = true; });
      found.width = page.documentElement.scrollWidth;
      const frame = (mark) => mark.closest("svg").getBoundingClientRect();
      const inside = (mark) => mark.getBoundingClientRect().right <= frame(mark).right + 1;
      found.outside = [...page.querySelectorAll("svg text")].filter((mark) => !inside(mark)).map((m) => m.textContent);
    """
    found = browse_frame(page, width, tmp_path, script)
    assert found["width"] <= width
    assert found["outside"] == []


def test_runs_of_two_sweeps_of_one_name_are_not_mistaken_for_each_other(sweep: Any, tmp_path: Path) -> None:
    runs = sweep(*RANKS)
    moved = Run(tmp_path / "elsewhere" / "sweep" / "0")
    shutil.copytree(runs[2].folder, moved.folder)
    page = render([runs[0], runs[1], moved])  # two of them are sweep/0
    assert "r=2 and r=4; r=2 and r=8; r=4 and r=8." in page
    assert str(tmp_path) not in page
