"""The functions of `import ftclf`: words as on the command line, results as objects, and a process left as it was."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf.basecontainer import BaseContainer

from ftclf.cli.compose import checked_jobs, given_settings, parse, register
from ftclf.cli.hydra_guard import hydra_options
from ftclf.cli.no_effect import ignored
from ftclf.cli.quoting import quoted
from ftclf.cli.typed_words import settled, with_files
from ftclf.config import EvalConfig, TrainConfig, check
from ftclf.storage.new_folder import new_run_folder
from ftclf.system.console import note
from ftclf.system.errors import ConfigError
from ftclf.system.library import process_kept
from ftclf.training.resume import find_standing

if TYPE_CHECKING:
    from ftclf.checkpoint.eval import SplitScores
    from ftclf.report.leaderboard import Leaderboard
    from ftclf.training.trained_run import TrainedRun

UNDERSTOOD = ("--config-dir", "-cd")
RESOLVERS = ("times", "oc.env")  # of OmegaConf, that `register` changes
SWEPT = ("-m", "--multirun")
_one_at_a_time = threading.RLock()  # Hydra keeps what it composes in one place for the whole process


def train_config(words: Sequence[str]) -> TrainConfig:
    """Return the config of one run. Raises ConfigError as the command line does, and for a sweep."""
    with _one_at_a_time, _hydra_kept():
        config: TrainConfig
        config, given = _checked("train", words)
        if config.resume:
            raise ConfigError(
                "resume: allowed on the command line; ftclf.train(config, folder) goes on with the run in its folder"
            )
        if config.training.seeds > 1:
            raise ConfigError(
                f"training.seeds: got {config.training.seeds}, allowed: 1; compose a config for each training.seed"
            )
        for line in dict.fromkeys(ignored(config, given)):
            note(line)
    return config


def train_in_process(config: TrainConfig, folder: str | os.PathLike[str] | None) -> TrainedRun:
    """Train one run in a folder, which a new one gets by the time."""
    from ftclf.cli.commands import refuse_several_processes
    from ftclf.training.trained_run import TrainedRun

    refuse_several_processes()
    if not isinstance(config, TrainConfig):
        raise ConfigError(f"config: got {type(config).__name__}, allowed: what ftclf.compose returns")
    if folder is not None:
        config = replace(config, run_dir=os.fspath(folder))
    check(config)
    with new_run_folder(config, sweep=False) as place:
        find_standing(config, place)
        with process_kept():
            from ftclf.training.run import train

            train(config, place, "ftclf.train")  # which stands in the manifest where a command line does
    return TrainedRun.read(place)


def evaluate_from_words(path: str | os.PathLike[str], words: Sequence[str]) -> SplitScores:
    """Score a checkpoint, and leave the process as it was."""
    from ftclf.checkpoint.eval import evaluate_checkpoint

    config, given = eval_config([f"checkpoint={quoted(os.fspath(path))}", *words])
    with process_kept():
        return evaluate_checkpoint(config, given)


def compare_paths(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], sort: str | None, margin: float | None
) -> Leaderboard:
    """Compare the runs at the paths."""
    from ftclf.cli.compare import compared
    from ftclf.report.leaderboard import Leaderboard
    from ftclf.score.significance import MARGIN
    from ftclf.storage.run_paths import typed_path

    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    folders = [Path(path).expanduser() for path in given]
    _, found = compared(folders, sort, margin=MARGIN if margin is None else margin)
    return Leaderboard(found, typed_path)


def eval_config(words: Sequence[str]) -> tuple[EvalConfig, set[str]]:
    """Return the config of an evaluation and the names of the settings that the words give."""
    with _one_at_a_time, _hydra_kept():
        return _checked("eval", words)


def _checked(command: str, words: Sequence[str]) -> tuple[Any, set[str]]:
    if other := [word for word in words if not isinstance(word, str)]:
        raise ConfigError(f"{other[0]!r}: not a text; write settings as on the command line, as in 'training.epochs=3'")
    register()
    typed, notes = settled(command, list(words))
    _refuse_options(typed)
    args = parse(with_files(command, typed), command)
    (config,) = checked_jobs(command, args)
    for line in notes:
        note(line)
    return config, given_settings(args)


def _refuse_options(words: list[str]) -> None:
    """Raise ConfigError for options that sweep, or that show something instead."""
    for word in words:
        name = word.partition("=")[0]
        if name in SWEPT:
            raise ConfigError(f"{name}: a sweep has several configs, allowed: one; compose and train each of them")
        if name in hydra_options() and name not in UNDERSTOOD:
            raise ConfigError(f"{name}: allowed: --config-dir and settings; it is for the command line")


@contextmanager
def _hydra_kept() -> Iterator[None]:
    """Let the block use Hydra and OmegaConf as the command line does, and leave both as they were."""
    store, hydra, resolvers = ConfigStore.instance().repo, GlobalHydra.instance().hydra, BaseContainer._resolvers
    # What is under "hydra" are its plugins, which are looked for once in a process.
    schemas = {name: {**node} if isinstance(node, dict) else node for name, node in store.items() if name != "hydra"}
    changed = {name: resolvers.get(name) for name in RESOLVERS}
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = hydra
        for name in [name for name in store if name != "hydra"]:
            del store[name]
        store.update(schemas)
        for name, resolver in changed.items():
            resolvers.pop(name, None)
            resolvers.update({} if resolver is None else {name: resolver})
