"""Text files walked line by line: in their encoding, of any size, and refused where they are no text."""

from __future__ import annotations

import codecs
import errno
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from ftclf.config.did_you_mean import did_you_mean
from ftclf.data.foreign_formats import by_magic
from ftclf.system.errors import DataError

NOT_OF_FILES = {"idna", "punycode", "unicode-escape", "raw-unicode-escape"}  # codecs of names and of source code
MARKS = {  # the longer ones first: that of UTF-32 begins as that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8",
}


def check_file(path: Path) -> None:
    """Raise DataError where there is no file that can be read from its beginning to its end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        gone = getattr(error, "errno", None) in (errno.ENOENT, errno.ENOTDIR)
        what = "no such file" if gone else (getattr(error, "strerror", None) or str(error)).lower()
        raise DataError(f"{path}: {what}.{_nearest(path) if gone else ''}") from error
    if stat.S_ISDIR(mode):
        raise DataError(f"{path}: a folder, allowed: a file")
    if not stat.S_ISREG(mode):
        raise DataError(f"{path}: a pipe or a device, allowed: a file; it is read twice, so save it first")
    try:
        path.open("rb").close()
    except PermissionError as error:
        raise DataError(f"{path}: you may not read it; give yourself the right, as with chmod u+r") from error


def _nearest(path: Path) -> str:
    try:
        return did_you_mean(path.name, [other.name for other in path.parent.iterdir()])
    except OSError:
        return ""


def check_text(path: Path, encoding: str, *, allow_empty: bool = False) -> None:
    """Walk a text file once. Raises DataError where it cannot be read, is empty, not in this encoding, or no text."""
    check_file(path)
    _check_mark(path, encoding)
    number, empty = 0, True
    try:
        for number, line in enumerate(lines_of(path, encoding), start=1):
            if "\0" in line:
                raise DataError(_other(path) or f"{path}: line {number} holds a NUL character; the file is damaged")
            if number == 1 and line.startswith("\ufeff"):
                raise DataError(f"{path}: line 1 begins with a second byte order mark; take it out")
            empty = empty and not line.strip()
    except UnicodeDecodeError as error:  # in a block of bytes behind the last line that was whole
        line_number = number + error.object.count(b"\n", 0, error.start) + 1
        raise DataError(
            _other(path)
            or f"{path}: line {line_number} is not {encoding} (byte 0x{error.object[error.start]:02x}); "
            "save the file as UTF-8, or name its encoding, as in dataset.encoding=cp1252"
        ) from error
    if empty and not allow_empty:
        raise DataError(f"{path}: the file is empty")


def _check_mark(path: Path, encoding: str) -> None:
    """Refuse an encoding that Python does not know, and one that the file's byte order mark denies."""
    try:
        codec = codecs.lookup(encoding).name
        "".encode(encoding)  # some turn bytes into bytes, or refuse everything
        if codec in NOT_OF_FILES:
            raise LookupError(codec)
    except (LookupError, ValueError) as error:
        raise DataError(
            f"dataset.encoding: got '{encoding}', allowed: a codec of Python for text, as utf-8 or cp1252"
        ) from error
    start = _start(path)
    marked = next((name for mark, name in MARKS.items() if start.startswith(mark)), None)
    if marked is not None and codec not in (marked, f"{marked}-sig"):
        raise DataError(
            f"{path}: it is {marked.upper()}, not {encoding.upper()}; "
            f"add dataset.encoding={marked}, or save it as UTF-8"
        )


def _other(path: Path) -> str:
    """Return the error for a file that is no text because it is something else that is known."""
    what = by_magic(path)
    return f"{path}: it is {what}" if what else ""


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def lines_of(path: Path, encoding: str, newline: str = "\n") -> Iterator[str]:
    """Walk a text file that `check_text` has seen; with newline "" lines end as the csv module wants it."""
    with path.open(encoding=_codec(path, encoding), newline=newline) as file:
        yield from file


def whole_text(path: Path, encoding: str, *, allow_empty: bool = False) -> str:
    """Return the text of a file, checked."""
    check_text(path, encoding, allow_empty=allow_empty)
    return "".join(lines_of(path, encoding))


def first_line(path: Path, encoding: str) -> str:
    """Return the first line of a text file, what cannot be decoded replaced; '' where it has none or no such codec."""
    try:
        with path.open("rb") as file:
            start = file.read(2**16).decode(_codec(path, encoding), "replace")
    except (LookupError, OSError):
        return ""
    return next(iter(start.splitlines()), "")


def is_utf8(path: Path) -> bool:
    """Return whether a file holds characters beyond ASCII, and all of them as UTF-8 has them."""
    decoder, plain = codecs.getincrementaldecoder("utf-8")(), True
    with path.open("rb") as file:
        try:
            while block := file.read(2**20):
                plain = decoder.decode(block).isascii() and plain
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return not plain


def _codec(path: Path, encoding: str) -> str:
    """Return the codec that reads a file in pieces as `encoding` reads it whole."""
    name = codecs.lookup(encoding).name
    if name in ("utf-16", "utf-32"):  # read in pieces they insist on the mark that says which end comes first
        marked = any(_start(path).startswith(mark) for mark, marked in MARKS.items() if marked == name)
        return name if marked else f"{name}-{'le' if sys.byteorder == 'little' else 'be'}"
    return "utf-8-sig" if name == "utf-8" else name
