"""What a bad input is: files, and the one line or the rows that must come of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ftclf.config import DatasetConfig
from ftclf.data.read import read_rows

Content = str | bytes | list[Any] | Callable[[Path], object]  # a list: columns or objects of a parquet or json file
Seen = list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Case:
    """Files, what is given to the command, and either what its one line says or what the reader sees."""

    name: str
    files: dict[str, Content]
    says: tuple[str, ...] = ()
    rows: Seen = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)  # of the data set
    words: tuple[str, ...] = ()  # another command line

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            write(folder / name, content)

    def command(self, folder: Path, checkpoint: Path) -> list[str]:
        """Return the command line that must be refused. The first file is the training file."""
        if self.words:
            return [word.format(folder=folder, checkpoint=checkpoint) for word in self.words]
        given = {"train": next(iter(self.files)), **self.settings}
        paths = {"train", "validation", "test", "label_file"}
        words = [f"dataset.{name}={folder / value if name in paths else value}" for name, value in given.items()]
        return ["train", "dataset=files", *words, f"run_dir={folder / 'run'}"]

    def wrong_line(self, code: int, said: str) -> str:
        """Return what is wrong with how the command ended, or nothing."""
        one_line = said.startswith("error: ") and said.count("\n") == 1 and len(said) < 1500
        if code == 2 and one_line and all(part in said for part in self.says):
            return ""
        return f"{self.name}: ended with {code}, and said not {self.says} but: {said[:500]}"

    def wrong_rows(self, folder: Path) -> str:
        """Return what is wrong with the rows of the first file, or nothing."""
        config = DatasetConfig(name="files", **self.settings)
        found = [(row.text, row.labels) for row in read_rows(folder / next(iter(self.files)), config)]
        return "" if found == self.rows else f"{self.name}: read as {str(found)[:500]}"


def write(path: Path, content: Content) -> None:
    if callable(content):
        content(path)
    elif isinstance(content, list):
        if path.suffix == ".parquet":
            pq.write_table(pa.table(dict(content)), path)
        else:
            path.write_text(json.dumps(content))
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def refused(name: str, file: str, content: Content, *says: str, **more: Any) -> Case:
    """Return a case whose line must hold all of `says`; files among `more` have a dot in their name."""
    others = {key: value for key, value in more.items() if "." in key}
    settings = {key: value for key, value in more.items() if "." not in key and key != "words"}
    return Case(name, {file: content, **others}, says, settings=settings, words=more.get("words", ()))


def seen(name: str, file: str, content: Content, *rows: tuple[str, ...], **settings: Any) -> Case:
    """Return a case whose rows must be these, each a text and its labels."""
    return Case(name, {file: content}, rows=[(text, list(labels)) for text, *labels in rows], settings=settings)


def csv_of(*labels: str) -> str:
    """Return a csv file of twenty texts with these labels in turn."""
    return "text,label\n" + "".join(f"text {i},{labels[i % len(labels)]}\n" for i in range(20))


def objects(*rows: str) -> str:
    return "\n".join(rows) + "\n"


HEAD = "text,label\n"
GOOD = '{"text": "a", "label": "x"}'
ROWS = csv_of("x", "y")
TYPED = [("text", ["a", "b"])]
TRAIN = ("train", "dataset=files", "dataset.train={folder}/d.csv", "run_dir={folder}/run")
MULTI = {"task": "multi_label"}
TWO = [("a", "x"), ("b", "y")]


def parquet_bytes() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(99)], "label": ["x", "y", "z"] * 33}), sink)
    return sink.getvalue().to_pybytes()


def hollow() -> bytes:
    """Return a parquet file whose footer is whole and whose pages are not."""
    content = parquet_bytes()
    return content[:4] + b"\xff" * 200 + content[204:]


def no_utf_8() -> pa.Table:
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
    return pa.table({"text": broken, "label": ["x"]})


def twice() -> pa.Table:
    return pa.table([pa.array(["a"]), pa.array(["b"]), pa.array(["x"])], names=["text", "text", "label"])
