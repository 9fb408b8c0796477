"""Hydra's edge: command lines become plain dataclasses here, and below it nothing has seen Hydra or OmegaConf."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from ftclf.config import (
    HEADLINES,
    DatasetConfig,
    EvalConfig,
    FullConfig,
    HeadConfig,
    LoraConfig,
    PredictConfig,
    TrainConfig,
    check,
    config_folder,
    train_config_from,
)
from ftclf.errors import ConfigError, RunError, SweepError, did_you_mean
from ftclf.listing import GROUPS
from ftclf.runs import Run, find_failures, find_runs, read_json, refuse_taken, write_json

# Hydra and OmegaConf raise the latter two for a group that is null or a key below one.
COMPOSE_ERRORS = (HydraException, OmegaConfBaseException, ValueError, AssertionError)
OPTIONS_WITH_VALUE = {
    "--config-dir",
    "-cd",
    "--config-name",
    "-cn",
    "--config-path",
    "-cp",
    "--package",
    "-p",
    "--cfg",
    "-c",
    "--experimental-rerun",
}
SCHEMAS = {"train": TrainConfig, "eval": EvalConfig, "predict": PredictConfig}


def run_train(words: list[str]) -> int:
    """Train one run, or each job of a sweep, or go on with a run."""
    _register()
    args = _parse(words)
    if _only_shows(args):
        return _hand_to_hydra("train", words)
    if resumed := [word for word in args.overrides if word.startswith("resume=")]:
        return _resume(resumed[0].removeprefix("resume="), args.overrides)
    jobs = _checked_jobs("train", args)
    folder = _run_folder(jobs[0], sweep=bool(args.multirun))
    if args.multirun:
        for number in range(len(jobs)):
            refuse_taken(folder / str(number), overwrite=jobs[number].overwrite, resume=False)
        print(f"{len(jobs)} jobs in {folder}", flush=True)
        _hand_to_hydra("train", [*words, f"hydra.sweep.dir={_quoted(str(folder))}"])
        return _finish_sweep(folder, len(jobs), HEADLINES[jobs[0].dataset.task][0])
    refuse_taken(folder, overwrite=jobs[0].overwrite, resume=False)
    return _hand_to_hydra("train", [*words, f"hydra.run.dir={_quoted(str(folder))}"])


def run_eval(words: list[str]) -> int:
    """Score a checkpoint."""
    return _run_plain("eval", words)


def run_predict(words: list[str]) -> int:
    """Label texts."""
    return _run_plain("predict", words)


def _run_plain(command: str, words: list[str]) -> int:
    _register()
    args = _parse(words)
    if args.multirun:
        raise ConfigError(f"{command}: -m sweeps are for train; run {command} once for each checkpoint")
    if not _only_shows(args):
        _checked_jobs(command, args)
    return _hand_to_hydra(command, words)


# ---- the tasks that Hydra calls: module-level, so that launchers can pickle them


def train_task(cfg: DictConfig) -> float:
    """Train in the folder that Hydra made. A job of a sweep that fails leaves its reason there and returns NaN."""
    _register()
    folder = Path(HydraConfig.get().runtime.output_dir)
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        from ftclf.training import train

        config = _to_dataclass(cfg, "train")
        overrides = list(HydraConfig.get().overrides.task)
        if sweeping:
            print(f"\njob {HydraConfig.get().job.num}: {' '.join(overrides)}", flush=True)
        return train(config, folder, shlex.join(["ftclf", "train", *overrides]))
    except Exception as error:
        if not sweeping:
            _remove_if_empty(folder)
            _failures.append(error)
            return float("nan")
        from ftclf.cli import report

        report(error)
        reason = " ".join(str(error).split()) or type(error).__name__
        overrides = list(HydraConfig.get().overrides.task)
        write_json(Run(folder).failure, {"error": type(error).__name__, "reason": reason, "overrides": overrides})
        return float("nan")


def eval_task(cfg: DictConfig) -> None:
    """Score; an error waits for `_hand_to_hydra`, since Hydra would print around it."""
    from ftclf.eval import evaluate_checkpoint

    try:
        evaluate_checkpoint(_to_dataclass(cfg, "eval"))
    except Exception as error:
        _failures.append(error)


def predict_task(cfg: DictConfig) -> None:
    """Label texts; errors as in `eval_task`."""
    from ftclf.predict import predict

    try:
        predict(_to_dataclass(cfg, "predict"))
    except Exception as error:
        _failures.append(error)


_failures: list[Exception] = []

TASKS: dict[str, Any] = {"train": train_task, "eval": eval_task, "predict": predict_task}


# ---- composing and checking before Hydra runs


def _checked_jobs(command: str, args: Any) -> list[Any]:
    """Compose and check the config of every job, before anything heavy is imported.

    Raises one ConfigError with a line for each problem of any job.
    """
    with _composing(args):
        first = _compose(command, args, _without_sweeps(args))
        params = dict(first.hydra.sweeper.params or {})
        for key in params:
            if any(word.split("=")[0].lstrip("+") == key for word in args.overrides):
                raise ConfigError(f"{key}: given on the command line and swept by the config ({params[key]}); drop one")
        swept = [f"{key}={value}" for key, value in params.items()]
        if swept and not args.multirun:
            raise ConfigError(f"{command}: {' and '.join(swept)} describe a sweep; add -m to run it")
        jobs: list[Any] = []
        problems: dict[str, None] = {}
        for overrides in _expand([*swept, *args.overrides]):
            try:
                config = _to_dataclass(_compose(command, args, overrides), command)
                check(config)
                jobs.append(config)
            except ConfigError as error:
                problems.update(dict.fromkeys(str(error).splitlines()))
    if problems:
        raise ConfigError("\n".join(problems))
    return jobs


def _composing(args: Any) -> Any:
    GlobalHydra.instance().clear()
    return initialize_config_dir(config_dir=str(config_folder()), version_base="1.3", job_name="ftclf")


def _compose(command: str, args: Any, overrides: list[str]) -> DictConfig:
    """Compose, or raise a ConfigError with a line for every override that does not fit."""
    extra = []
    if args.config_dir is not None:
        folder = Path(args.config_dir).expanduser().resolve()
        if not folder.is_dir():
            raise ConfigError(f"--config-dir: no folder {args.config_dir}")
        extra = [f"hydra.searchpath=[{_quoted(f'file://{folder}')}]"]
    name = args.config_name or command
    try:
        return compose(name, overrides=[*extra, *overrides], return_hydra_config=True)
    except COMPOSE_ERRORS as error:
        whole = error
    problems, fitting = [], list(extra)
    known = _setting_names(command)
    for override in sorted(overrides, key=lambda word: word.split("=")[0].lstrip("+~") not in GROUPS):
        added = override.split("=")[0].lstrip("+")
        if override.startswith("+") and added not in known and not added.startswith(("hydra", "training.extra.")):
            problems.append(f"{added}: no such setting.{did_you_mean(added, known)}")
            continue
        try:
            compose(name, overrides=[*fitting, override], return_hydra_config=True)
            fitting.append(override)
        except COMPOSE_ERRORS as error:
            problems.append(_explain(error, override, command))
    if not problems:
        raise ConfigError(_explain(whole, "", command))
    try:  # what does fit may still be out of its range: all problems of a config at once
        check(_to_dataclass(compose(name, overrides=fitting, return_hydra_config=True), command))
    except ConfigError as error:
        said = {word.split("=")[0].lstrip("+~") for word in overrides if word not in fitting}
        problems += [line for line in str(error).splitlines() if line.split(":")[0] not in said]
    raise ConfigError("\n".join(problems))


def _expand(overrides: list[str]) -> Iterator[list[str]]:
    """Yield the overrides of every job: choices, ranges and globs multiply."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    choices: list[list[str]] = []
    for word in overrides:
        try:
            override = parser.parse_override(word)
        except HydraException:
            choices.append([word])
            continue
        if override.is_sweep_override():
            key = override.get_key_element()
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            choices.append([word])
    for job in itertools.product(*choices):
        yield list(job)


