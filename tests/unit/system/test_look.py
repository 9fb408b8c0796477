"""What a terminal shows: tables that fit it, colours where a person reads, and last lines that say what to do next."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import TrainTiny
from ftclf.cli.compare import leaderboard_table
from ftclf.cli.main import run
from ftclf.config import HEADLINES
from ftclf.report.leaderboard import compare_runs
from ftclf.score.wording import headline_table
from ftclf.storage.run_folder import Run, read_json, write_json
from ftclf.storage.run_paths import from_here, typed_path
from ftclf.system.console import colours, width_of
from ftclf.system.tables import Column, Table, rendered, shortened, show

WIDTHS = (80, 100, 120)
NUMBER = r"[-+]?\d[\d.,]*(?:[\d]|%)"
ESCAPE = "\x1b["
TIME = "2026-11-30_16-08-42-0258"


def long_table() -> Table:
    runs = [f"runs/sweep-go_emotions_multi_label-minilm_l12-lora/*844/{job}" for job in range(12)]
    numbers = [f"{0.1 + job / 37:.4f}" for job in range(12)]
    settings = [f"r={2**job} alpha={2 ** (job + 1)} learning_rate=0.0001 targets=feed_forward" for job in range(12)]
    scores = [Column(f"macro score {n}", numbers, numeric=True, spare=n) for n in range(9)]
    bounds = [f"{number} [{number}, {number}]" for number in numbers]
    return Table(
        [Column("run", runs, path=True), Column("settings", settings), Column("points", bounds, numeric=True), *scores],
        title="a title that is longer than any terminal " * 4,
        notes=("and a note that is as long as the title, so that it has to go on in a second line " * 2,),
    )


@pytest.mark.parametrize("coloured", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_table_fits_breaks_no_number_and_marks_what_it_cuts(width: int, *, coloured: bool) -> None:
    table = long_table()
    lines = re.sub(r"\x1b\[[\d;]*m", "", rendered(table, width, coloured=coloured)).splitlines()
    assert max(map(len, lines)) <= width
    rule = next(place for place, line in enumerate(lines) if set(line) == {"─"})
    rows = lines[rule + 1 : rule + 13]
    for place, line in enumerate(rows):
        name, rest = re.split(r"\s{2,}", line.strip(), maxsplit=1)
        whole = table.columns[0].cells[place]
        assert name == whole or (name.startswith("…") and whole.endswith(name[1:]))
        settings = re.split(r"\s{2,}", rest)[0]
        assert settings in table.columns[1].cells[place] or settings.endswith(" …")
        assert set(settings.removesuffix(" …").split()) <= set(table.columns[1].cells[place].split())
        number = table.columns[3].cells[place]
        assert set(re.findall(r"0\.\d+", rest.removeprefix(settings))) == {number}
    assert any("left out at this width" in line for line in lines)


def test_a_table_that_fits_is_shown_whole() -> None:
    shown = rendered(long_table(), 300, coloured=False)
    assert "…" not in shown
    assert "left out" not in shown
    assert shortened("r=8 alpha=32", 8) == "r=8 …"
    assert shortened("runs/a/b", 5, front=True) == "…/a/b"
    assert shortened("日本語の名前", 7) == "日本語…"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("task", HEADLINES)
def test_the_scores_of_a_run_fit_with_their_intervals(width: int, task: str) -> None:
    scores: dict[str, Any] = dict.fromkeys(HEADLINES[task], 0.8421)
    scores["intervals"] = {name: [0.8011, 0.8805] for name in HEADLINES[task]}
    baselines = {name: {"scores": dict(scores)} for name in ("majority", "tfidf", "frozen_encoder")}
    metrics = {"test": scores, "validation": scores, "baselines": baselines}
    lines = rendered(headline_table(metrics, "test", task, title="test"), width, coloured=False).splitlines()
    assert max(map(len, lines)) <= width
    assert sum("0.8421  0.8011 to 0.8805" in line for line in lines) == 4


@pytest.fixture
def sweep(trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Runs as they lie in folders named by the time, with other ranks than they were trained with."""
    monkeypatch.chdir(tmp_path)
    runs = [Run(Path("runs") / "sweep-files-bert-lora" / f"{TIME}44" / str(job)) for job in range(4)]
    for job, copy in enumerate(runs):
        shutil.copytree(trained.folder, copy.folder)
        config = read_json(copy.config)
        config["method"].update(r=2 ** (job + 1), alpha=8.0)
        write_json(copy.config, config)
    return runs


