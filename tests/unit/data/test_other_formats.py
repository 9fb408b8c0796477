"""Files as spreadsheets, databases and other tools write them: read, or refused with the way to one that is."""

from __future__ import annotations

import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest

from conftest import TOPICS, make_rows, write_csv
from ftclf.cli.main import run
from ftclf.config import DatasetConfig
from ftclf.data import load_data
from ftclf.data.read import read_rows
from ftclf.system.errors import DataError

ROWS = make_rows(60)


def rows_of(path: Path, **settings: Any) -> list[tuple[str, list[str]]]:
    return [(row.text, row.labels) for row in read_rows(path, DatasetConfig(name="t", **settings))]


def refused(path: Path, content: str | bytes, **settings: Any) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        rows_of(path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("mark", "setting"), [(";", ";"), ("|", "|"), ("\t", r"\t"), ("^", "^"), ("\x01", r"\x01")])
def test_another_separator_is_named_and_read_where_it_can_be_typed(mark: str, setting: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    said = refused(path, f'text{mark}label\n"a{mark}b"{mark}x\n')
    assert f"add 'dataset.separator={setting}'" in said
    if len(setting) == 1 or setting == r"\t":
        assert rows_of(path, separator=setting) == [(f"a{mark}b", ["x"])]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "sep=;\ntext;label\na;x\n", "line 1 (sep=;) is a note to Excel: take it out and add"),
        ("a.csv", "text|label\n----+-----\na|x\n", "a table as a database prints it; export it as csv with a header"),
        ("a.csv", "text,label,,\na,x,,\n", "line 1 has empty names; delete the empty columns"),
        ("a.csv", 'text,label\n"say \\"no\\"",x\n', "double a quote inside a quoted field (a backslash"),
        ("a.csv", "<html><table>", "it is HTML, as some tools export it; open it and save it as CSV UTF-8"),
        ("a.csv", "<?xml version='1.0'?>", "it is XML"),
        ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "an old spreadsheet (.xls)"),
        ("a.csv", b"SQLite format 3\0", "an SQLite database; export"),
        ("a.csv", b"PK\x03\x04\0\0", "a zip archive or a spreadsheet"),
        ("a.csv", b"\x1f\x8b\x08\0" + zlib.compress(b"a"), "compressed with gzip; unpack it"),
        ("a.csv", b"BZh91AY&SY\0\0", "compressed with bzip2; unpack it"),
        ("a.csv", b"\x80\x04\x95\0\0", "a Python pickle, which is never opened"),
        ("a.csv", b"PAR1\0\0", "parquet; name it .parquet"),
        ("a.xlsx", b"PK\x03\x04\0\0", "it is a zip archive or a spreadsheet; unpack it, or save it as CSV UTF-8"),
        ("a.csv.gz", b"\x1f\x8b\x08\0", "it is compressed with gzip; unpack it"),
        ("a.txt", "__label__x a text\n__label__y b\n", "it is in fastText's format; write a tsv by awk"),
        ("a.txt", "a\tx\nb\ty\n", "its lines have tabs; name it .tsv"),
        ("a.txt", '{"text": "a"}\n{"text": "b"}\n', "its lines are json; name it .jsonl"),
        ("a.txt", '[{"text": "a"}]', "it is json; name it .json"),
        ("a.txt", "text,label\na,x\n", "its lines are separated by commas; name it .csv"),
        ("a.txt", "one text\nanother\n", "texts alone have no labels: a file of texts goes to ftclf predict"),
        ("a.pkl", b"\x80\x04\x95", "a Python pickle, which is never opened"),
        ("a.db", "x", "export the table as csv with a header"),
        ("a.tsv", "a stirring, funny film\t1\nb\t0\n", "has no header; name its 2 columns, as in 'dataset.columns=[t"),
        ("a.csv", "3,This is a long review of it\n1,b\n", "'dataset.columns=[label,text]'"),
        ("a.csv", "id,stars\n1,b\n", "no column 'text' in a.csv; it has id, stars."),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_refused_with_its_cure(
    name: str, content: str | bytes, said: str, tmp_path: Path
) -> None:
    assert said in refused(tmp_path / name, content)


def test_the_line_for_fasttext_files_gives_a_file_that_is_read(tmp_path: Path) -> None:
    said = refused(tmp_path / "a.txt", '__label__x a text, it\'s "one"\n__label__y b\tc\n')
    command = said.partition("write a tsv by ")[2].partition(" and add ")[0]
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    rows = rows_of(tmp_path / "rows.tsv", columns=["label", "text"], quoting=False)
    assert rows == [('a text, it\'s "one"', ["x"]), ("b c", ["y"])]


