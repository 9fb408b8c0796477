"""What words and yaml files may tell Hydra: a launcher, a sweeper and their settings. Hydra runs whatever it is named.

`_target_` of a callback, `()` of a log handler, a search path that is a module, a pickled config: each is code that a
config of someone else could bring along. So the settings of Hydra must be those of ftclf, but for those two groups.
"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig, OmegaConf

from ftclf.errors import ConfigError

OPEN = ("launcher", "sweeper")
# What Hydra writes itself when it composes: the words, the choices, the search path of --config-dir.
ITS_OWN = ("overrides", "job.name", "job.config_name", "job.override_dirname", "runtime", "searchpath", "mode")
PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.")
ALLOWED = f"allowed: {' and '.join(f'hydra/{name}' for name in OPEN)}, with their settings"
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
    for word in args.overrides:
        key = word.split("=")[0].lstrip("+~")
        if not key.startswith(("hydra.", "hydra/")) and key != "hydra":
            continue
        if "_target_" in word:
            raise ConfigError(f"{key}: allowed: nothing with _target_; configs name no code to run")
        if not key[6:].startswith(OPEN):
            raise ConfigError(f"{key}: {ALLOWED}")


def refuse_code(cfg: DictConfig, usual: dict[str, Any]) -> None:
    """Raise ConfigError where a composed config has other settings of Hydra than ftclf's own yaml files give."""
    found = hydra_settings(cfg)
    for key in dict.fromkeys([*found, *usual]):
        if key.split(".")[0] in OPEN:
            _refuse_target(key, found.get(key))
        elif not any(key == own or key.startswith(f"{own}.") for own in ITS_OWN) and found.get(key) != usual.get(key):
            raise ConfigError(f"hydra.{key}: {ALLOWED}")


def _refuse_target(key: str, value: Any) -> None:
    if key.split(".")[1:] == ["_target_"]:
        if not str(value).startswith(PLUGINS):
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
