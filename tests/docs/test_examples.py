"""Every example runs: its commands with a tiny model in place of the default one, the notebook cell by cell."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ftclf
from ftclf.cli.main import run

ROOT = Path(__file__).resolve().parents[2]
TINY = ("training.max_steps=6", "training.precision=fp32", "baselines=[]")
SECTIONS = re.findall(
    r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", (ROOT / "examples" / "README.md").read_text(), re.MULTILINE | re.DOTALL
)
COMMANDS = {title: re.findall(r"^ {4}(.+)$", text, re.MULTILINE) for title, text in SECTIONS}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the examples, as if it were the repository's."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "title",
    [
        title if "sweep" not in title else pytest.param(title, marks=pytest.mark.slow)
        for title in COMMANDS
        if COMMANDS[title]
    ],
)
def test_every_command_of_the_examples_runs(title: str, workplace: Path, tiny_models: dict[str, Path]) -> None:
    for line in COMMANDS[title]:
        words = shlex.split(line)
        if words[0] == "python":
            subprocess.run([sys.executable, *words[1:]], check=True)
            continue
        assert words[0] == "ftclf"
        tiny = [f"model.name={tiny_models['bert']}", *TINY] if words[1] == "train" else []
        assert run([*words[1:], *tiny]) == 0, line
    assert list(workplace.glob("runs/**/report.html"))


def test_the_same_seed_gives_the_same_tickets_with_every_label(workplace: Path) -> None:
    made = [workplace / name for name in ("a.csv", "b.csv", "c.csv")]
    for path, seed in zip(made, (0, 0, 1), strict=True):
        subprocess.run([sys.executable, "examples/tickets.py", path, "--seed", str(seed)], check=True)
    assert made[0].read_text() == made[1].read_text() != made[2].read_text()
    with made[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["text"] for row in rows}) == len(rows) == 600
    assert {row["label"] for row in rows} == {"billing", "delivery", "login", "outage", "refund", "feature"}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ftclf, "compose"), reason="the Python API is not there yet")
def test_the_notebook_runs_cell_by_cell(
    workplace: Path, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: Any = ftclf.compose  # type: ignore[attr-defined]
    tiny = (f"model.name={tiny_models['bert']}", f"runs_dir={workplace / 'runs'}", *TINY)
    monkeypatch.setattr(ftclf, "compose", lambda *words: whole(*words, *tiny))
    names: dict[str, Any] = {}
    for cell in json.loads((ROOT / "examples" / "tickets.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert len(names["predictions"]) == 2


def test_the_notebook_is_small_and_holds_no_output() -> None:
    cells = json.loads((ROOT / "examples" / "tickets.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    for cell in code:
        compile("".join(cell["source"]), "tickets.ipynb", "exec")
