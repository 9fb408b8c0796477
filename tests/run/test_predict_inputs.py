"""What predict and eval read: by the rules of the training files where these fit, from files, pipes and terminals."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_rows, tiny_words, write_csv
from ftclf.cli.main import run
from ftclf.config import DatasetConfig
from ftclf.data import fitted_layout
from ftclf.data.streams import LineSource, read_stream
from ftclf.storage.run_folder import Run, read_json
from ftclf.system.errors import DataError

pytestmark = pytest.mark.usefixtures("no_pictures")

LABELS = {"grün": "food", "süß": "space", "heiß": "sport"}


def special_rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    other = {topic: name for name, topic in LABELS.items()}
    return [(f"{text} café", other[label]) for text, label in make_rows(count, seed)]


@pytest.fixture(scope="module")
def of_layout(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Run:
    """A run on a file without header, in Windows-1252, with semicolons and three columns."""
    folder = tmp_path_factory.mktemp("layout")
    os.environ["FTCLF_CACHE"] = str(tmp_path_factory.getbasetemp() / "cache")
    lines = [f"{number};{text};{label}" for number, (text, label) in enumerate(special_rows(90))]
    (folder / "train.csv").write_bytes("\n".join(lines).encode("cp1252"))
    words = ["dataset.columns=[id,body,kind]", "dataset.separator=;", "dataset.encoding=cp1252", "baselines=[]"]
    words += ["dataset.text_column=body", "dataset.label_column=kind", "training.epochs=12", "training.batch_size=8"]
    assert run(tiny_words(tiny_models["bert"], folder / "train.csv", folder / "run", *words)) == 0
    return Run(folder / "run")


def predicted(trained: Run, path: Path, *words: str) -> list[dict[str, Any]]:
    output = path.with_name("out.jsonl")
    assert run(["predict", str(trained.folder), f"input={path}", f"output={output}", "overwrite=true", *words]) == 0
    return [json.loads(line) for line in output.read_text().splitlines()]


@pytest.mark.parametrize(
    ("name", "content", "encoding"),
    [
        ("as_trained.csv", "1;grüner café;x\n2;zwei;y\n", "cp1252"),
        ("with_header.csv", "id;body;more\n1;grüner café;x\n2;zwei;y\n", "cp1252"),
        ("with_commas.csv", "body,more\ngrüner café,x\nzwei,y\n", "cp1252"),
        ("in_utf8.csv", "1;grüner café;x\n2;zwei;y\n", "utf-8"),
        ("marked.tsv", "body\tmore\ngrüner café\tx\nzwei\ty\n", "utf-8-sig"),
        ("objects.jsonl", '{"body": "grüner café"}\n{"body": "zwei"}\n', "utf-8"),
        ("lines.txt", "grüner café\nzwei\n", "cp1252"),
        ("lines_utf8.txt", "grüner café\nzwei\n", "utf-8"),
    ],
)
def test_predict_reads_as_train_did_where_that_fits(
    name: str, content: str, encoding: str, of_layout: Run, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content.encode(encoding))
    assert [row["text"] for row in predicted(of_layout, tmp_path / name)] == ["grüner café", "zwei"]


def test_predict_takes_the_settings_of_a_file_that_differs(of_layout: Run, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_bytes("grüner café|7\nzwei|8\n".encode("latin-1"))
    words = ["columns=[t,n]", "separator=|", "encoding=latin-1", "text_column=t", "keep=n"]
    assert [(row["text"], row["n"]) for row in predicted(of_layout, tmp_path / "other.csv", *words)] == [
        ("grüner café", "7"),
        ("zwei", "8"),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"1;caf\x81;x\n",
            "line 1 is not cp1252 (byte 0x81); save the file as UTF-8, or name its encoding, as in encoding=",
        ),
        (b"a,b\nc,d\n", "line 1 has 2 fields, the header has 3 (id, body, kind)"),
    ],
)
def test_predict_calls_its_settings_by_their_own_names(
    content: bytes, said: str, of_layout: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.csv").write_bytes(content)
    assert run(["predict", str(of_layout.folder), f"input={tmp_path / 'bad.csv'}"]) == 2
    assert said in (error := capsys.readouterr().err)
    assert "dataset." not in error


def test_eval_reads_files_as_train_did(of_layout: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{number};{text};{label}" for number, (text, label) in enumerate(special_rows(40, seed=5))]
    (tmp_path / "test.csv").write_bytes("\n".join(lines).encode("cp1252"))
    for words in (["dataset=files", f"dataset.test={tmp_path / 'test.csv'}"], [str(tmp_path / "test.csv")]):
        assert run(["eval", str(of_layout.folder), *words]) == 0
        assert "40 rows of" in capsys.readouterr().out
    rows = write_csv(tmp_path / "other.csv", special_rows(40, seed=5), header=("body", "sort"))
    words = ["dataset=files", f"dataset.test={rows}", "dataset.label_column=sort"]
    assert run(["eval", str(of_layout.folder), *words]) == 0  # a header, commas and UTF-8


def test_eval_knows_groups_of_labels_without_their_training_file(
    tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = (write_csv(tmp_path / f"{seed}.csv", make_rows(90, seed)) for seed in (1, 2))
    words = [
        f"dataset.test={test}",
        "dataset.label_groups={other: [food, space]}",
        "training.max_steps=2",
        "baselines=[]",
    ]
    assert run(tiny_words(tiny_models["bert"], train, tmp_path / "run", *words)) == 0
    expected = read_json(Run(tmp_path / "run").metrics)["test"]["accuracy"]
    train.unlink()
    capsys.readouterr()
    for more in ([], ["dataset=files", f"dataset.test={test}"]):
        assert run(["eval", str(tmp_path / "run"), *more]) == 0
        assert re.search(rf"accuracy +{expected:.4f} ", capsys.readouterr().out)


# ---- streams


def rows_of(content: bytes, **settings: Any) -> tuple[str, list[tuple[str, list[str]]]]:
    lines = iter(content.removesuffix(b"\n").split(b"\n")) if content else iter(())
    kind, rows = read_stream(lines, "stdin", DatasetConfig(name="input", **settings))
    return kind, list(rows)


@pytest.mark.parametrize(
    ("content", "kind", "texts"),
    [
        (b"one\ntwo, three\n", "lines", ["one", "two, three"]),
        (b"\xef\xbb\xbfone\r\ntwo\r\n", "lines", ["one", "two"]),
        (b'{"text": "one", "label": 1}\n\n{"text": "two"}', "jsonl", ["one", "two"]),
        (b'id,text\n1,one\n2,"two, ""x"""\n', "csv", ["one", 'two, "x"']),
        (b'"id","text"\r\n1,one\r\n', "csv", ["one"]),
        (b"id\ttext\n1\tone\n", "tsv", ["one"]),
        (b"text\none\ntwo\n", "csv", ["one", "two"]),
        (b'{"other": 1} is a text\n', "lines", ['{"other": 1} is a text']),
        (b"{smile}\n", "lines", ["{smile}"]),
        (b"", "lines", []),
    ],
)
def test_a_stream_is_what_its_first_line_says(content: bytes, kind: str, texts: list[str]) -> None:
    found, rows = rows_of(content)
    assert (found, [text for text, _ in rows]) == (kind, texts)


