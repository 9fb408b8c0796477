"""What `ftclf COMMAND --help` shows: every setting with its value as it stands, what it is and what it may be."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ftclf.cli.ls import GROUPS_OF, list_groups

USAGE = {
    "train": "ftclf train [-m] [FILE] [GROUP=OPTION ...] [SETTING=VALUE ...]; -m: a run for each of SETTING=A,B,C",
    "eval": "ftclf eval RUN [FILE] [SETTING=VALUE ...]; FILE is dataset=files dataset.test=FILE",
    "predict": "ftclf predict RUN [FILE | TEXT ...] [SETTING=VALUE ...]",
}
LEFT = 40  # characters for setting and value


def help_lines(command: str, cfg: DictConfig) -> Iterator[str]:
    """Yield the lines of a command's help about a config that was composed for it."""
    width = max(80, min(120, shutil.get_terminal_size().columns))
    yield USAGE[command]
    if groups := GROUPS_OF[command]:
        yield "\nGroups (ftclf ls says what each option is):"
        options = list_groups()
        yield from (f"  {group}: {', '.join(name for name, _ in options[group])}" for group in groups)
    yield "\nSettings, as they stand with what this command line gives:"
    for name, value, about in _settings(cfg, ""):
        left = f"  {name}={value}"
        first = f"{left:<{LEFT}}" if len(left) < LEFT else f"{left}\n{'':<{LEFT}}"
        lines = textwrap.wrap(about, width - LEFT) or [""]
        yield first + f"\n{'':<{LEFT}}".join(lines)
    yield "\n--cfg job prints the config as yaml; --hydra-help is about Hydra, which composes it."


def _settings(cfg: DictConfig, prefix: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and meaning of each setting."""
    kind = OmegaConf.get_type(cfg)
    described = {one.name: one.metadata for one in fields(kind)} if is_dataclass(kind) else {}
    for key in map(str, cfg):
        if key not in described:  # Hydra's own
            continue
        value = None if OmegaConf.is_missing(cfg, key) else cfg[key]
        if isinstance(value, DictConfig) and is_dataclass(OmegaConf.get_type(value)):
            yield from _settings(value, f"{prefix}{key}.")
            continue
        about, choices = described[key].get("about", ""), described[key].get("choices", ())
        if choices and not all(choice in about for choice in choices):
            about += f" ({', '.join(choices)})"
        yield f"{prefix}{key}", "..." if OmegaConf.is_missing(cfg, key) else _text(value), about


def _text(value: Any) -> str:
    """Return a value as it is typed, or its beginning."""
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    text = plain if isinstance(plain, str) else json.dumps(plain, separators=(",", ":")).replace('"', "")
    return text if len(text) <= 60 else f"{text[:57]}..."
