"""Texts as Hydra's grammar and OmegaConf take them: as they are, whatever they hold."""

from __future__ import annotations

import re
from typing import Any


def quoted(text: str) -> str:
    """Return a value as Hydra's grammar quotes it; no interpolation of it counts."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), literal(text))
    return f"'{escaped}'"


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
