"""`ftclf check labels=true` and `apply=`: planted wrong labels are found, and corrected; test stays as it is."""

from __future__ import annotations

import csv
import json
import random
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import MODELS, TOPICS, write_csv
from ftclf.cli.compose import checked_jobs, parse, register
from ftclf.cli.main import run
from ftclf.config import DatasetConfig
from ftclf.data import load_data
from ftclf.data.check.finding import labels_of
from ftclf.storage.run_folder import Run

pytestmark = pytest.mark.usefixtures("no_pictures")

PLANTED = (3, 40, 77, 120, 151, 200)  # rows of train with another label
TABLE = ("split", "file", "row", "text", "given", "suggested", "confidence", "why", "correct")


def topical_rows(count: int) -> list[tuple[str, str]]:
    """Return (text, label) rows whose mean vectors lie apart by any encoder."""
    chooser, topics = random.Random(0), list(TOPICS)
    labels = [topics[number % len(topics)] for number in range(count)]
    return [(" ".join(chooser.choices(TOPICS[label], k=40)), label) for label in labels]


def flawed(folder: Path, *, formula: bool = False) -> list[str]:
    """Write a train and a test file, some labels of train wrong; return the settings that name them."""
    rows, tests = topical_rows(240), topical_rows(300)[240:]
    wrong = [
        (text, "sport" if label == "food" else "food") if n in PLANTED else (text, label)
        for n, (text, label) in enumerate(rows)
    ]
    if formula:
        wrong = [(f"={text}" if n in PLANTED else text, label) for n, (text, label) in enumerate(wrong)]
    tests[5] = (tests[5][0], "sport" if tests[5][1] == "food" else "food")
    write_csv(folder / "train.csv", wrong)
    write_csv(folder / "test.csv", tests)
    return ["dataset=files", f"dataset.train={folder / 'train.csv'}", f"dataset.test={folder / 'test.csv'}"]


Check = Callable[..., int]


