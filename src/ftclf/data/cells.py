"""What stands in one cell: a text, labels, or something else, which is refused with its file, row and column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ftclf.config import DatasetConfig
from ftclf.data.label_lists import PLAIN, Layout, as_bit, at_places, list_of
from ftclf.system.errors import DataError

LONGEST = 80  # characters of somebody's data in a message


def checked_text(value: Any, where: str) -> str:
    """Return a cell that is a text. `where` is what an error begins with."""
    if not isinstance(value, str):
        raise DataError(f"{where}: got {kind(value)}, allowed: text")
    if not value.strip():
        raise DataError(f"{where}: the text is empty; remove the row or fill it")
    return _whole_characters(value, where)


def checked_labels(
    value: Any, where: str, config: DatasetConfig, *, layout: Layout = PLAIN, places: list[str] | None = None
) -> list[str]:
    """Return the names in a label cell, each once: text, a whole number, a truth value, or a list of these.

    `layout` says how the column writes lists, and `places` names those of its vectors of 0 and 1.
    """
    values = list_of(value, layout, where, delimiter=config.label_delimiter)
    if values is not None and layout.places:
        return _required(at_places(values, layout, places, where), where, config, is_list=True)
    names: list[str] = []
    for item in [value] if values is None else values:
        if not isinstance(item, str | int):
            raise DataError(f"{where}: got {kind(item)}, allowed: text or a whole number as the label")
        name = _whole_characters(label_name(item), where)
        pieces = name.split(config.label_delimiter) if config.label_delimiter else [name]
        names += [piece.strip() for piece in pieces]
    if layout.as_text and len(names) > 1 and config.task == "single_label":
        raise DataError(
            f"{where}: a list of {len(names)} labels ({excerpt(str(value))}); add dataset.task=multi_label, "
            "or keep one label per row"
        )
    return _required(names, where, config, is_list=isinstance(value, list))


def label_name(value: str | int) -> str:
    """Return the name of a label that is written as text, as a number or as a truth value."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _required(names: list[str], where: str, config: DatasetConfig, *, is_list: bool) -> list[str]:
    """Return names, each once; none are allowed with several labels per row alone."""
    if config.task == "multi_label" and not any(names):
        return []
    if not names or not all(names):
        none = ", or set dataset.task=multi_label, where a row may have none" if is_list else ""
        raise DataError(f"{where}: the label is empty; remove the row or fill it{none}")
    return list(dict.fromkeys(names))


def is_chosen(value: Any, where: str) -> bool:
    """Return what a cell of a label's own column says."""
    if (chosen := as_bit(value)) is None:
        raise DataError(f"{where}: got {excerpt(value) if isinstance(value, str) else kind(value)}, allowed: 0 or 1")
    return chosen


def checked_slice(value: Any, where: str) -> str:
    """Return a cell that the report slices by, whatever it holds, as text; a missing one is empty."""
    return "" if value is None else _whole_characters(str(value), where)


def _whole_characters(text: str, where: str) -> str:
    """Refuse what no file can hold as UTF-8, and what only damaged files hold."""
    if "\0" in text:
        raise DataError(f"{where}: a NUL character; the file is damaged, or was no text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: half a character (a lone surrogate); mend the text") from error
    return text


def kind(value: Any) -> str:
    """Return what a value is, in words."""
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return f"a truth value ({str(value).lower()})"
        case int() | float():
            return f"a number ({str(value)[:LONGEST]})"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"a value of type {type(value).__name__}"


def excerpt(text: str) -> str:
    """Return the beginning of somebody's data in quotes: a message stays one that can be read."""
    return f"'{text}'" if len(text) <= LONGEST else f"'{text[:LONGEST]}…'"


def some(names: Sequence[str]) -> str:
    """Return the first of many names."""
    shown = ", ".join(name if len(name) <= LONGEST else f"{name[:LONGEST]}…" for name in names[:8])
    return shown if len(names) <= 8 else f"{shown}, ... {len(names) - 8} more"


def repeated(names: Iterable[str]) -> str | None:
    """Return the first name that stands there for the second time."""
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]
