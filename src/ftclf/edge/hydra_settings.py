"""What words and yaml files may tell Hydra. Hydra runs whatever it is named.

`_target_` of a callback, `()` of a log handler, a search path that is a module, a pickled config, shell lines of a
launcher: each is code that a config of someone else could bring along. So the settings of Hydra must be those of
ftclf, but for a launcher and a sweeper that the command line chooses, and what a yaml file sweeps over.
"""

from __future__ import annotations

import re
from argparse import ArgumentParser
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from ftclf.differences import within
from ftclf.errors import ConfigError

OPEN = ("launcher", "sweeper")
# What Hydra writes itself when it composes: the words, the choices, the search path of --config-dir.
ITS_OWN = ("overrides", "job.name", "job.config_name", "job.override_dirname", "runtime", "searchpath")
SWEPT = "sweeper.params"  # what yaml files may say of a sweep
ALLOWED = f"allowed: {' and '.join(f'hydra/{name}' for name in OPEN)}, with their settings, on the command line"
# They load a pickle, or a train.yaml in the place of ftclf's.
REFUSED_OPTIONS = ("experimental_rerun", "config_path", "config_name")


def parser() -> ArgumentParser:
    """Return Hydra's parser of options, with errors of ours."""
    found = get_args_parser()
    found.error = _refuse  # type: ignore[method-assign]
    return found


def refuse_words(args: Any) -> None:
    """Raise ConfigError for options and words that would make Hydra import or write something while it composes."""
    for name in REFUSED_OPTIONS:
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')}: allowed: --config-dir with a folder of yaml files")
    for word in words_for_hydra(args.overrides):
        key = word.split("=")[0].lstrip("+~")
        if "_target_" in word:
            raise ConfigError(f"{key}: allowed: nothing with _target_; configs name no code to run")
        if not key[6:].startswith(OPEN):
            raise ConfigError(f"{key}: {ALLOWED}")


def words_for_hydra(words: list[str]) -> tuple[str, ...]:
    """Return the words of a command line that set something of Hydra's own."""
    return tuple(word for word in words if re.match(r"[+~]*hydra([./=]|$)", word))


def refuse_code(cfg: DictConfig, usual: dict[str, Any]) -> None:
    """Raise ConfigError where a config has other settings of Hydra than `usual`: ftclf's own and the command line's."""
    found = hydra_settings(cfg)
    for key in dict.fromkeys([*found, *usual]):
        if key.split(".")[0] in OPEN:
            _refuse_target(key, found.get(key))
        if not any(within(key, own) for own in (*ITS_OWN, SWEPT)) and found.get(key) != usual.get(key):
            raise ConfigError(f"hydra.{key}: {ALLOWED}")


def _refuse_target(key: str, value: Any) -> None:
    if key.split(".")[1:] == ["_target_"]:
        if value not in {f"{plugin.__module__}.{plugin.__qualname__}" for plugin in Plugins.instance().discover()}:
            raise ConfigError(f"hydra.{key}: got '{value}', allowed: installed plugins of Hydra")
    elif "_target_" in key:
        raise ConfigError(f"hydra.{key}: allowed: nothing; configs name no code to run")


def hydra_settings(cfg: DictConfig) -> dict[str, Any]:
    """Return Hydra's own settings in a config by their dotted names, interpolations as they are written."""
    found, stack = {}, [("", OmegaConf.to_container(cfg.hydra, resolve=False))]
    while stack:
        name, value = stack.pop()
        if isinstance(value, dict | list) and value:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            stack += [(".".join([*filter(None, [name]), str(key)]), item) for key, item in items]
        else:
            found[name] = value
    return found


def _refuse(message: str) -> NoReturn:
    raise ConfigError(f"{message}; --help lists what there is")
