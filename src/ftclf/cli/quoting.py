"""Texts as Hydra's grammar and OmegaConf take them: as they are, whatever they hold."""

from __future__ import annotations

import re
from typing import Any

QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)


def quoted(text: str) -> str:
    """Return a value as Hydra's grammar quotes it; no interpolation of it counts."""
    return in_quotes(literal(text))


def in_quotes(text: str) -> str:
    """Return a value as Hydra's grammar quotes it; its interpolations count."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"


def without_quotes(text: str) -> str | None:
    """Return the value that a whole text in quotes stands for; None for any other text."""
    if not QUOTED.fullmatch(text):
        return None
    quote, body = text[0], text[1:-1]
    return re.sub(rf"(\\+)({quote}|$)", lambda part: "\\" * (len(part[1]) // 2) + part[2], body)


def literal(text: str) -> str:
    """Return a text that OmegaConf takes as it is, also where it holds an interpolation."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def literally(value: Any) -> Any:
    """Return a value with every text in it literal."""
    if isinstance(value, dict):
        return {key: literally(item) for key, item in value.items()}
    if isinstance(value, list):
        return [literally(item) for item in value]
    return literal(value) if isinstance(value, str) else value
