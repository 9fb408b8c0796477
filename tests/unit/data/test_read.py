"""Reading files: what is accepted comes through unchanged, what is refused names file, row and column."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftclf.config import DatasetConfig
from ftclf.data.dataset import Row
from ftclf.data.read import read_folders, read_names, read_rows
from ftclf.system.errors import DataError

ROWS = [
    ("a plain text", "x"),
    ('with "quotes", commas\nand lines', "y"),
    ("NA", "null"),
    ("007", "01"),
    ("emoji 🙂", "x"),
]


def config(**changes: object) -> DatasetConfig:
    return DatasetConfig(name="test", **changes)  # type: ignore[arg-type]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, **changes: object) -> list[Row]:
    return list(read_rows(path, config(**changes)))


def texts(rows: Iterable[Row]) -> list[str]:
    return [row.text for row in rows]


def refused(path: Path, **changes: object) -> str:
    with pytest.raises(DataError) as caught:
        read(path, **changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("text", "label"), *ROWS])
    tabs = io.StringIO()
    csv.writer(tabs, delimiter="\t").writerows([("text", "label"), *ROWS])
    objects = [{"text": text, "label": label} for text, label in ROWS]
    files = [
        write(tmp_path / "a.csv", buffer.getvalue()),
        write(tmp_path / "bom.csv", b"\xef\xbb\xbf" + buffer.getvalue().encode()),
        write(tmp_path / "a.tsv", tabs.getvalue()),
        write(tmp_path / "a.json", json.dumps(objects)),
        write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, objects)) + "\n\n"),
    ]
    pq.write_table(pa.Table.from_pylist(objects), tmp_path / "a.parquet")
    for path in [*files, tmp_path / "a.parquet"]:
        assert [(row.text, *row.labels) for row in read(path)] == ROWS, path


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.text(min_size=1).filter(lambda t: t.strip() and "\0" not in t),
            st.text(min_size=1).filter(lambda t: t.strip() and "\0" not in t),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_text_survives_a_csv_unchanged(rows: list[tuple[str, str]], tmp_path: Path) -> None:
    rows = [(t.encode("utf-8", "ignore").decode(), n.encode("utf-8", "ignore").decode()) for t, n in rows]
    rows = [(t, n) for t, n in rows if t.strip() and n.strip()] or [("t", "n")]
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("text", "label"), *rows])
    found = read(write(tmp_path / "wild.csv", buffer.getvalue()))
    assert [(row.text, row.labels) for row in found] == [(text, [label.strip()]) for text, label in rows]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200), ending=st.sampled_from(["csv", "tsv", "json", "jsonl", "parquet"]))
def test_any_bytes_are_read_or_refused_in_one_line(content: bytes, ending: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"wild.{ending}", content)
    try:
        found = read(path, columns=["text", "label"] if ending in ("csv", "tsv") else [])
        assert all(row.text.strip() for row in found)
    except DataError as error:
        if "\n" in str(error):
            raise


def test_a_file_without_a_header_takes_its_names_from_the_settings(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", 'He said "no\t1,2\tid1\nyes"\t0\tid2\n')
    layout = {"columns": ["text", "labels", "id"], "label_column": "labels", "label_delimiter": ","}
    found = read(path, **layout, quoting=False)
    assert [(row.text, row.labels) for row in found] == [('He said "no', ["1", "2"]), ('yes"', ["0"])]


def test_json_labels_may_be_numbers_truth_values_and_lists(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": 1}, {"text": "b", "label": True}, {"text": "c", "label": ["x", "y"]}]
    found = read(write(tmp_path / "t.json", json.dumps(rows)))
    assert [row.labels for row in found] == [["1"], ["true"], ["x", "y"]]


def test_a_missing_file_gets_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path / "reviews.csv", "text,label\na,b\n")
    assert refused(tmp_path / "review.csv").endswith("no such file. Did you mean 'reviews.csv'?")
    assert "a folder" in refused(tmp_path)


def test_a_csv_with_another_mark_between_its_columns_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"its columns are separated by ';': add 'dataset.separator=;'"):
        read(write(tmp_path / "a.csv", "text;label\na;x\n"))


def test_another_encoding_is_read_when_it_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", b"text,label\ncaf\xe9,x\n")
    assert texts(read(path, encoding="cp1252")) == ["café"]
    assert "a codec of Python" in refused(path, encoding="klingon")


def test_a_place_far_down_a_file_is_exact(tmp_path: Path) -> None:
    rows = b"text,label\n" + "".join(f"text 🙂 {row},x\n" for row in range(2, 5000)).encode()
    assert "line 5000 is not utf-8 (byte 0xe9)" in refused(
        write(tmp_path / "a.csv", rows + b"caf\xe9 au lait,x\na,b\n")
    )
    assert "line 5000 holds a NUL" in refused(write(tmp_path / "b.csv", rows + b"a\0,x\na,b\n"))
    assert "line 5000 has 3 fields" in refused(write(tmp_path / "c.csv", rows + b"a,b,c\na,b\n"))


def test_utf_16_is_read_with_and_without_its_mark(tmp_path: Path) -> None:
    content = "text,label\ncafé,x\n"
    for name, encoded in (("a.csv", content.encode("utf-16")), ("b.csv", content.encode("utf-16-le"))):
        assert texts(read(write(tmp_path / name, encoded), encoding="utf-16")) == ["café"]


def test_line_numbers_hold_behind_quoted_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", 'text,label\n"a\nb",x\n\nc,\n')
    assert "row 5, column 'label'" in refused(path)


def test_folders_of_texts_are_read_by_label(tmp_path: Path) -> None:
    for label, content in (("b", b"caf\xe9  noir\n"), ("a", "grüße\n\nzwei".encode())):
        (tmp_path / label).mkdir()
        write(tmp_path / label / "1.txt", content)
    (tmp_path / "__pycache__").mkdir()
    assert [(row.text, row.labels) for row in read_folders(tmp_path)] == [("grüße zwei", ["a"]), ("café noir", ["b"])]
    with pytest.raises(DataError, match="no text files in it, allowed: a folder per label"):
        list(read_folders(tmp_path / "__pycache__"))


def test_a_label_file_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.txt", "joy\nanger\njoy\n")
    with pytest.raises(DataError, match="label 'joy' stands in it twice"):
        read_names(path, "utf-8")
