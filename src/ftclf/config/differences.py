"""Settings of runs as flat names, and which of them differ."""

from __future__ import annotations

from typing import Any

from ftclf.config.effect import has_effect
from ftclf.config.renamed import new_names

# Where a run lies and what it is called, what was printed of its parts, and how it was repeated.
IGNORED = ("run_dir", "runs_dir", "overwrite", "resume", "name", "baselines", "jobs", "training.seeds")
DESCRIPTIONS = (".about", ".terms")


def flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names of today."""
    flat: dict[str, Any] = {}
    for key, item in (value if prefix else new_names(value)).items():
        if isinstance(item, dict):
            flat.update(flatten(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def within(name: str, group: str) -> bool:
    """Return whether a dotted name is a group or lies in it."""
    return name == group or name.startswith(f"{group}.")


def varying(settings: list[dict[str, Any]]) -> list[str]:
    """Return the names of the flat settings that are not the same in all, without those that decide no number.

    Of a setting that has no effect on some of the runs, those do not count.
    """
    names = dict.fromkeys(name for found in settings for name in found)
    return [
        name
        for name in names
        if name not in IGNORED
        and not name.endswith(DESCRIPTIONS)
        and not name.startswith("model.pin.")
        and len({repr(found.get(name)) for found in settings if has_effect(name, found)}) > 1
    ]
