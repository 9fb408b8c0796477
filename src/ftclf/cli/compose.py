"""From words on the command line to checked configs, before anything heavy is imported and before Hydra runs."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from ftclf.cli.config_dir import check_config_dir
from ftclf.cli.hydra_errors import SCHEMAS, explain, no_such_setting, setting_names
from ftclf.cli.hydra_guard import (
    OPEN,
    OPTIONS_WITH_VALUE,
    Settings,
    chooses,
    hydra_settings,
    parser,
    refuse_code,
    refuse_words,
    words_for_hydra,
)
from ftclf.cli.ls import GROUPS
from ftclf.cli.no_effect import refused
from ftclf.cli.quoting import literally, quoted
from ftclf.cli.renamed_yaml import rename_in_yaml
from ftclf.cli.text_settings import as_typed
from ftclf.config import VARIANTS, TrainConfig, check, config_folder, train_config_from
from ftclf.config.did_you_mean import did_you_mean
from ftclf.config.differences import within
from ftclf.system.errors import ConfigError
from ftclf.system.signals import unbroken

# Hydra and OmegaConf raise the plain ones for a group that is null, a key below one, a list where there is a dict.
COMPOSE_ERRORS = (HydraException, OmegaConfBaseException, ValueError, AssertionError, AttributeError, YAMLError)


_registered: dict[str, Any] = {}  # the node of the first schema, while Hydra's store holds the schemas


def register() -> None:
    """Put the schemas where the yaml files find them. Also called in each worker of a launcher."""
    rename_in_yaml()
    store = ConfigStore.instance()
    first = f"{next(iter(SCHEMAS))}_schema.yaml"
    if first not in _registered or store.repo.get(first) is not _registered[first]:  # a tenth of a second, often
        for command, schema in SCHEMAS.items():
            store.store(name=f"{command}_schema", node=schema)
        for group, variants in VARIANTS.items():
            for name, variant in variants.items():
                store.store(group=group, name=f"{name}_schema", node=variant)
        _registered[first] = store.repo[first]
    OmegaConf.register_new_resolver("times", lambda a, b: a * b, replace=True)
    OmegaConf.clear_resolver("oc.env")  # a config of someone else would write secrets of the environment into files


def parse(words: list[str], command: str = "train") -> Any:
    """Return Hydra's options and overrides. `words` is put into the form that Hydra itself reads later.

    Raises ConfigError for a word that is no assignment, takes a setting away, or names code to run.
    """
    # training.extra is open: its keys need no + of Hydra's.
    words[:] = [f"++{word}" if word.startswith("training.extra.") else word for word in words]
    # Options may stand anywhere; argparse wants them before the overrides.
    words[:] = as_typed(command, _options_first(words), sweeps=not {"-m", "--multirun"}.isdisjoint(words))
    args = parser().parse_args(words)
    if sum(map(bool, (args.run, args.multirun, args.cfg, args.info, args.shell_completion))) > 1:
        raise ConfigError("--run, --multirun, --cfg, --info: allowed: one of them")
    refuse_words(args)
    if args.config_dir is not None:
        check_config_dir(Path(args.config_dir).expanduser())
    for word in args.overrides:
        if word.startswith("~"):
            raise ConfigError(f"{word}: a setting cannot be taken away; give it another value, or null")
        if "=" not in word:
            guess = did_you_mean(word, GROUPS)
            raise ConfigError(f"{word}: not an assignment; write setting=value, without spaces.{guess}")
    return args


def _options_first(words: list[str]) -> list[str]:
    options: list[str] = []
    overrides: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            overrides.append(word)
            continue
        options.append(word)
        if word in OPTIONS_WITH_VALUE:
            options += itertools.islice(rest, 1)
    return [*options, *overrides]


def only_shows(args: Any) -> bool:
    """Return whether Hydra is asked to show something instead of running."""
    return bool(args.help or args.hydra_help or args.cfg or args.info or args.shell_completion)


def checked_hydra(command: str, args: Any) -> None:
    """Check what Hydra is told where it only shows a config. Raises ConfigError for code to run."""
    if not args.shell_completion:
        composed(command, args)


def composed(command: str, args: Any) -> DictConfig:
    """Return the config that a command line gives, of a sweep that of its first job, with what is still missing."""
    with _composing():
        return _compose(command, args, _without_sweeps(args))


def checked_jobs(command: str, args: Any) -> list[Any]:
    """Compose and check the config of every job, before anything heavy is imported.

    Raises one ConfigError with a line for each problem of any job.
    """
    with _composing():
        jobs: list[Any] = []
        problems: dict[str, None] = {}
        alone = _without_sweeps(args)
        cfg = _compose(command, args, alone)
        for overrides in _overrides_of_jobs(command, args, cfg):
            try:
                config = to_dataclass(cfg if overrides == alone else _compose(command, args, overrides), command)
                check(config)
                if isinstance(config, TrainConfig):
                    problems.update(dict.fromkeys(refused(config, given_settings(args))))
                jobs.append(config)
            except ConfigError as error:
                problems.update(dict.fromkeys(str(error).splitlines()))
    if problems:
        raise ConfigError("\n".join(problems))
    return jobs


def given_settings(args: Any) -> set[str]:
    """Return the names of the settings that a command line gives."""
    return {word.partition("=")[0].lstrip("+") for word in args.overrides}


def changed(config: Any, overrides: list[str]) -> Any:
    """Return a copy of a config with overrides of single settings in it. Raises ConfigError for what does not fit."""
    cfg = OmegaConf.structured(train_config_from(literally(asdict(config))))
    grammar = OverridesParser.create()
    for word in overrides:
        key = word.split("=")[0].lstrip("+")
        if key in GROUPS:
            own = {"dataset": config.dataset.name, "model": config.model.name, "method": config.method.kind}.get(key)
            raise ConfigError(
                f"resume: {key} was {own or 'settled'}, now it is {word.partition('=')[2]}; "
                "a run goes on with its own, train another in a folder of its own"
            )
        try:
            override = grammar.parse_override(word)
            OmegaConf.update(cfg, key, override.value(), force_add=key.startswith("training.extra."))
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(explain(error, word, "train")) from error
    return OmegaConf.to_object(cfg)


def overrides_of_jobs(command: str, args: Any) -> list[list[str]]:
    """Return what each job of a command line overrides, in the order of `checked_jobs`."""
    with _composing():
        return _overrides_of_jobs(command, args, _compose(command, args, _without_sweeps(args)))


def _overrides_of_jobs(command: str, args: Any, cfg: DictConfig) -> list[list[str]]:
    params = dict(cfg.hydra.sweeper.params or {})
    for key in params:
        if any(word.split("=")[0].lstrip("+") == key for word in args.overrides):
            raise ConfigError(f"{key}: given on the command line and swept by the config ({params[key]}); drop one")
    swept = [f"{key}={value}" for key, value in params.items()]
    if swept and not args.multirun:
        raise ConfigError(f"{command}: {' and '.join(swept)} describe a sweep; add -m to run it")
    return list(_expand([*swept, *args.overrides]))


def _composing() -> Any:
    GlobalHydra.instance().clear()
    return initialize_config_dir(config_dir=str(config_folder()), version_base="1.3", job_name="ftclf")


@functools.cache
def _settings(command: str, words: tuple[str, ...]) -> Settings:
    """Return the settings of Hydra that yaml files and words of the command line give."""
    return hydra_settings(compose(command, overrides=list(words), return_hydra_config=True))


def _refuse_code(command: str, cfg: DictConfig, folder: list[str], overrides: list[str]) -> None:
    chosen: Settings = {}
    installed: Settings = {}
    for part in OPEN:
        words = words_for_hydra(overrides, part)
        files = chooses(words)
        # Only a choice may mean a file of the user's; without one a file of that name would be in ftclf's place.
        chosen |= _of_part(part, _settings(command, (*(folder if files else ()), *words)))
        with suppress(*COMPOSE_ERRORS):  # the file is in the user's folder alone
            installed |= _of_part(part, _settings(command, files))
    refuse_code(hydra_settings(cfg), usual=_settings(command, ()), chosen=chosen, installed=installed)


def _of_part(part: str, settings: Settings) -> Settings:
    return {key: value for key, value in settings.items() if within(key, part)}


def _compose(command: str, args: Any, overrides: list[str]) -> DictConfig:
    """Compose, or raise a ConfigError with a line for every override that does not fit."""
    extra = []
    if args.config_dir is not None:
        folder = Path(args.config_dir).expanduser().resolve()
        if not folder.is_dir():
            raise ConfigError(f"--config-dir: no folder {args.config_dir}")
        extra = [f"hydra.searchpath=[{quoted(f'file://{folder}')}]"]
    try:
        cfg = compose(command, overrides=[*extra, *overrides], return_hydra_config=True)
        _refuse_code(command, cfg, extra, overrides)
        return cfg
    except COMPOSE_ERRORS as error:
        whole = error
    try:
        compose(command, overrides=extra, return_hydra_config=True)
    except COMPOSE_ERRORS as error:  # a file of --config-dir stands in the way of one of ftclf's own
        raise ConfigError(explain(error, "", command)) from error
    problems, fitting = [], list(extra)
    known = setting_names(command)
    for override in sorted(overrides, key=lambda word: word.split("=")[0].lstrip("+~") not in GROUPS):
        added = override.split("=")[0].lstrip("+")
        if override.startswith("+") and added not in known and not added.startswith(("hydra", "training.extra.")):
            problems.append(no_such_setting(added, command, override.partition("=")[2]))
            continue
        try:
            compose(command, overrides=[*fitting, override], return_hydra_config=True)
            fitting.append(override)
        except COMPOSE_ERRORS as error:
            problems.append(explain(error, override, command))
    try:  # what does fit may still be out of its range: all problems of a config at once
        check(to_dataclass(compose(command, overrides=fitting, return_hydra_config=True), command))
    except ConfigError as error:
        said = {word.split("=")[0].lstrip("+~") for word in overrides if word not in fitting}
        problems += [line for line in str(error).splitlines() if line.split(":")[0] not in said]
    except COMPOSE_ERRORS:
        pass
    raise ConfigError("\n".join(problems or [explain(whole, "", command)]))


def chooses_sweeper(overrides: list[str]) -> bool:
    """Return whether a sweeper was asked for, which finds out itself what jobs there are."""
    return any(words_for_hydra(chooses(overrides), "sweeper"))


def _expand(overrides: list[str]) -> Iterator[list[str]]:
    """Yield the overrides of every job: choices, ranges and globs multiply; of an interval the ends stand for all."""
    grammar = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    choices: list[list[str]] = []
    for word in overrides:
        try:
            override = grammar.parse_override(word)
        except HydraException:
            choices.append([word])
            continue
        key = override.get_key_element()
        if not override.is_sweep_override():
            choices.append([word])
        elif override.is_discrete_sweep():
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        elif chooses_sweeper(overrides):
            interval = cast(IntervalSweep, override.value())
            choices.append([f"{key}={value}" for value in (interval.start, interval.end)])
        else:
            raise ConfigError(f"{word}: an interval is for a hydra/sweeper that searches it; write {key}=A,B,C")
    for job in itertools.product(*choices):
        yield list(job)


def _without_sweeps(args: Any) -> list[str]:
    if not args.multirun:
        return list(args.overrides)
    return next(_expand(args.overrides))


def to_dataclass(cfg: DictConfig, command: str) -> Any:
    """Turn a composed config into its dataclass. Raises ConfigError for keys that no setting has."""
    with unbroken():  # OmegaConf's own clean-up fails where a signal breaks in
        return _to_dataclass(cfg, command)


def _to_dataclass(cfg: DictConfig, command: str) -> Any:
    plain = cfg.copy()
    with open_dict(plain):
        plain.pop("hydra", None)
    unknown = list(_unknown_keys(plain, ""))
    if unknown:
        raise ConfigError("\n".join(no_such_setting(key, command) for key in unknown))
    try:
        if missing := sorted(OmegaConf.missing_keys(plain)):
            ways = {"checkpoint": f"write ftclf {command} RUN"}
            raise ConfigError("\n".join(f"{key}: not given; {ways.get(key, f'add {key}=...')}" for key in missing))
        return OmegaConf.to_object(plain)
    except (OmegaConfBaseException, RecursionError) as error:
        raise ConfigError(explain(error, "", command)) from error


def _unknown_keys(cfg: DictConfig, prefix: str) -> Iterator[str]:
    names = getattr(OmegaConf.get_type(cfg), "__dataclass_fields__", None)
    for key in map(str, cfg):
        if names is not None and key not in names:
            yield f"{prefix}{key}"
        elif not OmegaConf.is_missing(cfg, key) and not OmegaConf.is_interpolation(cfg, key):
            child = cfg[key]
            if isinstance(child, DictConfig):
                yield from _unknown_keys(child, f"{prefix}{key}.")