@pytest.mark.parametrize("ending", ["ndjson", "jsonlines", "tab"])
def test_other_endings_of_known_formats_are_read(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{ending}"
    path.write_text("text\tlabel\na\tx\n" if ending == "tab" else '{"text": "a", "label": "x"}\n')
    assert rows_of(path) == [("a", ["x"])]


@pytest.mark.parametrize("setting", ["columns", "separator"])
def test_settings_of_csv_are_refused_for_other_formats(setting: str, tmp_path: Path) -> None:
    value = ["text", "label"] if setting == "columns" else ";"
    said = refused(tmp_path / "a.jsonl", '{"text": "a", "label": "x"}\n', **{setting: value})
    assert said.startswith(f"dataset.{setting}: it is for csv and tsv, and a.jsonl is jsonl")


def test_a_folder_with_a_folder_per_label_is_read(tmp_path: Path) -> None:
    for number, (text, label) in enumerate(ROWS):
        (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / label / f"{number}.txt").write_text(f"{text}\n two  lines ")
    config = DatasetConfig(name="t", source="files", train=str(tmp_path / "data"))
    data = load_data(config)
    assert data.label_names == sorted(TOPICS)
    assert sum(map(len, data.splits.values())) == 60
    assert data.splits["train"].texts[0].endswith("\n two  lines ")  # as it stands in the file
    (tmp_path / "data" / "food" / "new.txt").write_text("one more")
    assert sum(map(len, load_data(config).splits.values())) == 61  # what was kept is not taken for it


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"train/a/1.txt": b"x"},
            "no text files in it, allowed: a folder per label with a file per text. Name the fold",
        ),
        ({"a/1.txt": b"x", "b/1.txt": b""}, "1 files are empty (b/1.txt); remove them, or add dataset.drop_empty=true"),
        ({"a/1.txt": b"x", "b/1.txt": b"\xff\xfe\xfa"}, "1.txt: it is UTF-16, not UTF-8"),
        ({"a/1.txt": b"x", "b/1.txt": b"caf\xe9"}, "1.txt: line 1 is not utf-8"),
        ({"a/1.txt": b"x", "b/1.txt": b"%PDF\0"}, "1.txt: it is a PDF"),
        ({"a/1.txt": b"x"}, "holds one class only"),
        ({"x.txt": b"x"}, "no text files in it"),
    ],
)
def test_a_folder_that_is_none_of_labels_is_refused(files: dict[str, bytes], said: str, tmp_path: Path) -> None:
    for name, content in files.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_data(DatasetConfig(name="t", source="files", train=str(tmp_path / "data")))
    assert said in str(caught.value)


@pytest.mark.parametrize("what", ["text", "label"])
def test_empty_rows_are_all_counted_and_can_be_left_out(what: str, tmp_path: Path) -> None:
    rows = [*ROWS, *([("  ", "food")] if what == "text" else [("a text", " ")]) * 3]
    path = write_csv(tmp_path / "rows.csv", rows)
    with pytest.raises(DataError) as caught:
        rows_of(path)
    said = f"row 62, column '{what}': the {what} is empty, as in 2 more rows (63, 64); fill or remove what is empty, or"
    assert f"{said} add dataset.drop_empty=true" in str(caught.value)
    data = load_data(DatasetConfig(name="t", source="files", train=str(path), drop_empty=True))
    assert sum(map(len, data.splits.values())) == 60
    assert "3 rows of rows.csv without a text or label are left out" in data.notes


def test_a_label_column_that_is_an_id_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "rows.csv", [(text, str(number)) for number, (text, _) in enumerate(ROWS)])
    assert run(["train", "dataset=files", f"dataset.train={path}"]) == 2
    assert "has another value in each of the 60 rows" in capsys.readouterr().err


def test_a_text_of_many_copies_stays_in_train_and_is_told(tmp_path: Path) -> None:
    rows = [*ROWS, *[("one text", "food"), ("One  text", "space")] * 15]
    data = load_data(DatasetConfig(name="t", source="files", train=str(write_csv(tmp_path / "rows.csv", rows))))
    assert all("one text" not in text.lower() for split in ("validation", "test") for text in data.splits[split].texts)
    assert "30 rows repeat 1 of the texts so often that they stay in train, as 30 times 'one text'" in data.notes
    assert "30 train rows repeat a text under different labels" in data.notes


def test_texts_that_two_splits_share_are_counted_as_the_cut_tells_them_apart(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", ROWS)
    more = make_rows(40, seed=3)
    validation = write_csv(tmp_path / "validation.csv", [(ROWS[0][0].upper(), ROWS[0][1]), *more[:12]])
    test = write_csv(tmp_path / "test.csv", [(f" {ROWS[1][0]} ", ROWS[1][1]), *more[10:30]])
    paths = {"train": str(train), "validation": str(validation), "test": str(test)}
    notes = load_data(DatasetConfig(name="t", source="files", **paths)).notes  # type: ignore[arg-type]
    assert "1 of the 13 validation rows have a text that also stands in train" in notes
    assert "1 of the 21 test rows have a text that also stands in train" in notes
    assert "2 of the 21 test rows have a text that also stands in validation" in notes


@pytest.mark.parametrize(("name", "other"), [("train", "test"), ("train", "validation"), ("validation", "test")])
@pytest.mark.parametrize("copied", [False, True])
def test_two_splits_are_not_one_file(name: str, other: str, copied: bool, tmp_path: Path) -> None:
    paths = {
        split: write_csv(tmp_path / f"{split}.csv", make_rows(30, seed)) for seed, split in enumerate(("train", name))
    }
    second = paths[name].with_name("copy.csv")
    second.write_bytes(paths[name].read_bytes())
    settings = {split: str(path) for split, path in {**paths, other: second if copied else paths[name]}.items()}
    with pytest.raises(DataError, match=f"dataset.{other}: .* holds the same rows as dataset.{name}"):
        load_data(DatasetConfig(name="t", source="files", **settings))  # type: ignore[arg-type]
