"""The model card: the run's own numbers, two examples a label, and no text that becomes Markdown."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

from conftest import TrainTiny, make_rows, tiny_words, write_csv
from ftclf.cli.main import run
from ftclf.report.card import _cell
from ftclf.storage.run_folder import Run, read_json


def test_the_card_has_the_scores_and_two_examples_a_label(trained: Run) -> None:
    card = (trained.checkpoint / "README.md").read_text(encoding="utf-8")
    metrics = read_json(trained.metrics)
    assert f"{metrics['test']['accuracy']:.4f}" in card
    assert "TF-IDF" in card
    assert "expected calibration error" in card
    assert "    ftclf merge . output=FOLDER\n" in card
    table = card.partition("## Examples")[2].partition("## Data")[0]
    rows = [line for line in table.splitlines() if line.startswith(("| food", "| space", "| sport"))]
    assert len(rows) == 3
    assert all(row.count(" · ") == 1 for row in rows)


def test_text_of_the_data_cannot_become_markdown() -> None:
    assert _cell("a | b\n# [x](http://y) <img src=z> `c`") == "a \\| b \\# \\[x\\]\\(http://y\\) &lt;img src=z> \\`c\\`"
    assert "\x1b" not in _cell("\x1b[31mred")


def test_columns_of_the_data_stay_beside_the_predictions(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    import csv

    import pyarrow.parquet as pq

    data = write_csv(tmp_path / "plain.csv", make_rows(90))
    with data.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "more.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label", "source"])
        writer.writeheader()
        writer.writerows({**row, "source": f"s{len(row['text']) % 2}"} for row in rows)
    words = ["dataset.slice_columns=[source]", "training.max_steps=1", "baselines=[]"]
    assert run(tiny_words(tiny_models["bert"], tmp_path / "more.csv", tmp_path / "run", *words)) == 0
    for row in pq.read_table(tmp_path / "run" / "predictions" / "test.parquet").to_pylist():
        assert row["column_source"] == f"s{len(row['text']) % 2}"


@pytest.mark.parametrize(("method", "merges"), [("lora", True), ("full", False)])
def test_card_and_report_end_with_how_to_use_the_model(train_tiny: TrainTiny, method: str, merges: bool) -> None:
    done = train_tiny(f"method={method}", "training.max_steps=1", "baselines=[]")
    card = (done.checkpoint / "README.md").read_text(encoding="utf-8").partition("## How to use it\n")[2]
    report = html.unescape(done.report.read_text(encoding="utf-8").partition("How to use it</h2>")[2])
    for text, whole in ((card, "."), (report, "checkpoint")):
        assert "ftclf predict . input=texts.csv output=predictions.csv" in text
        assert 'model = ftclf.load(".")' in text
        assert f'pipeline("text-classification", "{"FOLDER" if merges else whole}")' in text
        assert ("ftclf merge . output=FOLDER" in text) == merges
    assert "Made by ftclf report" in report
    assert "</section>\n<section" not in report
