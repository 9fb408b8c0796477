"""What labels and texts cannot do. `scripts/faults bad_inputs mutations` has the files that are refused."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from conftest import TrainTiny, make_rows, write_csv
from ftclf.cli.main import run
from ftclf.storage.csv_safety import harmless


def test_a_number_in_a_text_is_no_formula() -> None:
    cells = ["-1", "+2.5", "-1+1", "=1", "@x", 3, -4.5]
    assert [harmless(cell) for cell in cells] == ["-1", "+2.5", "'-1+1", "'=1", "'@x", 3, -4.5]


def test_a_label_is_no_formula_in_a_csv_and_steers_no_terminal(
    train_tiny: TrainTiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = {"food": "=1+1\x1b[31m", "space": "@a\u202e", "sport": r"[red]x[/]$\foo$" + "\x9b" + "x" * 500}
    data = write_csv(tmp_path / "d.csv", [(text, strange[label]) for text, label in make_rows(60)])
    found = train_tiny(f"dataset.train={data}", "training.max_steps=2", "baselines=[]")
    with (found.plots / "confusion_test.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header[1:] == [row[0] for row in rows] == ["'=1+1\x1b[31m", "'@a\u202e", strange["sport"]]
    assert run(["compare", str(found.folder), "--csv", str(tmp_path / "table.csv")]) == 0
    said = capsys.readouterr()
    for shown in (said.out, said.err, found.log.read_text(encoding="utf-8")):
        assert not set(shown) & set("\x1b\x9b\u202e")
