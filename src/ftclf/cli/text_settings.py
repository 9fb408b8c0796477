"""Settings of text: they get what was typed, whatever Hydra's grammar would make of it.

To the grammar `2024_11_30` is a number, `true` a truth value, `a(1).csv` a function and `don't` an error. A word that
sets a text is put into quotes before Hydra sees it; in a sweep each of its values is. Interpolations still count, and
so does what the user has put into quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from ftclf.cli.hydra_errors import SCHEMAS
from ftclf.cli.quoting import in_quotes, without_quotes
from ftclf.config import DatasetConfig, every_variant
from ftclf.system.errors import ConfigError

# What sweeps a text in place of a list of values.
FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag|extend_list)\(.*\)", re.DOTALL)
TYPED_KEY = re.compile(r"[+-]?[0-9][0-9_.eE+-]*|(?i:true|false|null|nan|[+-]?inf)")
OPENING, CLOSING = "[{(", "]})"


def as_typed(command: str, words: list[str], *, sweeps: bool) -> list[str]:
    """Return the words of a command line with the values of text settings in quotes."""
    kinds = _text_settings(command)
    return [_as_typed(word, kinds, sweeps=sweeps) for word in words]


def shown(word: str) -> str:
    """Return a word as a user would type it: the values of its text without the quotes of this module."""
    key, equals, value = word.partition("=")
    if value.startswith("[") and value.endswith("]"):
        return f"{key}{equals}[{','.join(map(_without_quotes, pieces(value[1:-1])))}]"
    return f"{key}{equals}{_without_quotes(value)}"


def _without_quotes(value: str) -> str:
    text = without_quotes(value)
    return value if text is None or set(text) & set(",[]") else text


def _as_typed(word: str, kinds: dict[str, str], *, sweeps: bool) -> str:
    key, equals, value = word.partition("=")
    kind = kinds.get(key.lstrip("+"))
    if not equals or kind is None or (sweeps and FUNCTION.fullmatch(value)):
        return word
    if kind.startswith("dict"):  # open, as training.extra is: its names need a + of Hydra's
        key = f"++{key.lstrip('+')}"
    if sweeps:
        return f"{key}={','.join(_quoted_value(piece, kind, key) for piece in pieces(value))}"
    return f"{key}={_quoted_value(value, kind, key)}"


def _quoted_value(value: str, kind: str, key: str) -> str:
    if kind.endswith("None") and value == "null":
        return value
    if kind.startswith("list"):
        if value.startswith("[") and value.endswith("]"):
            value = value[1:-1]
        items = [_quoted_text(item.strip()) for item in pieces(value)] if value.strip() else []
        return f"[{','.join(items)}]"
    if kind.startswith("dict"):
        return _quoted_groups(value, key)
    return _quoted_text(value)


def _quoted_text(text: str) -> str:
    return text if without_quotes(text) is not None else in_quotes(text)


def _quoted_groups(value: str, key: str) -> str:
    """Return `{a: [b, c]}` with its lists in quotes; the grammar takes no quotes around the names in front of them."""
    if not (value.startswith("{") and value.endswith("}")) or not value[1:-1].strip():
        return value
    groups = []
    for piece in pieces(value[1:-1]):
        name, colon, items = piece.partition(":")
        if not colon or not items.strip().startswith("["):
            return value
        if TYPED_KEY.fullmatch(name.strip()):
            raise ConfigError(f"{key}: '{name.strip()}' would be read as a number; name the group otherwise")
        groups.append(f"{name.strip()}:{_quoted_value(items.strip(), 'list[str]', key)}")
    return f"{{{','.join(groups)}}}"


def pieces(value: str) -> list[str]:
    """Cut a value at its commas, but for those in quotes and brackets."""
    found, start, depth, quote = [], 0, 0, ""
    for place, char in enumerate(value):
        if quote:
            quote = "" if char == quote and not _escaped(value, place) else quote
        elif char in "'\"" and not value[start:place].strip(" " + OPENING):
            quote = char  # one within a text is a character, as in don't
        elif char in OPENING or char in CLOSING:
            depth += 1 if char in OPENING else -1
        elif char == "," and depth <= 0:
            found.append(value[start:place])
            start = place + 1
    return [*found, value[start:]]


def _escaped(value: str, place: int) -> bool:
    before = value[:place]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _text_settings(command: str) -> dict[str, str]:
    """Return the dotted names of all settings of text without fixed choices, each with its type as it is written."""
    found = dict(_walk(SCHEMAS[command], ""))
    if command == "train":
        for group, variant in every_variant():
            found |= dict(_walk(variant, f"{group}."))
    if command == "eval":
        found |= dict(_walk(DatasetConfig, "dataset."))
    return found


def text_names() -> set[str]:
    """Return the last names of the settings of text, in any command."""
    return {name.rpartition(".")[2] for command in SCHEMAS for name in _text_settings(command)}


def _walk(schema: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for item in fields(schema):
        if item.default_factory is not MISSING and is_dataclass(item.default_factory):
            yield from _walk(item.default_factory, f"{prefix}{item.name}.")
        elif "str" in str(item.type) and not item.metadata.get("choices"):
            yield f"{prefix}{item.name}", str(item.type)
