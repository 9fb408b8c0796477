"""The one reader of small files that somebody else may have written: json, and the headers of safetensors files.

A run, a checkpoint and a model are folders that people hand on. What stands there under a known name may be a pipe that
never ends, a gigabyte, or json that is made to break its reader. It is found out here, before anything else opens it.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ftclf.system.errors import SmallFileError, short

MB = 2**20
LIMIT = 40  # MB of a json file; the tokenizer of a vocabulary of a million words has as many
HISTORY_LIMIT = 1000  # MB of a file with a record for each step
HEADER_LIMIT = 4  # MB of a safetensors header, which is about 40,000 tensors
DEPTH = 100  # of lists and objects in one another; ftclf writes 8, models have up to 12
DIGITS = 100  # of a number; transformers writes one of 31
SURROGATE = re.compile("[\ud800-\udfff]")
MANY_DIGITS = re.compile(rb"[0-9]{%d}" % (DIGITS + 1))
ESCAPED = re.compile(rb"\\u(0000|[dD][89a-fA-F])")  # what json writes for the two characters that are refused
# What transformers opens of a model's folder, and ftclf of a checkpoint's; other files may be anything but no files.
VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")  # whose words may be any text
SETTINGS = (
    *("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("preprocessor_config.json", "processor_config.json", "chat_template.json"),
    *("model.safetensors.index.json", "trainer_state.json"),
)
TEXTS = ("vocab.txt", "merges.txt", "chat_template.jinja")
OPENED = (".json", ".jinja", ".txt", ".model", ".safetensors")


def read_small(path: Path, limit: float = LIMIT) -> bytes:
    """Return the content of a plain file of at most `limit` MB, without waiting for anything.

    Raises OSError where it cannot be read, SmallFileError where it is no such file.
    """
    with _plain(path) as (file, size):
        if size > limit * MB:
            raise SmallFileError(f"{path}: it has {size:,} bytes, allowed: up to {limit:g} MB")
        return file.read(size)


def read_small_json(path: Path, limit: float = LIMIT, *, any_text: bool = False, nan: bool = False) -> Any:
    """Return what a json file holds.

    With `any_text` a text may hold NUL, with `nan` a number may be NaN or Infinity.
    """
    return parse_small_json(read_small(path, limit), str(path), any_text=any_text, nan=nan)


def read_json_lines(path: Path) -> list[Any]:
    """Return the records of a file that holds one in each line."""
    lines = enumerate(read_small(path, HISTORY_LIMIT).split(b"\n"), start=1)
    return [parse_small_json(line, f"{path}: line {number}") for number, line in lines if line]


def parse_small_json(content: bytes, where: str, *, any_text: bool = False, nan: bool = False) -> Any:
    """Return the value of a json text; SmallFileError for what is none, or would break who works with it."""

    def refuse(why: str) -> Any:
        raise SmallFileError(f"{where}: {why}; the file is damaged")

    def whole(digits: str) -> int:
        return int(digits) if len(digits) <= DIGITS else refuse(f"a number of {len(digits)} digits")

    def real(digits: str) -> float:
        number = float(digits)
        return number if math.isfinite(number) else refuse(f"{short(digits)} is no finite number")

    def constant(name: str) -> float:
        return float(name) if nan else refuse(f"{name}, which is no finite number")

    try:
        parse_int = whole if MANY_DIGITS.search(content) else None  # a vocabulary has many numbers
        value = json.loads(content.decode("utf-8"), parse_int=parse_int, parse_float=real, parse_constant=constant)
    except UnicodeDecodeError:
        return refuse("it is not UTF-8")
    except RecursionError:
        return refuse(f"lists and objects more than {DEPTH} deep")
    except ValueError as error:
        return refuse(f"not valid json ({short(error)})")
    # UTF-8 has no surrogates, and no text of json a plain NUL: only escapes bring them.
    if problem := _problem(value, any_text=any_text) if ESCAPED.search(content) else _too_deep(value):
        refuse(problem)
    return value


def check_model_files(folder: Path) -> None:
    """Raise SmallFileError for a file of a model's folder that transformers should not be given to open.

    Links are followed: the hub's cache is made of them.
    """
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix == ".safetensors":
                check_safetensors(path)
            elif path.name in (*SETTINGS, *VOCABULARIES):
                limit = HISTORY_LIMIT if path.name == "trainer_state.json" else LIMIT
                read_small_json(path, limit, any_text=path.name in VOCABULARIES, nan=True)
            elif path.name in TEXTS:
                read_small(path)
            elif path.suffix in OPENED and not path.is_file():
                raise SmallFileError(f"{path}: it is {_kind(path.stat().st_mode)}, not a file")
    except OSError as error:
        raise SmallFileError(f"{error.filename or folder}: it cannot be read ({error.strerror})") from error


def check_safetensors(path: Path) -> None:
    """Raise SmallFileError for a file whose header, which safetensors reads at once, is none or much too large."""
    with _plain(path) as (file, size):
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= size - 8:
            raise SmallFileError(f"{path}: no usable safetensors file (it has no header)")
        if length > HEADER_LIMIT * MB:
            raise SmallFileError(f"{path}: a header of {length:,} bytes, allowed: up to {HEADER_LIMIT} MB")
        header = parse_small_json(file.read(length), str(path))
    if not isinstance(header, dict):
        raise SmallFileError(f"{path}: no usable safetensors file (its header is no object)")


@contextmanager
def _plain(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a plain file, with its size in bytes; a pipe is not waited for, and nothing else is read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise SmallFileError(f"{path}: it is {_kind(about.st_mode)}, not a file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file, about.st_size
    finally:
        os.close(descriptor)


def _problem(value: Any, *, any_text: bool) -> str:
    """Return what is wrong with a value of json: its depth, or a text in it."""
    if problem := _too_deep(value):
        return problem
    level = [value]
    while level:
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str):
                if "\0" in item and not any_text:
                    return f"a text with a NUL character ({short(ascii(item))})"
                if SURROGATE.search(item):
                    return f"a text with half a character, an unpaired surrogate ({short(ascii(item))})"
        level = below
    return ""


def _too_deep(value: Any) -> str:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEPTH:
            return f"lists and objects more than {DEPTH} deep"
        around = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in around for child in (item.values() if isinstance(item, dict) else item)]
    return ""


def _kind(mode: int) -> str:
    names = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device"}
    return next((name for is_one, name in names.items() if is_one(mode)), "a socket")