@pytest.mark.parametrize(
    ("content", "settings", "said"),
    [
        (b'{"text": "one"}\nplain\n', {}, "stdin: line 2 is no object with the field 'text', as line 1 is"),
        (b'{"text": "one"}\n{"text": 2}\n', {}, "stdin: line 2, column 'text': got a number (2)"),
        (b"id,text\n1,one\n2\n", {}, "stdin: line 3 has 1 fields, the header has 2 (id, text)"),
        (b"text,text\none,two\n", {}, "stdin: line 1 names the column 'text' twice"),
        (b'id,text\n1,"one\n', {}, "stdin: line 2: unexpected end of data"),
        (b"one\n\ntwo\n", {}, "stdin: line 2 is empty"),
        (
            b"one\n\xff\n",
            {},
            "stdin: line 2 is not utf-8; save it as UTF-8, or name its encoding, as in encoding=cp1252",
        ),
        (b"one\0\n", {}, "stdin: line 1 holds a NUL character"),
        (b"one\n", {"slice_columns": ["id"]}, "keep: stdin has lines and no columns"),
        (b"text\none\n", {"slice_columns": ["id"]}, "keep: no column 'id' in stdin; it has text"),
        (b'{"text": "one"}\n', {"slice_columns": ["id"]}, "keep: no field 'id' in stdin; it has text"),
    ],
)
def test_a_stream_that_does_not_keep_to_it_is_refused_by_line(
    content: bytes, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError) as caught:
        rows_of(content, **settings)
    assert said in str(caught.value)


