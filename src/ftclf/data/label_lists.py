"""Label cells that hold several values: lists, lists written as text, and vectors of 0 and 1 with a place per label."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ftclf.system.errors import DataError

LONGEST = 10_000  # characters of a list that is written as text
QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
ITEM = rf"(?:{QUOTED}|[+-]?\d{{1,18}}(?:\.0*)?|True|False|true|false|null|None|NaN|nan)"
# As json and Python write lists, tuples and sets; as numpy prints arrays; and as it prints long ones.
ITEMS = rf"\s*(?:{ITEM}(?:\s*,\s*{ITEM})*(?:\s*,)?)?\s*"
BY_COMMAS = re.compile(rf"\[{ITEMS}\]|\({ITEMS}\)|\{{{ITEMS}\}}")
BY_SPACES = re.compile(rf"\[\s*{ITEM}(?:\s+{ITEM})+\s*\]")
SHORTENED = re.compile(rf"\[\s*(?:{ITEM}[\s,]+)+\.\.\.[\s,]+.*\]", re.DOTALL)
OBJECT = re.compile(rf"\{{\s*{ITEM}\s*:.*\}}", re.DOTALL)
WORDS = {"True": True, "true": True, "False": False, "false": False}
NOTHING = ("null", "None", "NaN", "nan")
BITS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


@dataclass(frozen=True)
class Layout:
    """How the cells of one label column are written, and what stands in the first that tells it."""

    as_text: bool = False  # lists that are written as text
    places: int = 0  # vectors of 0 and 1 of this length; 0: names or ids
    example: str = ""


PLAIN = Layout()


def find_layout(cells: Iterable[Any], delimiter: str | None = None) -> Layout:
    """Read cells until one tells how all of them are written; `list_of` checks each later cell against it.

    A list of 0 and 1 alone is a vector if it repeats a value, which a list of ids would not, or holds truth values.
    `[0, 1]` may be either: it is a vector where all cells have that length.
    """
    as_text: bool | None = None
    lengths: set[int] = set()
    example = ""
    for cell in cells:
        values, is_text = _values(cell, delimiter)
        if values is None:
            if isinstance(cell, str) and cell.strip():
                return PLAIN if as_text is None else Layout(as_text, example=example)
            if cell is None or isinstance(cell, str):
                continue  # an empty cell tells nothing
            return PLAIN
        as_text, example = is_text if as_text is None else as_text, example or str(cell)
        lengths.add(len(values))
        if not _all_bits(values) or len(values) < 2 or len(lengths) > 1:
            return Layout(as_text, example=example)
        if len(set(map(as_bit, values))) < len(values) or any(isinstance(value, bool) for value in values):
            return Layout(as_text, len(values), str(cell))
    return Layout(bool(as_text), next(iter(lengths), 0), example)


def list_of(cell: Any, layout: Layout, where: str, *, delimiter: str | None = None) -> list[Any] | None:
    """Return the values of a cell that holds a list; None for one that holds a single name or an id.

    Raises DataError for a list written as text that is not like the column's first cells, or cannot be read.
    """
    if isinstance(cell, list):
        return cell
    if not isinstance(cell, str) or cell.lstrip()[:1] not in ("[", "(", "{"):
        if layout.as_text and isinstance(cell, str) and cell.strip():
            raise DataError(f"{where}: '{cell[:40]}' is no list, but other cells are; write all cells as lists")
        return _split_vector(cell, layout, delimiter)
    values = parse_list(cell)
    if values is None:
        if problem := _unreadable(cell):
            raise DataError(f"{where}: {problem}")
        if layout.as_text:
            raise DataError(f"{where}: '{cell[:40]}' is no list, but other cells are; write all cells as lists")
        return None
    if delimiter:
        raise DataError(
            f"{where}: a list written as text ({cell[:40]}); leave dataset.label_delimiter out: it is read as a list"
        )
    if not layout.as_text:
        raise DataError(
            f"{where}: a list written as text ({cell[:40]}) in a column of plain labels; write all cells the same way"
        )
    return values


def at_places(values: list[Any], layout: Layout, names: list[str] | None, where: str) -> list[str]:
    """Return the names of the places that hold a 1. Raises DataError where places and names are not as many."""
    if names is None:
        raise DataError(
            f"{where}: a vector of 0 and 1 with a place per label; name the {layout.places} places by "
            "dataset.label_file=FILE, one name per line, or give each label a column of its own and name these by "
            "'dataset.label_columns=[a,b]'"
        )
    if len(names) != layout.places:
        raise DataError(
            f"dataset.label_file: it has {len(names)} names, the vectors of {where} have {layout.places} places; "
            "name every place, in their order"
        )
    if len(values) != layout.places or not _all_bits(values):
        raise DataError(
            f"{where}: got {str(values)[:60]}, allowed: {layout.places} values of 0 and 1, as in other rows"
        )
    return [name for name, value in zip(names, values, strict=True) if as_bit(value)]


def parse_list(text: str) -> list[Any] | None:
    """Return the values of a list that json, Python or numpy wrote as text; None for any other text."""
    text = text.strip()
    if len(text) > LONGEST or not (BY_COMMAS.fullmatch(text) or BY_SPACES.fullmatch(text)):
        return None
    return [_value(item) for item in re.findall(ITEM, text[1:-1])]


def _values(cell: Any, delimiter: str | None) -> tuple[list[Any] | None, bool]:
    """Return the values that a cell holds, None for a single one, and whether they are written as text."""
    if isinstance(cell, list):
        return cell, False
    if not isinstance(cell, str):
        return None, False
    if delimiter and delimiter in cell:
        return [piece.strip() for piece in cell.split(delimiter)], False
    return parse_list(cell), True


def _split_vector(cell: Any, layout: Layout, delimiter: str | None) -> list[Any] | None:
    if not layout.places or not delimiter or not isinstance(cell, str):
        return None
    return [piece.strip() for piece in cell.split(delimiter)]


def _unreadable(text: str) -> str:
    """Return what a text is that looks like a list and cannot be read as one; nothing for a name like `[other]`."""
    text = text.strip()
    if len(text) > LONGEST:
        return f"a list of {len(text)} characters; write it as a list of json, or one column per label"
    if SHORTENED.fullmatch(text):
        return "a list that numpy has shortened (...); write all of it, as json.dumps(list(labels)) does"
    if OBJECT.fullmatch(text):
        return f"an object written as text ({text[:40]}); write the names of its labels as a list"
    if text.startswith("[") and text.endswith("]") and "," in text:
        return f'\'{text[:40]}\' looks like a list and is none of json; put quotes around its names, as in ["a", "b"]'
    return ""


def _value(item: str) -> Any:
    if item in WORDS:
        return WORDS[item]
    if item in NOTHING:
        return None
    if item[0] in "'\"":
        return ast.literal_eval(item)
    return int(item.partition(".")[0])


def _all_bits(values: list[Any]) -> bool:
    return bool(values) and all(as_bit(value) is not None for value in values)


def as_bit(value: Any) -> bool | None:
    """Return what a 0, 1, true or false says, also as text and with a fraction of 0; None for any other value."""
    if isinstance(value, str):
        return BITS.get(value.strip().lower())
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None