@pytest.mark.parametrize("width", WIDTHS)
def test_compare_fits_and_marks_the_best(
    sweep: list[Run], width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert run(["compare", "runs"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    assert ESCAPE not in shown
    (found,) = compare_runs(sweep)
    table = leaderboard_table(found)
    numbers = {cell.removesuffix("%") for column in table.columns for cell in column.cells if column.numeric}
    ranks = [line for line in shown.splitlines() if re.search(r" r=\d+ ", line)]
    assert len(ranks) == 4
    assert all(set(re.findall(r"\d+\.\d+", line)) <= numbers for line in ranks)
    assert ranks[0].startswith("best  ")
    assert all(list(Path().glob(line.removeprefix("best").split()[0])) for line in ranks)


def test_the_name_of_a_run_is_a_path_that_a_shell_takes(sweep: list[Run], tmp_path: Path) -> None:
    name = typed_path(sweep[1].folder)
    assert list(Path().glob(name)) == [sweep[1].folder]
    assert len(name) <= 30
    other = sweep[0].folder.parent.with_name("2026-11-30_16-08-42-111844")
    shutil.copytree(sweep[0].folder.parent, other)
    assert typed_path(sweep[1].folder.absolute()) == str(sweep[1].folder)
    spaced = tmp_path / "my runs" / "a"
    shutil.copytree(sweep[0].folder, spaced)
    assert typed_path(spaced) == "'my runs/a'"
    assert from_here(Path("/elsewhere/run")) == "/elsewhere/run"


def test_a_terminal_without_unicode_gets_a_table_of_its_own_signs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    show(long_table())
    shown = stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert "-----" in shown
    assert "~" in shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("terminal", "variables", "expected"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "0"}, False),
        (True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colours_are_for_terminals_unless_told(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, terminal: bool, expected: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stream = Terminal() if terminal else io.StringIO()
    assert colours(stream) is expected
    assert width_of(stream) == 200


def test_a_run_ends_with_score_verdict_report_and_the_next_command(
    train_tiny: TrainTiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    finished = train_tiny("training.max_steps=2", "baselines=[tfidf]", folder="my run")
    shown = capsys.readouterr()
    assert ESCAPE not in shown.out + shown.err
    *_, score, verdict, advice, instead, report, following = shown.out.splitlines()
    value = read_json(finished.metrics)["test"]["accuracy"]
    assert re.fullmatch(rf"accuracy {value:.4f} \[[\d.]+, [\d.]+\]", score)
    assert re.fullmatch(r"accuracy \d+\.\d points below TF-IDF \[[\d.]+, [\d.]+\]", verdict)
    assert "try training.max_steps=300" in advice
    assert re.fullmatch(r"  or keep TF-IDF: ftclf train .*method=tfidf", instead)
    assert report == "report: 'my run/report.html'"
    assert following == "next: ftclf predict 'my run' 'a text'"
    assert "kept: the weights after step 2 of 2" in shown.out
    assert run(["predict", "my run", "a text"]) == 0


def test_forced_colours_reach_the_screen_and_not_the_log(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    finished = train_tiny("training.max_steps=2", "baselines=[majority]")
    assert f"{ESCAPE}1maccuracy" in capsys.readouterr().out
    log = finished.log.read_text(encoding="utf-8")
    assert ESCAPE not in log
    assert "test, 48 rows; kept: the weights after step 2 of 2\n" in log  # what is said last is in it too
    assert "INFO ftclf: report: " in log
    assert run(["train", "x=1"]) == 2
    assert capsys.readouterr().err.startswith(f"{ESCAPE}1;31merror:{ESCAPE}0m x: no such setting")
    monkeypatch.setenv("NO_COLOR", "1")
    assert run(["train", "x=1"]) == 2
    assert capsys.readouterr().err.startswith("error: x: no such setting")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("compare", "compare: no run given; write ftclf compare RUN"),
        (
            "compare {} srt=x",
            "srt: no such setting, allowed: sort, csv, plot, output, equal_within, flips. Did you mean 'sort'?",
        ),
        ("compare {} --sort", "sort: not given; write sort=macro_f1"),
        ("compare {} equal_within=x", "equal_within: got 'x', allowed: a number"),
        ("compare {} sort=log_loss --sort=accuracy", "sort: given twice; drop one of the two"),
        ("report {} overwrite=yes", "overwrite: got 'yes', allowed: true or false"),
        ("merge {}", "output: not given; add output=FOLDER, a new folder"),
        ("merge {} {} output=x", "merge: got 2 folders, allowed: one"),
    ],
)
def test_a_wrong_word_about_runs_is_one_line(
    trained: Run, words: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words.replace("{}", str(trained.folder)).split()) == 2
    assert capsys.readouterr().err == f"error: {line}\n"


@pytest.mark.parametrize("words", ["sort=log_loss csv={}", "--sort log_loss --csv {}", "--sort=log_loss --csv={}"])
def test_settings_of_compare_are_taken_in_both_forms(trained: Run, tmp_path: Path, words: str) -> None:
    file = tmp_path / "table.csv"
    assert run(["compare", str(trained.folder), *words.format(file).split()]) == 0
    assert "validation log_loss" in file.read_text().splitlines()[0]
