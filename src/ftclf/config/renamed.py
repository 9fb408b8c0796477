"""Settings that had other names in earlier versions: the old names are understood wherever a setting is named."""

from __future__ import annotations

from typing import Any

RENAMED = {
    "training.batches": "training.batching",
    "decision.precision": "decision.min_precision",
    "dataset.epochs": "dataset.default_epochs",
}


def new_name(name: str) -> str:
    """Return the name of a setting today."""
    return RENAMED.get(name, name)


def note_of(old: str) -> str:
    """Return what a user of an old name is told."""
    return f"{old} is now {RENAMED[old]}"


def new_names(settings: dict[Any, Any], group: str = "", used: dict[str, None] | None = None) -> dict[Any, Any]:
    """Return the settings of a group, as json or yaml has them, by their names of today; those in groups of it too.

    The old names that are met are added to `used`.
    """
    prefix = f"{group}." if group else ""
    renamed: dict[Any, Any] = {}
    for name, value in settings.items():
        full = f"{prefix}{name}"
        if full in RENAMED and used is not None:
            used[full] = None
        renamed[new_name(full).removeprefix(prefix)] = (
            new_names(value, full, used) if isinstance(value, dict) else value
        )
    return renamed


def new_references(text: str) -> str:
    """Return a text whose interpolations, as in ${training.batches}, have the names of today."""
    for old, new in RENAMED.items():
        text = text.replace(f"${{{old}}}", f"${{{new}}}")
    return text