@pytest.fixture
def check(tiny_models: dict[str, Path]) -> Check:
    return lambda *words: run(["check", *words, f"model.name={tiny_models['bert']}"])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def lines_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_planted_labels_are_listed_corrected_and_trained_on(
    check: Check, tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = flawed(tmp_path, formula=True)
    assert check(*data, "labels=true", f"output={tmp_path / 'out'}") == 0
    printed = capsys.readouterr()
    assert not printed.err
    findings = json.loads((tmp_path / "out" / "check.json").read_text())["findings"]
    finding, of_test = (
        finding for finding in findings if finding["check"] == "labels" and "label," in finding["title"]
    )
    assert (finding["verdict"], of_test["verdict"]) == ("warning", "note")
    assert finding["count"] == pytest.approx(len(PLANTED), abs=3)
    assert "fits better" in finding["examples"][0]["why"]
    listed = table(tmp_path / "out" / "labels.csv")
    assert tuple(listed[0]) == TABLE
    assert not any(row["correct"] for row in listed)
    places = {f"{row['file']}:{row['row']}" for row in listed[:8]}
    planted = {f"train.csv:{number + 2}" for number in PLANTED}
    assert len(places & planted) >= 5
    assert all(row["text"].startswith("'=") for row in listed if f"{row['file']}:{row['row']}" in planted)
    tests = table(tmp_path / "out" / "labels_test.csv")
    assert "correct" not in tests[0]
    assert "test.csv" in {row["file"] for row in tests}
    for row in listed:
        row["correct"] = row["suggested"] if f"{row['file']}:{row['row']}" in planted else ""
    edited = write_table(tmp_path / "edited.csv", listed, delimiter=";")
    assert check(*data, f"apply={edited}", f"fix={tmp_path / 'fixed'}") == 0
    changed = table(tmp_path / "fixed" / "changes.csv")
    assert len(changed) == len([row for row in listed if row["correct"]])
    copy = {
        row["text"]: row["label"]
        for split in ("train", "validation")
        for row in table(tmp_path / "fixed" / f"{split}.csv")
    }
    truth = dict(topical_rows(240))
    assert all(copy[row["text"].removeprefix("'")] == truth[row["text"].removeprefix("'=")] for row in changed)
    given = table(tmp_path / "test.csv")
    assert table(tmp_path / "fixed" / "test.csv") == given
    commands = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  ftclf")]
    few = ["training.max_steps=2", "training.precision=fp32", "baselines=[]"]
    assert all(f"model.name={tiny_models['bert']}" in command for command in commands[:2])
    for command in commands[:2]:
        assert run([*shlex.split(command)[1:-1], *few, f"run_dir={tmp_path / shlex.split(command)[-1]}"]) == 0
    folders = [str(tmp_path / f"run_dir={name}") for name in shlex.split(commands[2])[2:]]
    capsys.readouterr()
    assert run(["compare", *folders]) == 0
    assert "inconclusive" in capsys.readouterr().out  # two runs, on the same test rows


def test_a_wrong_line_of_the_csv_is_refused_and_nothing_is_written(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = flawed(tmp_path)
    texts = [row["text"] for row in table(tmp_path / "train.csv")]
    test = table(tmp_path / "test.csv")[0]
    labels = [row["label"] for row in table(tmp_path / "train.csv")]
    good = {"file": "train.csv", "row": "5", "text": texts[3], "given": labels[3], "correct": "space"}
    cases: list[tuple[list[dict[str, str]], str]] = [
        ([good | {"text": "another text"}], ":2: train.csv, row 5 holds another text"),
        ([good | {"row": "999"}], ":2: the data set has no row '999' of 'train.csv'"),
        ([good | {"given": "space"}], f":2: train.csv, row 5 is labelled {labels[3]}"),
        (
            [good, good | {"row": "6", "text": texts[4], "given": labels[4], "correct": "spase"}],
            ":3: correct: no label 'spase'",
        ),
        ([good, good], ":3: the row of line 2 again"),
        (
            [good | {"file": "test.csv", "row": "2", "text": test["text"], "given": test["label"]}],
            ":2: test.csv, row 2 is a test row",
        ),
        ([good | {"correct": " "}], "the column correct is empty"),
        ([{name: cell for name, cell in good.items() if name != "correct"}], "no column correct"),
    ]
    for rows, expected in cases:
        edited = write_table(tmp_path / "edited.csv", rows)
        assert check(*data, f"apply={edited}", f"fix={tmp_path / 'fixed'}") == 2
        error = capsys.readouterr().err
        assert expected in error
        assert error.count("\n") == 1
        assert not (tmp_path / "fixed").exists()


def test_settings_that_do_not_go_together_are_refused(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = flawed(tmp_path)
    assert check(*data, "apply=labels.csv") == 2
    assert "add fix=FOLDER" in capsys.readouterr().err
    assert check(*data, "apply=labels.csv", "fix=x", "labels=true") == 2
    assert "labels: got true" in capsys.readouterr().err
    assert check(*data, f"apply={tmp_path / 'none.csv'}", "fix=x") == 2
    assert "no such file" in capsys.readouterr().err


def test_several_labels_per_row_are_suggested_and_applied(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(text, [label] if n not in PLANTED else []) for n, (text, label) in enumerate(topical_rows(240))]
    (tmp_path / "train.jsonl").write_text(
        "".join(json.dumps({"text": text, "label": names}) + "\n" for text, names in rows)
    )
    data = ["dataset=files", f"dataset.train={tmp_path / 'train.jsonl'}", "dataset.task=multi_label"]
    assert check(*data, "labels=true", "folds=3", f"output={tmp_path / 'out'}") == 0
    listed = table(tmp_path / "out" / "labels.csv")
    for row in listed:
        row["correct"] = row["suggested"] if row["given"] == "(none)" else "food|space"
    edited = write_table(tmp_path / "edited.csv", listed)
    assert check(*data, f"apply={edited}", f"fix={tmp_path / 'fixed'}") == 0
    copy = {
        row["text"]: row["label"]
        for split in ("train", "validation")
        for row in lines_of(tmp_path / "fixed" / f"{split}.jsonl")
    }
    for row in listed:
        assert copy[row["text"]] == ([] if row["correct"] == "(none)" else row["correct"].split("|"))
    assert "dataset.task=multi_label" in capsys.readouterr().out


@pytest.mark.slow
def test_a_fine_tuned_judge_finds_planted_labels(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [*flawed(tmp_path), "dataset.default_epochs=6"]
    assert check(*data, "labels=true", "judge=full", "folds=2", f"output={tmp_path / 'out'}") == 0
    printed = capsys.readouterr()
    assert not printed.err
    assert "loss" not in printed.out  # the training of the folds says nothing
    listed = table(tmp_path / "out" / "labels.csv")
    assert {int(row["row"]) - 2 for row in listed} & set(PLANTED)


def test_the_report_marks_doubtful_test_rows_and_scores_them(train_tiny: Callable[..., Run], tmp_path: Path) -> None:
    rows = topical_rows(300)
    tests = [(text, "sport" if number % 9 == 0 else label) for number, (text, label) in enumerate(rows[240:])]
    wrong = {number for number in range(0, 60, 9) if rows[240 + number][1] != "sport"}
    data, test = write_csv(tmp_path / "train.csv", rows[:240]), write_csv(tmp_path / "test.csv", tests)
    words = [f"dataset.train={data}", f"dataset.test={test}", "training.epochs=8", "training.batch_size=8"]
    finished = train_tiny(*words, "training.learning_rate=2e-3", "baselines=[]", "method=full")
    section = finished.report.read_text(encoding="utf-8").partition('id="run1-doubtful"')[2].partition("</section>")[0]
    assert "marked as doubtful and never removed" in section
    assert {number for number in range(60) if f"test.csv:{number + 2}<" in section} & wrong
    assert json.loads(finished.metrics.read_text())["test"]["rows"] == 60


def test_every_kind_of_model_can_judge(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    data = flawed(tmp_path)
    for name in MODELS:
        words = [*data, "labels=true", "folds=2", f"model.name={tiny_models[name]}", f"output={tmp_path / name}"]
        assert run(["check", *words]) == 0
        assert (tmp_path / name / "labels.csv").exists()


def applied(check: Check, tmp_path: Path, data: list[str], *rows: dict[str, str]) -> int:
    """Apply lines of a csv to a copy in tmp_path / "fixed"."""
    edited = write_table(tmp_path / "edited.csv", list(rows))
    return check("dataset=files", *data, f"apply={edited}", f"fix={tmp_path / 'fixed'}")


def correction(file: str, row: int, text: str, given: str, correct: str, **more: str) -> dict[str, str]:
    return {"file": file, "row": str(row), "text": text, "given": given, "correct": correct, **more}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_ids_in_lists_stay_names_though_one_looks_like_a_vector(check: Check, tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "label": [[0], [1], [0, 1]][n % 3], "note": "\ud83d"} for n in range(30)]
    (tmp_path / "names.txt").write_text("a\nb\n")
    path = write_lines(tmp_path / "d.jsonl", rows)
    data = [f"dataset.train={path}", f"dataset.label_file={tmp_path / 'names.txt'}", "dataset.task=multi_label"]
    assert applied(check, tmp_path, data, correction("d.jsonl", 3, "text 2", "a|b", "a")) == 0
    copy = {
        row["text"]: row for split in ("train", "validation") for row in lines_of(tmp_path / "fixed" / f"{split}.jsonl")
    }
    assert copy["text 2"]["label"] == ["a"]
    assert copy["text 1"]["note"] == "\ud83d"


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.int64()), pa.list_(pa.bool_())], ids=["ids in lists", "vectors of truth values"]
)
def test_labels_of_a_parquet_file_are_corrected_in_their_form(kind: Any, check: Check, tmp_path: Path) -> None:
    ids = [[0], [1], [0, 2]]
    cells = [[k in one for k in range(3)] for one in ids] if pa.types.is_boolean(kind.value_type) else ids
    rows = {"text": [f"text {n}" for n in range(30)], "label": pa.array([cells[n % 3] for n in range(30)], kind)}
    pq.write_table(pa.table(rows), tmp_path / "d.parquet")
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    data = [f"dataset.train={tmp_path / 'd.parquet'}", f"dataset.label_file={tmp_path / 'names.txt'}"]
    data += ["dataset.task=multi_label"]
    assert applied(check, tmp_path, data, correction("d.parquet", 3, "text 2", "a|c", "b")) == 0
    parts = {split: str(tmp_path / "fixed" / f"{split}.parquet") for split in ("train", "validation", "test")}
    copy = load_data(
        DatasetConfig(name="c", source="files", label_file=str(tmp_path / "names.txt"), task="multi_label", **parts)
    )
    found = {text: labels_of(copy, split, row) for split in parts for row, text in enumerate(copy.splits[split].texts)}
    assert (found["text 2"], found["text 5"], found["text 1"]) == (["b"], ["a", "c"], ["b"])


@pytest.mark.parametrize(
    ("cells", "kind", "names"),
    [
        ([False, True], pa.bool_(), ("false", "true")),
        ([0, 1], pa.int8(), ("0", "1")),
        (["a", "b"], pa.dictionary(pa.int32(), pa.string()), ("a", "b")),
        (["a", "b"], pa.large_string(), ("a", "b")),
        ([[False], [True]], pa.list_(pa.bool_()), ("false", "true")),
        ([[0], [1]], pa.large_list(pa.int64()), ("0", "1")),
        ([["a"], ["b"]], pa.list_(pa.dictionary(pa.int32(), pa.string())), ("a", "b")),
    ],
    ids=lambda part: str(part) if isinstance(part, pa.DataType) else "",
)
def test_names_replace_labels_of_any_type_of_a_parquet_file(
    cells: list[Any], kind: Any, names: tuple[str, str], check: Check, tmp_path: Path
) -> None:
    rows = {"text": [f"text {n}" for n in range(30)], "label": pa.array([cells[n % 2] for n in range(30)], kind)}
    pq.write_table(pa.table(rows), tmp_path / "d.parquet")
    task = "multi_label" if isinstance(cells[0], list) else "single_label"
    data = [f"dataset.train={tmp_path / 'd.parquet'}", f"dataset.task={task}"]
    assert applied(check, tmp_path, data, correction("d.parquet", 3, "text 2", names[0], names[1])) == 0
    parts = {split: str(tmp_path / "fixed" / f"{split}.parquet") for split in ("train", "validation", "test")}
    copy = load_data(DatasetConfig(name="c", source="files", task=task, **parts))  # type: ignore[arg-type]
    found = {text: labels_of(copy, split, row) for split in parts for row, text in enumerate(copy.splits[split].texts)}
    assert (found["text 2"], found["text 4"], found["text 1"]) == ([names[1]], [names[0]], [names[1]])


def test_a_setting_of_check_without_effect_is_told(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(*flawed(tmp_path), "judge=lora", "similarity=0.9", f"output={tmp_path / 'out'}") == 0
    said = capsys.readouterr().err
    assert "judge has no effect with labels=false" in said
    assert "similarity has no effect with semantic=false" in said


def test_columns_of_grouped_labels_keep_what_the_correction_keeps(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("food", "space", "sport")
    rows = [{"text": f"text {n}", **{name: int(k == n % 3) for k, name in enumerate(names)}} for n in range(30)]
    path = write_table(tmp_path / "d.csv", [{key: str(cell) for key, cell in row.items()} for row in rows])
    data = [f"dataset.train={path}", "dataset.label_columns=[food,space,sport]", "dataset.task=multi_label"]
    data += ["dataset.label_groups={g:[food,space]}"]
    assert applied(check, tmp_path, data, correction("d.csv", 4, "text 2", "sport", "g|sport")) == 2
    assert "'g' is a group of dataset.label_groups" in capsys.readouterr().err
    assert applied(check, tmp_path, data, correction("d.csv", 3, "text 1", "g", "g|sport")) == 0
    parts = [table(tmp_path / "fixed" / f"{split}.csv") for split in ("train", "validation")]
    (row,) = (row for part in parts for row in part if row["text"] == "text 1")
    assert [row[name] for name in names] == ["0", "1", "1"]


@pytest.mark.parametrize("name", ["very good", "a:b", "a, b", "[x]y", "joy (all)", "it's"])
def test_a_copy_of_grouped_labels_is_trained_by_the_command_that_is_printed(
    name: str, check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_lines(tmp_path / "d.jsonl", [{"text": f"text {n}", "label": "abc"[n % 3]} for n in range(30)])
    configs = tmp_path / "configs" / "dataset"
    configs.mkdir(parents=True)
    settings = {"name": "mine", "source": "files", "train": str(path), "label_groups": {name: ["a", "b"]}}
    (configs / "mine.yaml").write_text(json.dumps(settings))
    edited = write_table(tmp_path / "edited.csv", [correction("d.jsonl", 3, "text 2", "c", name)])
    words = ["--config-dir", str(configs.parent), "dataset=mine", f"apply={edited}", f"fix={tmp_path / 'fixed'}"]
    if name == "it's":
        assert check(*words) == 2
        assert "error: fix: dataset.label_groups: 'it's' cannot stand in a command" in capsys.readouterr().err
        assert not (tmp_path / "fixed").exists()
        return
    assert check(*words) == 0
    (command,) = (line for line in capsys.readouterr().out.splitlines() if "train dataset=files" in line)
    register()
    config = checked_jobs("train", parse(shlex.split(command)[2:]))[0].dataset
    assert config.label_groups == {name: ["a", "b"]}
    assert set(load_data(config).label_names) == {name, "c"}


def test_files_of_one_name_in_several_folders_are_told_apart_by_the_split(check: Check, tmp_path: Path) -> None:
    paths = {
        split: write_lines(
            tmp_path / split / "d.jsonl", [{"text": f"{split} {n}", "label": "ab"[n % 2]} for n in range(9)]
        )
        for split in ("train", "validation", "test")
    }
    data = [f"dataset.{split}={path}" for split, path in paths.items()]
    assert applied(check, tmp_path, data, correction("d.jsonl", 2, "train 1", "b", "a", split="train")) == 0
    assert lines_of(tmp_path / "fixed" / "train.jsonl")[1]["label"] == "a"


def test_the_last_train_row_of_a_label_is_not_taken_from_it(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = []
    for split in ("train", "validation", "test"):
        rows = [{"text": f"{split} {n}", "label": "rare" if n == 0 else "ab"[n % 2]} for n in range(30)]
        data.append(f"dataset.{split}={write_lines(tmp_path / f'{split}.jsonl', rows)}")
    assert applied(check, tmp_path, data, correction("train.jsonl", 1, "train 0", "rare", "a")) == 2
    assert "no train row of rare would be left" in capsys.readouterr().err


def test_the_last_train_row_of_one_of_several_labels_is_not_left_without_it(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["dataset.task=multi_label"]
    for split in ("train", "validation", "test"):
        rows = [{"text": f"{split} {n}", "label": ["rare"] if n == 0 else ["a", "b"][: 1 + n % 2]} for n in range(30)]
        data.append(f"dataset.{split}={write_lines(tmp_path / f'{split}.jsonl', rows)}")
    assert applied(check, tmp_path, data, correction("train.jsonl", 1, "train 0", "rare", "(none)")) == 2
    assert "no train row of rare would be left" in capsys.readouterr().err
    assert applied(check, tmp_path, data, correction("train.jsonl", 2, "train 1", "a|b", "(none)")) == 0