@given(st.lists(st.binary(max_size=8)), st.lists(st.integers(1, 20), min_size=1))
def test_lines_come_whole_however_they_were_sent(lines: list[bytes], sizes: list[int]) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    content = b"\n".join(lines)
    expected = content.split(b"\n") if content else []
    if expected and not expected[-1]:
        expected.pop()
    reading, writing = os.pipe()

    def send() -> None:
        start = 0
        for number in range(len(content)):
            if start >= len(content):
                break
            size = sizes[number % len(sizes)]
            os.write(writing, content[start : start + size])
            start += size
        os.close(writing)

    sender = threading.Thread(target=send)
    sender.start()
    source = LineSource(reading)
    assert list(source) == expected
    assert not source.ready()
    sender.join()
    os.close(reading)


@pytest.mark.slow
def test_an_open_pipe_is_answered_line_by_line(trained: Run) -> None:
    command = [sys.executable, "-m", "ftclf", "predict", str(trained.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        print("soup bread", file=process.stdin, flush=True)
        assert json.loads(process.stdout.readline())["text"] == "soup bread"
        for text in ("rocket moon", "goal team"):
            start = time.perf_counter()
            print(text, file=process.stdin, flush=True)
            assert json.loads(process.stdout.readline())["text"] == text
            assert time.perf_counter() - start < 1
        process.stdin.close()
        assert process.wait() == 0


@pytest.mark.parametrize(("closing", "said"), [("<&-", "input: stdin is closed"), (">&-", "output: stdout is closed")])
def test_a_closed_stream_is_one_line(closing: str, said: str, trained: Run) -> None:
    command = f"{sys.executable} -m ftclf predict {trained.folder} {closing}"
    done = subprocess.run(command, shell=True, input="a text\n", stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr


def test_a_stream_with_columns_is_told_and_keeps_them(
    trained: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"id,text\n7,soup bread\n")))
    assert run(["predict", str(trained.folder), "keep=id"]) == 0
    out, said = capsys.readouterr()
    row = json.loads(out)
    assert (row["id"], row["text"], row["label"]) == ("7", "soup bread", "food")
    assert "stdin begins as csv does: the texts are those of its column 'text'" in said


@pytest.mark.parametrize("count", [0, 1, 8192, 8193])
def test_streams_of_any_length_are_answered(
    count: int, trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"soup\n" * count)))
    assert run(["predict", str(trained.folder), f"output={tmp_path / 'out.csv'}"]) == 0
    assert len((tmp_path / "out.csv").read_text().splitlines()) == count + 1


# ---- the layout of a file


def test_what_is_given_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id;body\n1;grün\n")
    layout = DatasetConfig(name="t", text_column="body", columns=["id", "body"], separator=";", encoding="cp1252")
    assert fitted_layout(path, layout, {"columns"}).columns == ["id", "body"]
    assert fitted_layout(path, layout, set()).columns == []
    assert fitted_layout(path, layout, {"encoding"}).encoding == "cp1252"
    assert fitted_layout(path, layout, set()).encoding == "utf-8"
