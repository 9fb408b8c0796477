"""Labels written as lists, by json, Python, numpy, as vectors of 0 and 1: read where it is clear, refused else."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftclf.cli.main import run
from ftclf.config import DatasetConfig
from ftclf.data import load_data
from ftclf.data.label_lists import parse_list
from ftclf.data.sources import read_source
from ftclf.system.errors import DataError

NAMES = ["sport", "food", "travel"]


def write(path: Path, cells: Sequence[Any]) -> Path:
    """Write rows with these label cells, as jsonl, csv or parquet."""
    rows = [{"text": f"text {number}", "labels": cell} for number, cell in enumerate(cells)]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["text", "labels"], *([row["text"], row["labels"]] for row in rows)])
    return path


def labels_of(path: Path, *, names: Sequence[str] = (), task: str = "multi_label", **settings: Any) -> list[list[str]]:
    """Return the labels of each row as the reader takes them."""
    if names:
        settings["label_file"] = str(path.with_name("names.txt"))
        path.with_name("names.txt").write_text("\n".join(names))
    config = DatasetConfig(name="t", source="files", train=str(path), label_column="labels", task=task, **settings)
    rows = read_source(config)[0]["train"]
    return [list(rows.combinations[number]) for number in rows.labels]


VECTORS = {
    "numbers": [[1, 0, 1], [0, 1, 0], [0, 0, 0]],
    "truth values": [[True, False, True], [False, True, False], [False, False, False]],
    "fractions": [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]],
    "texts": [["1", "0", "1"], ["0", "1", "0"], ["0", "0", "0"]],
}


@pytest.mark.parametrize("kind", VECTORS)
@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv"])
def test_a_vector_is_read_by_its_places_where_they_have_names_and_refused_else(
    kind: str, ending: str, tmp_path: Path
) -> None:
    path = write(tmp_path / f"rows.{ending}", VECTORS[kind])
    assert labels_of(path, names=NAMES) == [["sport", "travel"], ["food"], []]
    with pytest.raises(
        DataError, match=r"a vector of 0 and 1 .*dataset.label_file=FILE.*'dataset.label_columns=\[a,b\]'"
    ):
        labels_of(path)
    with pytest.raises(DataError, match=r"it has 2 names, the vectors .* have 3 places"):
        labels_of(path, names=NAMES[:2])


WRITTEN = {
    "Python": ["['sport', 'extra']", "['food']", "[]"],
    "json": ['["sport", "extra"]', '["food"]', "[]"],
    "a tuple": ["('sport', 'extra')", "('food',)", "()"],
    "a set": ["{'sport', 'extra'}", "{'food'}", ""],
    "numpy": ["['sport' 'extra']", "['food']", ""],
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_list_written_as_text_is_read_as_a_list_and_said(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", WRITTEN[kind])
    assert labels_of(path) == [["sport", "extra"], ["food"], []]
    rows = [*WRITTEN[kind][:2]] * 20
    data = load_data(
        DatasetConfig(name="t", source="files", train=str(write(path, rows)), label_column="labels", task="multi_label")
    )
    assert "column 'labels' of rows.csv is read as lists written as text" in data.notes


@pytest.mark.parametrize("cells", [["[0, 0, 1]", "[1, 0, 1]"], ["[0 0 1]", "[1 0 1]"], ["0,0,1", "1,0,1"]])
def test_a_vector_written_as_text_is_read_by_its_places(cells: list[str], tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", cells)
    delimiter = {"label_delimiter": ","} if cells[0].startswith("0") else {}
    assert labels_of(path, names=NAMES, **delimiter) == [["travel"], ["sport", "travel"]]
    with pytest.raises(DataError, match="a vector of 0 and 1"):
        labels_of(path, **delimiter)


def test_one_vector_of_a_single_label_names_its_class(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [[1, 0], [0, 1], [1, 0]])
    assert labels_of(path, names=["ham", "spam"], task="single_label") == [["ham"], ["spam"], ["ham"]]
    with pytest.raises(DataError, match="a vector of 0 and 1"):
        labels_of(path, task="single_label")


def test_lists_of_ids_stay_ids(tmp_path: Path) -> None:
    for cells in ([[0], [1], [0, 1]], [[0, 1], [], [1]], [[1], [0]], [[2, 0], [0, 1], [1, 0]]):
        assert labels_of(write(tmp_path / "rows.jsonl", cells)) == [list(map(str, cell)) for cell in cells]
    assert labels_of(write(tmp_path / "ids.jsonl", [[0], [2]]), names=NAMES) == [["0"], ["2"]]  # named later on


@pytest.mark.parametrize(
    ("cells", "settings", "said"),
    [
        (["plain", "['a', 'b']"], {}, "a list written as text (['a', 'b']) in a column of plain labels"),
        (["['a', 'b']", "plain"], {}, "'plain' is no list, but other cells are"),
        (["['a', 'b']"], {"label_delimiter": ","}, "leave dataset.label_delimiter out"),
        (["['a', 'b']", "['c']"], {"task": "single_label"}, "a list of 2 labels ('['a', 'b']'); add dataset.task="),
        (
            ["[sport, extra]"],
            {},
            'looks like a list and is none of json; put quotes around its names, as in ["a", "b"]',
        ),
        (["[0 0 1 ... 0 1 0]"], {}, "a list that numpy has shortened (...)"),
        (["{'a': 0.5, 'b': 1}"], {}, "an object written as text"),
        (["['a', None]"], {}, "got nothing (null), allowed: text or a whole number"),
        (["[0, 0, 1]", "[0, 1]"], {"names": NAMES}, "got [0, 1], allowed: 3 values of 0 and 1"),
        (["[0, 0, 1]", "[0, 1, 2]"], {"names": NAMES}, "got [0, 1, 2], allowed: 3 values of 0 and 1"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(
    cells: list[str], settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        labels_of(write(tmp_path / "rows.csv", cells), **settings)
    assert said in str(caught.value)
    assert "row" in str(caught.value)


def test_names_in_brackets_stay_names(tmp_path: Path) -> None:
    cells = ["[other]", "(0, 10]", "{x}", "[deleted", "a"]
    assert labels_of(write(tmp_path / "rows.csv", cells), task="single_label") == [[cell] for cell in cells]


@given(st.lists(st.one_of(st.text(max_size=20), st.integers(-(10**17), 10**17), st.booleans()), max_size=6))
def test_any_list_survives_json_and_python(values: list[Any]) -> None:
    assert parse_list(json.dumps(values, ensure_ascii=False)) is not None or not _plain(values)
    if _plain(values):
        assert parse_list(json.dumps(values, ensure_ascii=False)) == values
        assert parse_list(repr(values)) == values
        assert parse_list(repr(tuple(values))) == values


def _plain(values: list[Any]) -> bool:
    """Return whether Python and json write no value in a way that only one of them reads."""
    return all(not isinstance(value, str) or (value.isprintable() and "\\" not in value) for value in values)


@given(st.text(alphabet="[](){}'\", 01ab\\.\n", max_size=40))
def test_no_text_breaks_the_reader_of_lists(text: str) -> None:
    values = parse_list(text)
    assert values is None or isinstance(values, list)


def test_columns_of_0_and_1_may_be_written_with_a_fraction(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,sport,food\na,1.0,0.0\nb,0.0,1.0\nc,1,true\n")
    assert labels_of(path, label_columns=["sport", "food"]) == [["sport"], ["food"], ["sport", "food"]]


@pytest.mark.parametrize(
    "content",
    [
        "0\tnegative\n1\tpositive\n",
        "0,negative\n1,positive\n",
        "id\tname\n0\tx\n1\ty\n",
        "0: a\n1: b\n",
        '["a",\n"b"]\n',
    ],
)
def test_a_label_file_of_another_layout_is_refused(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.txt").write_text(content)
    path = write(tmp_path / "rows.csv", ["0", "1"] * 20)
    words = [f"dataset.train={path}", "dataset.label_column=labels", f"dataset.label_file={tmp_path / 'names.txt'}"]
    assert run(["train", "dataset=files", *words]) == 2
    assert "allowed: one label name per line and nothing else" in capsys.readouterr().err


def test_names_that_begin_with_a_number_are_names(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [[0], [1]])
    assert labels_of(path, names=["1 star", "2 stars"]) == [["0"], ["1"]]
