"""What words and yaml files may tell Hydra. Hydra runs whatever it is named.

`_target_` of a callback, `()` of a log handler, a search path that is a module, a pickled config, shell lines of a
launcher: each is code that a config of someone else could bring along. So the settings of Hydra must be those of
ftclf, but for a launcher and a sweeper that the command line chooses, and what a yaml file sweeps over.

The two are plugins that are installed. What else in them has a `_target_`, as the sampler of a sweeper, or is computed
by an interpolation, which could make one, must stand so in the installed package's own yaml files.
"""

from __future__ import annotations

import functools
import re
from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from ftclf.config.differences import within
from ftclf.system.errors import ConfigError, short

Settings = dict[str, Any]  # by their dotted names
OPEN = ("launcher", "sweeper")
# What Hydra writes itself when it composes: the words, the choices, the search path of --config-dir.
ITS_OWN = ("overrides", "job.name", "job.config_name", "job.override_dirname", "runtime", "searchpath")
SWEPT = "sweeper.params"  # what yaml files may say of a sweep
INTERPOLATION = r"\s*\$\{.*\}\s*"  # and nothing else: within a text it only gives more text
ALLOWED = f"allowed: {' and '.join(f'hydra/{name}' for name in OPEN)}, with their settings, on the command line"
OPTIONS_WITH_VALUE = (
    *("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp"),
    *("--package", "-p", "--cfg", "-c", "--experimental-rerun"),
)
# They load a pickle, or a train.yaml in the place of ftclf's.
REFUSED_OPTIONS = ("experimental_rerun", "config_path", "config_name")


def parser() -> ArgumentParser:
    """Return Hydra's parser of options, with errors of ours."""
    found = get_args_parser()
    found.error = _refuse  # type: ignore[method-assign]
    return found


@functools.cache
def hydra_options() -> frozenset[str]:
    """Return the options that Hydra knows, as `--cfg` and `-c`."""
    return frozenset(parser()._option_string_actions)


def refuse_words(args: Any) -> None:
    """Raise ConfigError for options and words that would make Hydra import or write something while it composes."""
    for name in REFUSED_OPTIONS:
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')}: allowed: --config-dir with a folder of yaml files")
    for word in words_for_hydra(args.overrides):
        key = word.split("=")[0].lstrip("+~")
        if "_target_" in word:
            raise ConfigError(f"{key}: allowed: nothing with _target_; configs name no code to run")
        if not any(words_for_hydra([word], part) for part in OPEN):
            raise ConfigError(f"{key}: {ALLOWED}")


def words_for_hydra(words: Iterable[str], part: str = "") -> tuple[str, ...]:
    """Return the words of a command line that set something of Hydra's own, or of a part of it."""
    start = rf"[+~]*hydra[./]{part}([./@=]|$)" if part else r"[+~]*hydra([./@=]|$)"
    return tuple(word for word in words if re.match(start, word))


def chooses(words: Iterable[str]) -> tuple[str, ...]:
    """Return those of the words for Hydra that choose a yaml file, as hydra/launcher=joblib does."""
    return tuple(word for word in words if "/" in word.split("=")[0])


def refuse_code(found: Settings, usual: Settings, chosen: Settings, installed: Settings) -> None:
    """Raise ConfigError where the settings of Hydra could run code that the command line does not ask for.

    `usual` are ftclf's own, `chosen` what the command line makes of launcher and sweeper, and `installed` what the
    yaml files of installed packages alone do.
    """
    for key in dict.fromkeys([*found, *usual, *chosen]):
        value, part = found.get(key), key.split(".")[0]
        if part in OPEN:
            _refuse_code_of_part(key, value, installed.get(key))
        if any(within(key, own) for own in (*ITS_OWN, SWEPT)):
            continue
        if value != (chosen if part in OPEN else usual).get(key):
            raise ConfigError(f"hydra.{key}: {ALLOWED}")


def _refuse_code_of_part(key: str, value: Any, installed: Any) -> None:
    if key.split(".")[1:] == ["_target_"]:
        if value not in {f"{plugin.__module__}.{plugin.__qualname__}" for plugin in Plugins.instance().discover()}:
            raise ConfigError(f"hydra.{key}: got '{value}', allowed: installed plugins of Hydra")
    elif "_target_" in key and value != installed:
        raise ConfigError(
            f"hydra.{key}: got '{short(value)}', allowed: what the installed plugin says; configs name no code to run"
        )
    elif re.search(r"\.[+~]*hydra([./@=]|$)", key):  # in what is swept it would be a word of the command line
        raise ConfigError(f"hydra.{key}: {ALLOWED}")
    elif isinstance(value, str) and re.fullmatch(INTERPOLATION, value, re.DOTALL) and value != installed:
        raise ConfigError(f"hydra.{key}: got '{short(value)}', allowed: a value, or a text with ${{...}} in it")


def hydra_settings(cfg: DictConfig) -> Settings:
    """Return Hydra's own settings in a config by their dotted names, interpolations as they are written."""
    found: Settings = {}
    stack = [("", OmegaConf.to_container(cfg.hydra, resolve=False))]
    while stack:
        name, value = stack.pop()
        if isinstance(value, dict | list) and value:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            stack += [(".".join([*filter(None, [name]), str(key)]), item) for key, item in items]
        elif name in found:
            raise ConfigError(f"hydra.{name}: there twice, once by a name with a dot in it; one would hide the other")
        else:
            found[name] = value
    return found


def _refuse(message: str) -> NoReturn:
    raise ConfigError(f"{message}; --help lists what there is")
