"""The words of compare, report and merge: folders, and settings as everywhere; `--sort x` counts as `sort=x`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftclf.config.did_you_mean import did_you_mean, pasteable
from ftclf.storage.run_paths import exists
from ftclf.system.errors import ConfigError


def _path(value: str) -> Path:
    if not value:
        raise ValueError("a path")
    return Path(value).expanduser()


def _share(value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise ValueError("a number") from error


def _switch(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError("true or false")
    return value.lower() == "true"


@dataclass(frozen=True)
class Option:
    """One setting: what it is, what it is set to in the help, and how it is read."""

    about: str
    example: str
    read: Callable[[str], Any] = _path


OPTIONS = {
    "compare": {
        "sort": Option("score on validation that decides which run is best", "macro_f1", str),
        "csv": Option("write the table to this file as well", "FILE"),
        "plot": Option("draw this setting against the score", "method.r", str),
        "output": Option("file of the plot; default: compare.png", "FILE"),
        "equal_within": Option("differences below this share of the score are none", "0.01", _share),
        "flips": Option("csv of the rows that only one of two runs got right", "FILE"),
    },
    "report": {
        "output": Option("default: report.html in the run's folder, of several runs here", "FILE"),
        "overwrite": Option("replace a file that is not a report", "true", _switch),
    },
    "merge": {"output": Option("a new folder", "FOLDER")},
}
FOLDERS = {"compare": "RUN ...", "report": "RUN ...", "merge": "RUN"}
ABOUT = {
    "compare": "RUN: a run folder, or a folder that holds some",
    "report": "RUN: a run folder, or a folder that holds some",
    "merge": "RUN: folder of a run that LoRA trained, or of its checkpoint",
}


def asks_for_help(words: list[str]) -> bool:
    return bool({"-h", "--help"} & set(words))


def help_text(command: str, about: str) -> str:
    """Return what `ftclf COMMAND --help` prints."""
    options = OPTIONS[command]
    width = max(len(f"{name}={option.example}") for name, option in options.items())
    lines = [f"  {f'{name}={option.example}':<{width}}  {option.about}" for name, option in options.items()]
    usage = f"usage: ftclf {command} {FOLDERS[command]} [SETTING=VALUE ...]"
    return "\n".join([usage, f"\n{about}", ABOUT[command], "", *lines])


def read_words(command: str, words: list[str]) -> tuple[list[Path], dict[str, Any]]:
    """Return the folders and the settings of a command line. Raises ConfigError for a word that is neither."""
    folders: list[Path] = []
    settings: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            folders += map(Path, rest)
            break
        name, equals, value = word.lstrip("-").partition("=")
        key = name.replace("-", "_")
        if not word.startswith("-") and not (equals and (key in OPTIONS[command] or _is_setting(word))):
            folders.append(Path(word).expanduser())
            continue
        key = _known(command, key)
        if not equals:
            switch = OPTIONS[command][key].read is _switch
            value = "true" if switch else rest.pop(0) if rest else ""
        if key in settings:
            raise ConfigError(f"{key}: given twice; drop one of the two")
        settings[key] = _value(command, key, value)
    if not folders:
        raise ConfigError(f"{command}: no run given; write ftclf {command} RUN")
    return folders, settings


def _is_setting(word: str) -> bool:
    return word.partition("=")[0].isidentifier() and not exists(word)


def _known(command: str, key: str) -> str:
    """Return the name of a setting, which may be shortened as long as it is the only one."""
    options = OPTIONS[command]
    begun = [name for name in options if name.startswith(key)]
    if key in options or len(begun) == 1:
        return key if key in options else begun[0]
    raise ConfigError(f"{key}: no such setting, allowed: {', '.join(options)}.{did_you_mean(key, options)}")


def _value(command: str, key: str, text: str) -> Any:
    option = OPTIONS[command][key]
    if not text:
        raise ConfigError(f"{key}: not given; write {pasteable(f'{key}={option.example}')}")
    try:
        return option.read(text)
    except ValueError as error:
        raise ConfigError(f"{key}: got '{text}', allowed: {error}") from error
