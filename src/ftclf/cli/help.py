"""What `ftclf COMMAND --help` shows: settings with their values as they stand, what they are and what they may be.

`train` has about a hundred settings. Its help begins with those that people set; `--help all` explains every one, and
`--help training` those of a group.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ftclf.cli.ls import GROUPS_OF, list_groups
from ftclf.system.console import width_of

USAGE = {
    "train": "ftclf train [-m] [FILE] [SETTING=VALUE ...]; -m: sweep over SETTING=A,B,C",
    "eval": "ftclf eval RUN [FILE] [SETTING=VALUE ...]",
    "predict": "ftclf predict RUN [FILE | TEXT ...] [SETTING=VALUE ...]",
    "check": "ftclf check [FILE] [SETTING=VALUE ...]",
}
# What people set, by the headings of the help.
USUAL = {
    "Data": (
        *("dataset", "dataset.train", "dataset.validation", "dataset.test", "dataset.text_column"),
        *("dataset.label_column", "dataset.task", "dataset.max_length"),
    ),
    "Model": ("model", "model.name"),
    "Method": ("method", "method.r"),
    "Training": (
        *("training.epochs", "training.learning_rate", "training.batch_size", "training.seed", "training.seeds"),
        "training.device",
    ),
    "Run": ("run_dir", "resume"),
}
ALL, RUN = "all", "run"
PARTS = (ALL, "dataset", "model", "method", "loss", "sampler", "augment", "training", "decision", RUN)
WIDEST, NARROWEST = 120, 60
HELP = ("--help", "-h")


@dataclass(frozen=True)
class Line:
    """One setting: name, value and meaning."""

    name: str
    value: str
    about: str

    @property
    def typed(self) -> str:
        return f"  {self.name}={self.value}"

    def short(self, width: int) -> str:
        """Return the parts of its meaning that fit on one line, the first in any case."""
        first, *others = self.about.split("; ")
        for other in others:
            if len(first) + len(other) + 2 > width:
                break
            first += f"; {other}"
        return first


def asked_part(words: list[str]) -> tuple[list[str], str | None]:
    """Return a command line without the part that it wants help about, as in `--help all`, and that part."""
    for place, word in enumerate(words):
        if word.startswith("--help=") and word.removeprefix("--help=") in PARTS:
            return [*words[:place], "--help", *words[place + 1 :]], word.removeprefix("--help=")
        if word in HELP and words[place + 1 : place + 2] and words[place + 1] in PARTS:
            return [*words[: place + 1], *words[place + 2 :]], words[place + 1]
    return words, None


def _usual_of_check(settings: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return what people set of the data, and all that check alone has."""
    checks = tuple(name for name in settings if "." not in name and name not in ("dataset", "model"))
    return {"Data": (*USUAL["Data"], "model"), "Check": checks}


def help_lines(command: str, cfg: DictConfig, part: str | None = None) -> Iterator[str]:
    """Yield the lines of a command's help about a config that was composed for it."""
    settings = {line.name: line for line in (*_groups(command, cfg), *_settings(cfg, ""))}
    width = max(NARROWEST, min(WIDEST, width_of()))
    yield f"usage: {USAGE[command]}"
    if part is None and command in ("train", "check"):
        usual = USUAL if command == "train" else _usual_of_check(settings)
        for heading, names in usual.items():
            yield f"\n{heading}"
            yield from _table([settings[name] for name in names if name in settings], width)
        shown = {name for names in usual.values() for name in names}
        yield f"\n--help all: the other {len(set(settings) - shown)} settings too"
        yield f"--help {'|'.join(PARTS[1:] if command == 'train' else ('dataset', 'model'))}"
    elif part is None:
        yield ""
        yield from _table(list(settings.values()), width)
        yield "\n--help all says more of each."
    else:
        for heading, lines in _by_part(list(settings.values())).items():
            if part in (ALL, heading):
                yield f"\n{heading.capitalize()}"
                yield from _table(lines, width, whole=True)
        yield "\n--cfg job prints the config as yaml; --hydra-help is about Hydra, which composes it."


def _by_part(lines: list[Line]) -> dict[str, list[Line]]:
    parts: dict[str, list[Line]] = {}
    for line in lines:
        first = line.name.partition(".")[0]
        parts.setdefault(first if first in PARTS and first != RUN else RUN, []).append(line)
    return parts


def _table(lines: list[Line], width: int, *, whole: bool = False) -> Iterator[str]:
    """Yield each setting beside its meaning; one that is too long stands above it."""
    most = 38 if whole else 34
    left = max((len(line.typed) for line in lines if len(line.typed) <= most), default=most) + 2
    for line in lines:
        text = textwrap.wrap(line.about if whole else line.short(width - left), width - left) or [""]
        first = f"{line.typed:<{left}}" if len(line.typed) < left - 1 else f"{line.typed}\n{'':<{left}}"
        yield first + f"\n{'':<{left}}".join(text)


def _groups(command: str, cfg: DictConfig) -> Iterator[Line]:
    """Yield the groups of yaml files, with what is chosen and what can be."""
    options, chosen = list_groups(), cfg.hydra.runtime.choices
    for group in GROUPS_OF[command]:
        names = ", ".join(name for name, _ in options[group])
        yield Line(group, str(chosen.get(group) or "null"), names)


def _settings(cfg: DictConfig, prefix: str) -> Iterator[Line]:
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
        if f"{prefix}{key}" in GROUPS_OF["eval"]:  # eval without other data: shown as a group
            continue
        about, choices = described[key].get("about", ""), described[key].get("choices", ())
        if choices and not all(choice in about for choice in choices):
            about += f" ({', '.join(choices)})"
        yield Line(f"{prefix}{key}", "..." if OmegaConf.is_missing(cfg, key) else _text(value), about)


def _text(value: Any) -> str:
    """Return a value as it is typed, or its beginning."""
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    text = plain if isinstance(plain, str) else json.dumps(plain, separators=(",", ":")).replace('"', "")
    return text if len(text) <= 60 else f"{text[:59]}…"