def _without_sweeps(args: Any) -> list[str]:
    if not args.multirun:
        return list(args.overrides)
    return next(_expand(args.overrides))


def _to_dataclass(cfg: DictConfig, command: str) -> Any:
    """Turn a composed config into its dataclass. Raises ConfigError for keys that no setting has."""
    plain = cfg.copy()
    with open_dict(plain):
        plain.pop("hydra", None)
    unknown = list(_unknown_keys(plain, ""))
    if unknown:
        known = _setting_names(command)
        raise ConfigError("\n".join(f"{key}: no such setting.{did_you_mean(key, known)}" for key in unknown))
    if missing := sorted(OmegaConf.missing_keys(plain)):
        raise ConfigError("\n".join(f"{key}: not given; add {key}=..." for key in missing))
    try:
        return OmegaConf.to_object(plain)
    except OmegaConfBaseException as error:
        raise ConfigError(_explain(error, "", command)) from error


def _unknown_keys(cfg: DictConfig, prefix: str) -> Iterator[str]:
    names = getattr(OmegaConf.get_type(cfg), "__dataclass_fields__", None)
    for key in map(str, cfg):
        if names is not None and key not in names:
            yield f"{prefix}{key}"
        elif not OmegaConf.is_missing(cfg, key) and not OmegaConf.is_interpolation(cfg, key):
            child = cfg[key]
            if isinstance(child, DictConfig):
                yield from _unknown_keys(child, f"{prefix}{key}.")


