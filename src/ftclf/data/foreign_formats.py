"""Files that are not what their name says: what they are, and the way to one that can be read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

START = 8192  # bytes of a file that tell what it is
UNPACK = "unpack it"
AS_CSV = "open it and save it as CSV UTF-8"
MAGIC = {
    b"PAR1": "parquet; name it .parquet",
    b"\x1f\x8b": f"compressed with gzip; {UNPACK}",
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or save it as CSV UTF-8",
    b"BZh": f"compressed with bzip2; {UNPACK}",
    b"\xfd7zXZ": f"compressed with xz; {UNPACK}",
    b"(\xb5/\xfd": f"compressed with zstd; {UNPACK}",
    b"7z\xbc\xaf": f"a 7-Zip archive; {UNPACK}",
    b"Rar!": f"a RAR archive; {UNPACK}",
    b"\xd0\xcf\x11\xe0": f"an old spreadsheet (.xls); {AS_CSV}",
    b"SQLite format 3": "an SQLite database; export: sqlite3 -csv -header FILE 'select * from TABLE' > rows.csv",
    b"ARROW1": "a feather file; save it as parquet",
    b"ORC": "an ORC file; save it as parquet",
    b"Obj\x01": "an Avro file; save it as parquet",
    b"\x89HDF": "an HDF5 file; save the table as parquet",
    b"\x93NUMPY": "a numpy array; save the table as parquet or csv",
    b"%PDF": "a PDF; save its rows as csv",
    b"{\\rtf": "rich text (RTF); save it as plain text",
    b"<!DOCTYPE": f"HTML, as some tools export it; {AS_CSV}",
    b"<html": f"HTML, as some tools export it; {AS_CSV}",
    b"<table": f"HTML, as some tools export it; {AS_CSV}",
    b"<?xml": f"XML, as some tools export it; {AS_CSV}",
    **{
        bytes([0x80, protocol]): "a Python pickle, which is never opened; save the table as parquet or csv"
        for protocol in range(2, 6)
    },
}
ENDINGS = {
    **dict.fromkeys(("gz", "zip", "bz2", "xz", "zst", "7z", "rar", "tar", "tgz"), UNPACK),
    **dict.fromkeys(("xlsx", "xls", "xlsm", "ods", "numbers"), AS_CSV),
    **dict.fromkeys(("feather", "arrow", "orc", "avro", "h5", "npy", "npz"), "save it as parquet"),
    **dict.fromkeys(("pkl", "pickle"), "a pickle is never opened; save the table as parquet or csv"),
    **dict.fromkeys(("db", "sqlite", "sqlite3"), "export the table as csv with a header"),
    **dict.fromkeys(("xml", "html", "htm", "docx", "doc", "pdf"), "save its rows as csv, one row per text"),
}
MARKS = {"\t": r"\t", ";": ";", "|": "|", ",": ",", "^": "^", "~": "~", "\x01": r"\x01"}
FASTTEXT = "__label__"
# A label in front of a text, as a line that awk writes for `columns: [label, text]`.
FROM_FASTTEXT = (
    r"""awk '{l=$1; sub(/^__label__/,"",l); sub(/^[^ \t]+[ \t]+/,""); gsub(/\t/," "); print l"\t"$0}' FILE > rows.tsv"""
)


def by_magic(path: Path) -> str:
    """Return what a file is by its first bytes, and the way out; nothing for one that may be text."""
    start = _start(path).lstrip()
    return next((what for magic, what in MAGIC.items() if start[: len(magic)].lower() == magic.lower()), "")


def by_ending(path: Path) -> str:
    """Return the way out for an ending that no reader has; what the file's first lines tell, where it is text."""
    if what := by_magic(path):
        return f"it is {what}"
    ending = path.suffix.lower().lstrip(".")
    if ending in ENDINGS:
        return ENDINGS[ending]
    lines = [line for line in _start(path).decode("utf-8", "replace").split("\n")[:5] if line.strip()]
    if not lines:
        return ""
    if all(line.startswith(FASTTEXT) for line in lines):
        return (
            f"it is in fastText's format; write a tsv by {FROM_FASTTEXT.replace('FILE', path.name)} and add "
            "'dataset.columns=[label,text]' dataset.quoting=false"
        )
    if all(line.lstrip().startswith("{") for line in lines):
        return "its lines are json; name it .jsonl"
    if lines[0].lstrip().startswith("["):
        return "it is json; name it .json"
    if all("\t" in line for line in lines):
        return "its lines have tabs; name it .tsv"
    if all("," in line for line in lines) and len({line.count(",") for line in lines}) == 1:
        return "its lines are separated by commas; name it .csv"
    return "texts alone have no labels: a file of texts goes to ftclf predict RUN input=FILE"


def separated_otherwise(columns: Sequence[str], separator: str) -> str:
    """Return the setting that reads a file whose only column is a line of names with another mark between them."""
    if len(columns) != 1:
        return ""
    counts = {mark: columns[0].count(mark) for mark in MARKS if mark != separator}
    mark = max(counts, key=lambda name: counts[name])
    return (
        f"its columns are separated by '{MARKS[mark]}': add 'dataset.separator={MARKS[mark]}'" if counts[mark] else ""
    )


def of_a_tool(first: str, second: str) -> str:
    """Return what to do with two first lines that a spreadsheet or database wrote and that are no table of rows."""
    if re.fullmatch(r"sep=.", first.strip().strip('"'), re.IGNORECASE):
        mark = MARKS.get(first.strip().strip('"')[-1], ";")
        return f"line 1 ({first.strip()}) is a note to Excel: take it out and add 'dataset.separator={mark}'"
    if re.fullmatch(r"[\s|+-]*-{3,}[\s|+-]*", second.strip()) or re.fullmatch(r"\+[-+]+\+", first.strip()):
        return "it is a table as a database prints it; export it as csv with a header (psql: --csv, mysql: --batch)"
    return ""


def header_like_a_row(columns: Sequence[str]) -> bool:
    """Return whether a first line looks like a row of texts and labels rather than names of columns."""
    numbers = any(re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", column.strip()) for column in columns)
    sentences = any(len(column.split()) > 3 or len(column) > 60 for column in columns)
    return numbers or sentences


def guessed_columns(columns: Sequence[str]) -> str:
    """Return `[label,text]` for the first row of a file without header: its longest field is the text."""
    longest = max(range(len(columns)), key=lambda place: len(columns[place]))
    others = [place for place in range(len(columns)) if place != longest]
    label = min(others, key=lambda place: len(columns[place]) or 1000, default=None)
    names = [
        "text" if place == longest else "label" if place == label else f"column{place + 1}"
        for place in range(len(columns))
    ]
    return f"[{','.join(names)}]"


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(START)
