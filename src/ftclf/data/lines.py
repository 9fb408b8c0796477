"""Text files walked line by line: in their encoding, of any size, and refused where they are no text."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from pathlib import Path

from ftclf.errors import DataError


def check_text(path: Path, encoding: str) -> None:
    """Walk a text file once. Raises DataError where it is empty, not in this encoding, or not a text."""
    with path.open("rb") as file:
        start = file.read(2)
        if not start.strip() and not any(block.strip() for block in iter(lambda: file.read(2**20), b"")):
            raise DataError(f"{path}: the file is empty")
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) and encoding == "utf-8":
        raise DataError(f"{path}: it is UTF-16, not UTF-8; add dataset.encoding=utf-16, or save it as UTF-8")
    number = 0
    try:
        for number, line in enumerate(lines_of(path, encoding), start=1):
            if "\0" in line:
                raise DataError(f"{path}: line {number} holds a NUL character; the file is binary or damaged")
    except LookupError as error:
        raise DataError(
            f"dataset.encoding: got '{encoding}', allowed: a codec of Python, as utf-8 or cp1252"
        ) from error
    except UnicodeDecodeError as error:  # in a block of bytes behind the last line that was whole
        line_number = number + error.object.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: line {line_number} is not {encoding} (byte 0x{error.object[error.start]:02x}); "
            "save the file as UTF-8, or name its encoding, as in dataset.encoding=cp1252"
        ) from error


def lines_of(path: Path, encoding: str, newline: str = "\n") -> Iterator[str]:
    """Walk a text file that `check_text` has seen; with newline "" lines end as the csv module wants it."""
    with path.open(encoding=_codec(path, encoding), newline=newline) as file:
        yield from file


def whole_text(path: Path, encoding: str) -> str:
    """Return the text of a file, checked."""
    check_text(path, encoding)
    return "".join(lines_of(path, encoding))


def _codec(path: Path, encoding: str) -> str:
    """Return the codec that reads a file in pieces as `encoding` reads it whole."""
    name = codecs.lookup(encoding).name
    if name in ("utf-16", "utf-32"):  # read in pieces they insist on the mark that says which end comes first
        with path.open("rb") as file:
            start = file.read(4)
        marked = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE))
        return name if marked else f"{name}-{'le' if sys.byteorder == 'little' else 'be'}"
    return "utf-8-sig" if name == "utf-8" else name