# ---- errors of Hydra and OmegaConf as one line


def _explain(error: BaseException, override: str, command: str) -> str:
    """Return one line: the setting, what it got, what is allowed, the nearest name."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    text = " ".join(" ".join(str(part) for part in chain).split())
    key, _, value = override.partition("=")
    key = key.lstrip("+~")
    if found := re.search(r"Could not find '([\w/]+)/([^']+)'.*?Available options in '[\w/]+': ?(.*)", text):
        group, name = found[1], found[2]
        options = re.findall(r"[\w.-]+", re.split(r"Config search path", found[3])[0])
        options = [option for option in options if not option.endswith("_schema")]
        return f"{group}: got '{name}', allowed: {', '.join(options)}.{did_you_mean(name, options)}"
    if found := re.search(r"Could not (?:override|append to config)[^']*'([^']+)'|Key '([^']+)' (?:is )?not in", text):
        name = _full_key(text) or key or found[1] or found[2]
        where = re.search(r"In '([^']+)'", text)
        prefix = f"{where[1]}.yaml: " if where else ""
        known = _setting_names(command)
        variant = re.search(r"object_type=(\w+)Config", text)
        if name not in known:
            return f"{prefix}{name}: no such setting.{did_you_mean(name, known)}"
        if name.startswith("method.") and variant:
            return f"{prefix}{name}: method={variant[1].lower()} has no such setting; it belongs to another method"
    if found := re.search(r"Value '(.*?)' .*?could not be converted to (\w+)|Value '(.*?)' is not a valid (\w+)", text):
        kinds = {
            "Integer": "a whole number",
            "Float": "a number",
            "bool": "true or false",
            "Boolean": "true or false",
        }
        got, kind = (found[1], found[2]) if found[2] else (found[3], found[4])
        return f"{_full_key(text) or key}: got '{got}', allowed: {kinds.get(kind, kind.lower())}"
    if (
        "mismatched input" in text
        or "no viable alternative" in text
        or "token recognition" in text
        or "extraneous" in text
        or "LexerNoViableAlt" in text
    ):
        return f"{override}: cannot be read; write setting=value, with quotes around values that hold = , or spaces"
    if "is not a ListConfig" in text:
        return f"{_full_key(text) or key}: got '{value}', allowed: a list, as in {key}=[a,b]"
    if "sweep parameters" in text.lower() or "multirun" in text.lower():
        return f"{key}: got several values ({value}); add -m to run a sweep over them"
    if key in GROUPS and value in ("null", "None", ""):
        return f"{key}: got null, allowed: one of its options; ftclf ls {key} lists them"
    if "not Optional" in text or "non-optional" in text.lower():
        return f"{_full_key(text) or key}: got null, allowed: a value"
    if command == "eval" and key.startswith("dataset."):
        return f"{key}: which data? Choose it too, as in dataset=files dataset.test=new.csv"
    return f"{override or 'config'}: {text[:300]}"


def _full_key(text: str) -> str:
    found = re.search(r"full_key: ([\w.\[\]]+)", text)
    return found[1] if found else ""


def _setting_names(command: str) -> list[str]:
    """Return the dotted names of every setting of a command, those of all method variants among them."""
    names: list[str] = list(GROUPS)

    def walk(schema: Any, prefix: str) -> None:
        for name, item in schema.__dataclass_fields__.items():
            names.append(f"{prefix}{name}")
            kind = item.default_factory
            if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__"):
                walk(kind, f"{prefix}{name}.")

    walk(SCHEMAS[command], "")
    if command == "train":
        for variant in (FullConfig, HeadConfig, LoraConfig):
            walk(variant, "method.")
    if command == "eval":
        walk(DatasetConfig, "dataset.")
    return list(dict.fromkeys(names))


# ---- folders


def _run_folder(config: TrainConfig, *, sweep: bool) -> Path:
    """Return the folder of a run or sweep: run_dir, else runs_dir/<name>/<time to the microsecond>."""
    if config.run_dir:
        return Path(config.run_dir).expanduser().absolute()
    name = config.name or f"{config.dataset.name}-{config.model.alias}-{config.method.kind}"
    name = re.sub(r"[^\w.+-]", "_", name).strip(".") or "run"
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    return Path(config.runs_dir).expanduser().absolute() / (f"sweep-{name}" if sweep else name) / stamp


def _remove_if_empty(folder: Path) -> None:
    """Take back the empty folders that a run which never began would leave behind."""
    for path in (folder, folder.parent):
        try:
            path.rmdir()
        except OSError:
            return


def _resume(name: str, overrides: list[str]) -> int:
    folder = Path(name.strip("'\"")).expanduser()
    others = [word for word in overrides if not word.startswith("resume=")]
    if others:
        raise ConfigError(f"resume: a run goes on with its own settings; drop {', '.join(others)}")
    if not Run(folder).config.is_file():
        raise RunError(f"resume: {folder} holds no run (no config.json in it)")
    raw = read_json(Run(folder).config)
    try:
        config = train_config_from(raw)
    except (TypeError, KeyError) as error:
        raise RunError(f"resume: {Run(folder).config} is of another version or damaged ({error})") from error
    config.resume = str(folder)
    from ftclf.training import train

    train(config, folder, f"ftclf train resume={folder}")
    return 0


def _finish_sweep(folder: Path, jobs: int, metric: str) -> int:
    """Print the table of a sweep's jobs and name those that failed."""
    from ftclf.compare import compare, plot_if_one_setting_varies

    failures = list(find_failures(folder))
    done = [path.parent for path in folder.glob("*/metrics.json")]
    print()
    if done:
        compare([folder], metric)
        plot_if_one_setting_varies(find_runs([folder]), metric, folder)
    lines = [f"job {run.folder.name} ({' '.join(why['overrides'])}): {why['reason']}" for run, why in failures]
    missing = jobs - len(done) - len(failures)
    if missing > 0:
        lines.append(f"{missing} jobs left neither a result nor a reason: they were killed")
    if lines:
        raise SweepError("\n".join([f"sweep: {jobs - len(done)} of {jobs} jobs failed", *lines]))
    return 0


