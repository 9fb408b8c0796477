"""eval prints what training printed; predict labels files and stdin in their order."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from conftest import TrainTiny, make_rows, tiny_words, write_csv
from ftclf.checkpoint.format import load_checkpoint
from ftclf.cli.main import run
from ftclf.data import share_known, sketch
from ftclf.model.compute import Compute
from ftclf.model.tokens import tokenise
from ftclf.score.logits import compute_logits, scoring_network
from ftclf.storage.run_folder import Run, read_json

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_eval_gives_the_very_numbers_of_training(trained: Run, tmp_path: Path) -> None:
    for split in ("validation", "test"):
        out = tmp_path / split
        assert run(["eval", f"checkpoint={trained.folder}", f"split={split}", f"output={out}"]) == 0
        assert read_json(out / "metrics.json")[split] == read_json(trained.metrics)[split]
        assert (out / "predictions" / f"{split}.parquet").read_bytes() == (
            trained.predictions / f"{split}.parquet"
        ).read_bytes()
        assert (out / "plots" / f"confusion_{split}.png").is_file()


def test_eval_of_train_scores_what_was_trained_on(trained: Run, tmp_path: Path) -> None:
    out = tmp_path / "train"
    assert run(["eval", str(trained.folder), "split=train", f"output={out}"]) == 0
    assert read_json(out / "metrics.json")["train"]["rows"] == read_json(trained.manifest)["rows"]["train"]


def test_eval_says_when_the_rows_are_not_those_of_training(
    train_tiny: TrainTiny, tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_csv(tmp_path / "d.csv", make_rows(120))
    assert run(tiny_words(tiny_models["bert"], data, tmp_path / "run", "training.max_steps=1", "baselines=[]")) == 0
    assert run(["eval", f"checkpoint={tmp_path / 'run'}"]) == 0
    assert "warning" not in capsys.readouterr().err
    write_csv(data, make_rows(120, seed=1))
    assert run(["eval", f"checkpoint={tmp_path / 'run'}"]) == 0
    assert "the data or the way it is cut has changed" in capsys.readouterr().err


def test_eval_says_how_many_of_the_rows_were_trained_on_under_whatever_name(
    tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = make_rows(120)
    data, folder = write_csv(tmp_path / "d.csv", rows), tmp_path / "run"
    assert run(tiny_words(tiny_models["bert"], data, folder, "training.max_steps=1", "baselines=[]")) == 0
    copy = write_csv(tmp_path / "e.csv", [(f" {text.upper()}", label) for text, label in rows])
    other = write_csv(tmp_path / "f.csv", make_rows(60, seed=5))
    capsys.readouterr()
    for words, warned in (
        ([f"dataset.test={copy}"], True),
        ([f"dataset.validation={data}", "split=validation"], True),
        ([f"dataset.test={other}"], False),
        ([f"dataset.train={data}", "split=train"], False),
    ):
        assert run(["eval", str(folder), *words]) == 0
        assert ("% of these rows have texts that the checkpoint was trained on" in capsys.readouterr().err) == warned


def test_a_sketch_tells_the_share_of_known_texts_among_many() -> None:
    known = sketch(f"text {number}" for number in range(20_000))
    assert len(known) == 4096
    for share in (0.0, 0.3, 1.0):
        texts = [f"text {number}" for number in range(round(5000 * share))]
        texts += [f"other {number}" for number in range(5000 - len(texts))]
        assert share_known(texts, known) == pytest.approx(share, abs=0.1)
    assert share_known(["text 1"], []) == 0


def test_eval_does_not_overwrite_its_output(trained: Run, tmp_path: Path) -> None:
    words = ["eval", f"checkpoint={trained.folder}", f"output={tmp_path / 'out'}"]
    assert (run(words), run(words)) == (0, 2)
    assert run([*words[:2], f"output={tmp_path / 'out' / 'metrics.json'}"]) == 2


def test_eval_scores_other_data(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "new.csv", make_rows(30, seed=9))
    assert run(["eval", f"checkpoint={trained.folder}", "dataset=files", f"dataset.test={path}"]) == 0
    assert "30 rows of new" in capsys.readouterr().out
    strange = write_csv(tmp_path / "strange.csv", [("some text", "sports")])
    assert run(["eval", f"checkpoint={trained.folder}", "dataset=files", f"dataset.test={strange}"]) == 2
    assert "Did you mean 'sport'?" in capsys.readouterr().err


def test_predict_writes_csv_jsonl_and_parquet_in_the_order_of_the_input(trained: Run, tmp_path: Path) -> None:
    texts = [text for text, _ in make_rows(50, seed=4)]
    source = write_csv(tmp_path / "in.csv", [(text, "?") for text in texts])
    found = {}
    for ending in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"out.{ending}"
        assert run(["predict", f"checkpoint={trained.folder}", f"input={source}", f"output={out}"]) == 0
        found[ending] = out
    with found["csv"].open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in found["jsonl"].read_text().splitlines()]
    table = pq.read_table(found["parquet"]).to_pylist()
    assert [row["text"] for row in rows] == [row["text"] for row in lines] == [row["text"] for row in table] == texts
    assert [row["label"] for row in rows] == [row["label"] for row in lines] == [row["label"] for row in table]
    assert float(rows[0]["p_food"]) == lines[0]["probabilities"]["food"] == table[0]["p_food"]


def test_predict_keeps_the_columns_that_are_named_beside_each_label(trained: Run, tmp_path: Path) -> None:
    rows = [{"id": f"0{number}", "text": text, "year": 1990 + number} for number, (text, _) in enumerate(make_rows(5))]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for ending in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"out.{ending}"
        words = ["predict", f"checkpoint={trained.folder}", f"input={source}", "keep=[year,id]", f"output={out}"]
        assert run(words) == 0
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        tables = [list(csv.DictReader(file))]
    tables.append([json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()])
    tables.append(pq.read_table(tmp_path / "out.parquet").to_pylist())
    expected = [(str(row["year"]), row["id"], row["text"]) for row in rows]
    for table in tables:
        assert [(row["year"], row["id"], row["text"]) for row in table] == expected


FORMULAS = ["=1+1", "+1+1", "-1+A1", "@a", "\t=1", "\r=1", "\n=1", "＝1", "a;=1", "-1", "+2.5", "1=1", "'=1", 'a "=1"']


def test_no_text_is_a_formula_in_a_csv_and_the_other_formats_keep_it(trained: Run, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", [(text, "?") for text in FORMULAS])
    for ending in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"out.{ending}"
        assert run(["predict", f"checkpoint={trained.folder}", f"input={source}", f"output={out}"]) == 0
    expected = [f"'{text}" for text in FORMULAS[:8]] + FORMULAS[8:]
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert [row["text"] for row in csv.DictReader(file)] == expected
    assert all(line.startswith('"') for line in (tmp_path / "out.csv").read_text().split("\n")[:2])
    assert [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == FORMULAS
    assert pq.read_table(tmp_path / "out.parquet")["text"].to_pylist() == FORMULAS
    again = [
        "predict",
        f"checkpoint={trained.folder}",
        f"input={tmp_path / 'out.csv'}",
        f"output={tmp_path / 'b.jsonl'}",
    ]
    assert run(again) == 0
    assert [json.loads(line)["text"] for line in (tmp_path / "b.jsonl").read_text().splitlines()] == expected


def test_no_text_steers_the_terminal(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strange = "a\x1b[2J\x07\x9b\x85\u202e\u2028\u2066[red]b[/]é🙂"
    (tmp_path / "in.txt").write_text(strange + "\n")
    assert run(["predict", f"checkpoint={trained.folder}", f"input={tmp_path / 'in.txt'}"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()
    assert "é🙂" in line
    assert json.loads(line)["text"] == strange


def test_a_stdout_of_another_encoding_gets_json_in_utf_8(trained: Run, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("🙂 é\n", encoding="utf-8")
    words = ["predict", f"checkpoint={trained.folder}", f"input={tmp_path / 'in.txt'}"]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-m", "ftclf", *words], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.decode("utf-8"))["text"] == "🙂 é"


def test_a_text_file_may_begin_with_a_mark_and_end_its_lines_as_windows_does(trained: Run, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes("\ufeffrocket\r\nsoup \u2028 bread\r\n".encode())
    out = tmp_path / "out.parquet"
    assert run(["predict", f"checkpoint={trained.folder}", f"input={tmp_path / 'in.txt'}", f"output={out}"]) == 0
    assert pq.read_table(out)["text"].to_pylist() == ["rocket", "soup \u2028 bread"]


def test_no_text_is_lost_between_chunks(trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftclf.checkpoint.predictor.CHUNK", 7)
    texts = [text for text, _ in make_rows(30, seed=6)]
    source = write_csv(tmp_path / "in.csv", [(text, "?") for text in texts])
    for ending in ("jsonl", "parquet"):
        out = tmp_path / f"out.{ending}"
        assert run(["predict", f"checkpoint={trained.folder}", f"input={source}", f"output={out}"]) == 0
    assert pq.read_table(out)["text"].to_pylist() == texts
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 30


def test_no_text_gives_a_table_without_rows(trained: Run, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("")
    for ending in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"out.{ending}"
        assert run(["predict", f"checkpoint={trained.folder}", f"input={tmp_path / 'in.txt'}", f"output={out}"]) == 0
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0
    assert (tmp_path / "out.csv").read_text().startswith('"text","label","confidence","p_food"')


def test_a_mistake_far_down_the_input_leaves_no_output(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ftclf.checkpoint.predictor.CHUNK", 7)
    source = tmp_path / "in.csv"
    source.write_text("text\n" + "some words\n" * 20 + '"half" a quote\n')
    out = tmp_path / "out.csv"
    assert run(["predict", f"checkpoint={trained.folder}", f"input={source}", f"output={out}"]) == 2
    message = capsys.readouterr().err
    assert "in.csv: line 22: " in message
    assert "dataset." not in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv"]


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_made_ready_to_score_gives_the_logits_of_the_loaded_one(
    train_tiny: TrainTiny, method: str, precision: str
) -> None:
    run = train_tiny(f"method={method}", "training.epochs=0.5")
    compute = Compute("cpu", precision, 1)
    checkpoint = load_checkpoint(run.checkpoint)
    tokens = tokenise([text for text, _ in make_rows(30)], checkpoint.tokenizer, 64)
    before = compute_logits(checkpoint.network, tokens, compute, 8)
    after = compute_logits(scoring_network(checkpoint.network, compute), tokens, compute, 8)
    assert np.abs(before - after).max() < (2e-5 if precision == "fp32" else 0.2)


def test_predict_agrees_with_the_predictions_of_the_run(trained: Run, tmp_path: Path) -> None:
    rows = pq.read_table(trained.predictions / "test.parquet").to_pylist()
    source = tmp_path / "in.txt"
    source.write_text("\n".join(row["text"] for row in rows))
    out = tmp_path / "out.parquet"
    assert run(["predict", f"checkpoint={trained.folder}", f"input={source}", f"output={out}"]) == 0
    assert [row["label"] for row in pq.read_table(out).to_pylist()] == [row["predicted"] for row in rows]


def test_predict_reads_lines_on_stdin_and_prints_json_lines(
    trained: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"rocket moon star\nbread soup\n")))
    assert run(["predict", f"checkpoint={trained.folder}"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["label"] for row in rows] == ["space", "food"]
    assert sum(rows[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["input=in.csv", "output=out.xls"], "allowed: .csv, .jsonl, .parquet"),
        (["input=in.csv", "output=taken.csv"], "taken.csv exists; choose another name or add overwrite=true"),
        (["input=in.csv", "output=no/folder/out.csv"], "make it first"),
        (["input=none.csv"], "no such file"),
        (["input=none.txt"], "none.txt: no such file"),
        (["input=in.csv", "text_column=body"], "text_column: no column 'body' in in.csv; it has text, label."),
        (["input=in.csv", "keep=[id]"], "keep: no column 'id' in in.csv; it has text, label."),
        (["input=in.csv", "keep=[label]"], "keep: the output has a column 'label' already; give the input's another"),
        (["input=empty_line.txt", "keep=[id]"], "keep: got id, but empty_line.txt has lines and no columns"),
        (["input=empty_line.txt"], "line 2 is empty"),
        (["input=latin.txt"], "line 1 is not utf-8"),
    ],
)
def test_a_mistake_in_predict_is_one_line_and_writes_nothing(
    trained: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "in.csv", [("some text", "x")])
    Path("taken.csv").write_text("mine")
    Path("empty_line.txt").write_text("one\n\nthree\n")
    Path("latin.txt").write_bytes(b"caf\xe9\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert run(["predict", f"checkpoint={trained.folder}", *words]) == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert captured.err.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
