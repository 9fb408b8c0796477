"""Dataclasses from the json that they were written to. A file may be anybody's: every value must be of its type."""

from __future__ import annotations

import math
import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ftclf.config.renamed import new_names
from ftclf.system.errors import short

Restored = TypeVar("Restored")


def restore(kind: type[Restored], raw: Any, where: str = "") -> Restored:
    """Build a dataclass from its json. Raises TypeError, with the dotted name, for a value of another type."""
    if not isinstance(raw, dict):
        raise TypeError(f"{where or kind.__name__} is {short(repr(raw))}, no group of settings")
    raw = new_names(raw, where)
    hints, prefix = get_type_hints(kind), f"{where}." if where else ""
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(map(str, raw)) - set(known)):
        raise TypeError(f"{prefix}{unknown[0]} is not known")
    for name, item in known.items():
        if name not in raw and item.default is MISSING and item.default_factory is MISSING:
            raise TypeError(f"{prefix}{name} is missing")
    return kind(**{name: _restored(hints[name], value, f"{prefix}{name}") for name, value in raw.items()})


def _restored(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if isinstance(hint, type) and is_dataclass(hint):
        return restore(hint, value, where)
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        (hint,) = (one for one in inner if one is not type(None))  # there is no other union in a config
        return _restored(hint, value, where)
    if kind is list and isinstance(value, list):
        return [_restored(inner[0], one, f"{where}[{number}]") for number, one in enumerate(value)]
    if kind is dict and isinstance(value, dict):
        return {name: _restored(inner[1], one, f"{where}.{name}") for name, one in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    if kind is not float and type(value) is kind:
        return value
    raise TypeError(f"{where} is {short(repr(value))}, not of type {getattr(kind, '__name__', kind)}")