# ---- Hydra itself


def _hand_to_hydra(command: str, words: list[str]) -> int:
    """Call Hydra's main with a command line of its own; its help, --cfg, --info and completion work as they do."""
    _register()
    GlobalHydra.instance().clear()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here as they are, not as Hydra's text and exit code
    argv = sys.argv
    sys.argv = [f"ftclf {command}", *words]
    try:
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=command)(TASKS[command])()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(error, "", command)) from error
    finally:
        sys.argv = argv
    if _failures:
        raise _failures.pop()
    return 0


def _register() -> None:
    """Put the schemas where the yaml files find them. Also called in each worker of a launcher."""
    store = ConfigStore.instance()
    for command, schema in SCHEMAS.items():
        store.store(name=f"{command}_schema", node=schema)
    for name, variant in (("full", FullConfig), ("head", HeadConfig), ("lora", LoraConfig)):
        store.store(group="method", name=f"{name}_schema", node=variant)
    OmegaConf.register_new_resolver("times", lambda a, b: a * b, replace=True)


def _parse(words: list[str]) -> Any:
    # training.extra is open: its keys need no + of Hydra's.
    words[:] = [f"++{word}" if word.startswith("training.extra.") else word for word in words]
    # Options may stand anywhere; argparse wants them before the overrides.
    words[:] = _options_first(words)
    args = get_args_parser().parse_args(words)
    for word in args.overrides:
        if word.startswith("hydra.") and "_target_" in word:
            raise ConfigError(f"{word.split('=')[0]}: allowed: nothing; configs name no code to run")
        if word.startswith("~"):
            raise ConfigError(f"{word}: a setting cannot be taken away; give it another value, or null")
        if "=" not in word:
            raise ConfigError(f"{word}: not an assignment; write setting=value.{did_you_mean(word, GROUPS)}")
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


def _quoted(text: str) -> str:
    """Return a value as Hydra's grammar quotes it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _only_shows(args: Any) -> bool:
    return bool(args.help or args.hydra_help or args.cfg or args.info or args.shell_completion)
