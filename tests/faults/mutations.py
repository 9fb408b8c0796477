"""Files with bytes flipped, cut, spliced, repeated and put in, read beside an independent reader."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from faults import strict
from faults.processes import in_this_process
from faults.world import Check, World
from ftclf.cli.exit_codes import guarded
from ftclf.cli.main import run
from ftclf.config import DatasetConfig
from ftclf.data.read import read_rows
from ftclf.system.errors import DataError

NAME = "mutated files: bytes flipped, cut, spliced, repeated, put in"
GOAL = "the rows that an independent reader sees, or one line and exit 2; no traceback, none over 10 s"
SHORT, LONG = 120, 2000
LIMIT = 10.0  # seconds of this thread: the machine may be busy with others
CONFIG = DatasetConfig(name="files")
FORMATS = ("csv", "tsv", "json", "jsonl", "parquet")

TOKENS = [
    *(b'"', b'""', b'"\n', b",", b"\t", b"\n", b"\r", b"\r\n", b"\n\n", b"\\", b"'", b";", b" ", b"=1+1"),
    *(
        b"\0",
        b"\x1a",
        b"\x1b[2J",
        b"\x7f",
        b"\xff",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xed\xa0\xbd",
        b"\xc3",
        b"\xf0\x9f",
    ),
    *("\u2028".encode(), "\u202e".encode(), "\u0085".encode(), "e\u0301".encode(), "🙂".encode(), "\ufeff".encode()),
    *(b"\\u0000", b"\\ud83d", b"\\ude00", b"\\u2028", b"NaN", b"-Infinity", b"1e999", b"null", b"true", b"9" * 5000),
    *(b"{", b"}", b"[", b"]", b"[" * 2000, b'{"text":', b'"label": "x", ', b":", b"{}", b"text,label\n", b"PAR1"),
]


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    for number in range(LONG if long else SHORT):
        yield seed + number, lambda seed=seed + number: _try(world, seed)


def _try(world: World, seed: int) -> str:
    return check(seed, world.folder("mutations", seed))


def check(seed: int, folder: Path) -> str:
    """Write the mutated file of a seed into a new folder and read it twice; return what differs, or nothing."""
    path = mutated(random.Random(seed), folder)
    started = time.thread_time()
    found = _rows(path)
    seconds = time.thread_time() - started
    if seconds > LIMIT:
        return f"{path.name}: it took {seconds:.1f} s"
    try:
        expected: list[tuple[str, str]] | str = strict.read(path)
    except strict.RefusedError as refusal:
        expected = str(refusal)
    if isinstance(found, str) and isinstance(expected, str):
        return _said(path, whole=seed % 8 == 0)
    return "" if found == expected else f"{path.name}: read as {str(found)[:200]}, not as {str(expected)[:200]}"


def _rows(path: Path) -> list[tuple[str, str]] | str:
    try:
        return [(row.text, row.labels[0]) for row in read_rows(path, CONFIG)]
    except DataError as error:
        return str(error)


def _said(path: Path, *, whole: bool) -> str:
    """Return what is wrong with how a file is refused: by the whole command, or quicker by the end of it alone."""
    words = ["train", "dataset=files", f"dataset.train={path}", f"run_dir={path.parent / 'run'}"]
    work = (lambda: run(words)) if whole else (lambda: guarded(lambda: len(list(read_rows(path, CONFIG)))))
    code, said = in_this_process(work)
    line = said.removesuffix("\n")
    if code == 2 and line.startswith("error: ") and line.isprintable() and len(line) < 1500:
        return "" if not (path.parent / "run").exists() else f"{path.name}: a run was begun"
    return f"{path.name}: ended with {code}: {line[:300]}"


# ---- the files


def mutated(chooser: random.Random, folder: Path) -> Path:
    """Write a file of some format that was changed at one to six places."""
    folder.mkdir(parents=True)
    path = folder / f"d.{chooser.choice(FORMATS)}"
    whole(chooser, path)
    content = path.read_bytes()
    for _ in range(chooser.choice((1, 1, 1, 2, 5))):
        content = change(chooser, content)
    path.write_bytes(content)
    return path


def whole(chooser: random.Random, path: Path) -> None:
    """Write a file that is read as it stands."""
    words = ("good", 'say "no"', "a, b", "two\nlines", "café", "🙂", "NA", "007", " x ", "tab\there")
    rows = [(" ".join(chooser.choices(words, k=3)), chooser.choice(("x", "y", "01", "é"))) for _ in range(12)]
    if path.suffix in (".csv", ".tsv"):
        _write_separated(path, rows, chooser.choice(("\n", "\r\n", "\r")))
    elif path.suffix == ".parquet":
        compression = chooser.choice(("none", "snappy"))
        pq.write_table(
            pa.table({"text": [t for t, _ in rows], "label": [n for _, n in rows]}), path, compression=compression
        )
    else:
        objects = [{"text": text, "label": label, "id": number} for number, (text, label) in enumerate(rows)]
        lines = [json.dumps(one, ensure_ascii=chooser.random() < 0.5) for one in objects]
        content = "\n".join(lines) if path.suffix == ".jsonl" else f"[{', '.join(lines)}]"
        path.write_text(content, encoding="utf-8")


def _write_separated(path: Path, rows: list[tuple[str, str]], ending: str) -> None:
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        separator = "," if path.suffix == ".csv" else "\t"
        csv.writer(file, delimiter=separator, lineterminator=ending).writerows([("text", "label"), *rows])


def change(chooser: random.Random, content: bytes) -> bytes:
    """Change one place of a file."""
    start = chooser.randrange(len(content) + 1)
    end = min(len(content), start + chooser.choice((1, 2, 7, 30, len(content))))
    match chooser.choice(
        ("bit", "byte", "cut", "repeat", "splice", "token", "token", "drop", "append", "letter", "letter")
    ):
        case "bit" if start < len(content):
            return content[:start] + bytes([content[start] ^ 1 << chooser.randrange(8)]) + content[start + 1 :]
        case "byte" if start < len(content):
            return content[:start] + chooser.randbytes(1) + content[start + 1 :]
        case "letter" if start < len(content):
            return content[:start] + chooser.choice(b"abxy01 ,").to_bytes() + content[start + 1 :]
        case "cut":
            return content[:start]
        case "repeat":
            return content[:end] + content[start:]
        case "splice":
            other = chooser.randrange(len(content) + 1)
            return content[:start] + content[other:]
        case "token":
            return content[:start] + chooser.choice(TOKENS) + content[start:]
        case "drop":
            return content[:start] + content[end:]
        case _:
            return content + chooser.choice(TOKENS)
