"""What `ftclf ls` shows: the options of every config group with a line on each."""

from __future__ import annotations

from pathlib import Path

from ftclf.config import config_folder

GROUPS = ("dataset", "model", "method", "loss", "sampler", "augment", "training", "experiment", "sweep")
GROUPS_OF: dict[str, tuple[str, ...]] = {
    "train": GROUPS,
    "eval": ("dataset",),
    "predict": (),
    "check": ("dataset", "model"),
}


def list_groups() -> dict[str, list[tuple[str, str]]]:
    """Return (option, line) pairs by group, sorted by option."""
    folder = config_folder()
    return {group: [(path.stem, _about(path)) for path in sorted((folder / group).glob("*.yaml"))] for group in GROUPS}


def _about(path: Path) -> str:
    """Return the yaml's `about`, else its first comment that is no directive of Hydra's."""
    comment = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("about:"):
            return line.removeprefix("about:").strip()
        if line.startswith("# ") and not line.startswith("# @") and not comment:
            comment = line.removeprefix("# ")
    return comment
