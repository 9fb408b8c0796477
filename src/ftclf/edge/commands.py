"""train, eval and predict: folders, Hydra's main, sweeps and what is left when they end."""

from __future__ import annotations

import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ftclf.config import HEADLINES, TrainConfig, check, choosing_metric, config_folder
from ftclf.console import printable
from ftclf.edge.compose import (
    changed,
    checked_hydra,
    checked_jobs,
    chooses_sweeper,
    composed,
    only_shows,
    overrides_of_jobs,
    parse,
    register,
    to_dataclass,
)
from ftclf.edge.explain import explain
from ftclf.edge.help import help_lines
from ftclf.edge.jobs import Job, Lane, lanes_of, train_apart
from ftclf.edge.quoting import quoted
from ftclf.errors import ConfigError, RunError, SweepError
from ftclf.resuming import find_standing, stored_config
from ftclf.runs import Run, find_failures, find_runs, read_json


def run_train(words: list[str]) -> int:
    """Train one run, or each job of a sweep, or go on with a run."""
    register()
    args = parse(words)
    if only_shows(args):
        return _show("train", args, words)
    if resumed := [word for word in args.overrides if word.lstrip("+").startswith("resume=")]:
        return _resume(resumed[0].partition("=")[2], args.overrides)
    jobs = checked_jobs("train", args)
    if any(job.resume for job in jobs):
        raise ConfigError("resume: allowed: on the command line alone, as in ftclf train resume=RUN")
    if any(job.training.seeds > 1 for job in jobs):
        words = _one_job_a_seed(words, args, jobs)
        args = parse(words)
        jobs = checked_jobs("train", args)
    if args.multirun:
        with _run_folder(jobs[0], sweep=True) as folder:
            return _sweep(words, args, jobs, folder)
    with _run_folder(jobs[0], sweep=False) as folder:
        find_standing(jobs[0], folder)
        return _hand_to_hydra("train", [*words, f"hydra.run.dir={quoted(str(folder))}"])


def _sweep(words: list[str], args: Any, jobs: list[TrainConfig], folder: Path) -> int:
    together, chosen = jobs[0].training.together, chooses_sweeper(args.overrides)
    if together and chosen:
        raise ConfigError("training.together: got true, allowed without hydra/sweeper: it takes all jobs at once")
    if not chosen:
        for number, job in enumerate(jobs):
            find_standing(job, folder / str(number))
    print(printable(f"jobs in {folder}" if chosen else f"{len(jobs)} jobs in {folder}"), flush=True)
    if together:
        _train_groups(jobs, overrides_of_jobs("train", args), folder)
    else:
        _hand_to_hydra("train", [*words, f"hydra.sweep.dir={quoted(str(folder))}"])
    number = len(list(folder.glob("[0-9]*"))) if chosen else len(jobs)
    return _finish_sweep(folder, number, HEADLINES[jobs[0].dataset.task][0])


def _train_groups(jobs: list[TrainConfig], overrides: list[list[str]], folder: Path) -> None:
    """Train the jobs of a sweep group by group, those of a group side by side."""
    from ftclf.together import groups_of

    for group in groups_of(jobs):
        for number in group:
            print(printable(f"job {number}: {' '.join(overrides[number])}"), flush=True)
        own = {number: Job(jobs[number], folder / str(number), overrides[number]) for number in group}
        train_apart(*lanes_of(own))


def _one_job_a_seed(words: list[str], args: Any, jobs: list[TrainConfig]) -> list[str]:
    """Return the command line of the sweep that `training.seeds` stands for."""
    first = jobs[0].training
    if len({(job.training.seed, job.training.seeds) for job in jobs}) > 1:
        raise ConfigError("training.seeds: the sweep has seeds of its own (training.seed); drop one of the two")
    others = [word for word in words if not word.lstrip("+").startswith("training.seed=")]
    seeds = ",".join(str(first.seed + number) for number in range(first.seeds))
    return [*([] if args.multirun else ["-m"]), *others, f"training.seed={seeds}"]


def run_eval(words: list[str]) -> int:
    """Score a checkpoint."""
    return _run_plain("eval", words)


def run_predict(words: list[str]) -> int:
    """Label texts."""
    return _run_plain("predict", words)


def _run_plain(command: str, words: list[str]) -> int:
    register()
    if words and not words[0].startswith("-") and "=" not in words[0]:
        words = [f"checkpoint={quoted(words[0])}", *words[1:]]
    args = parse(words)
    if args.multirun:
        raise ConfigError(f"{command}: -m sweeps are for train; run {command} once for each checkpoint")
    if only_shows(args):
        return _show(command, args, words)
    checked_jobs(command, args)
    return _hand_to_hydra(command, words)


def _show(command: str, args: Any, words: list[str]) -> int:
    """Print the help, or let Hydra print what it is asked for."""
    if args.help:
        print(printable("\n".join(help_lines(command, composed(command, args)))))
        return 0
    checked_hydra(command, args)
    return _hand_to_hydra(command, words)


# ---- the tasks that Hydra calls: module-level, so that launchers can pickle them


def train_task(cfg: DictConfig) -> float:
    """Train in the folder that Hydra made. A job of a sweep that fails leaves its reason there and returns NaN."""
    register()
    job = HydraConfig.get()
    folder, overrides = Path(job.runtime.output_dir), list(job.overrides.task)
    sweeping = job.mode == RunMode.MULTIRUN
    config = to_dataclass(cfg, "train")
    if sweeping:
        print(printable(f"\njob {job.job.num}: {' '.join(overrides)}"), flush=True)
        train_apart(Lane({job.job.num: Job(config, folder, overrides)}))
        run = Run(folder)
        with suppress(RunError, LookupError, TypeError, ValueError):
            return float(read_json(run.metrics)["validation"][choosing_metric(config)]) if run.finished else math.nan
        return math.nan

    def work() -> float:
        from ftclf.training import train

        return train(config, folder, shlex.join(["ftclf", "train", *overrides]))

    return _attempt(work)


def eval_task(cfg: DictConfig) -> None:
    from ftclf.eval import evaluate_checkpoint

    _attempt(lambda: evaluate_checkpoint(to_dataclass(cfg, "eval")))


def predict_task(cfg: DictConfig) -> None:
    from ftclf.predict import predict

    _attempt(lambda: predict(to_dataclass(cfg, "predict")))


def _attempt(work: Callable[[], float | None]) -> float:
    """Do the work of a task; an error waits for `_hand_to_hydra`, since Hydra would print around it."""
    from ftclf.cli import attempt

    result = attempt(work, _failures.append)
    return float("nan") if result is None else result


_failures: list[Exception] = []
TASKS: dict[str, Any] = {"train": train_task, "eval": eval_task, "predict": predict_task}


# ---- folders


@contextmanager
def _run_folder(config: TrainConfig, *, sweep: bool) -> Iterator[Path]:
    """Give the folder of a run or sweep: run_dir, else a new one, runs_dir/<name>/<time to the microsecond>.

    Folders that are made for it and stay empty, since nothing began, are taken back; those that were there are not.
    """
    if config.run_dir:
        folder = Path(config.run_dir).expanduser().absolute()
        made = _missing(folder)
    else:
        name = config.name or f"{config.dataset.name}-{config.model.alias}-{config.method.kind}"
        name = re.sub(r"[^\w.+-]", "_", name).strip(".") or "run"
        parent = Path(config.runs_dir).expanduser().absolute() / (f"sweep-{name}" if sweep else name)
        made = _missing(parent)
        folder = _new_folder(parent)
        made.insert(0, folder)
    try:
        yield folder
    finally:
        for path in made:
            with suppress(OSError):  # it holds something, or is gone
                path.rmdir()


def _missing(folder: Path) -> list[Path]:
    """Return the folder and those above it that are not there, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _new_folder(parent: Path) -> Path:
    """Make a folder that is no other process's, named by the time."""
    while True:
        parent.mkdir(parents=True, exist_ok=True)
        folder = parent / datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
        with suppress(FileExistsError, FileNotFoundError):  # another made it, or took the parent back
            folder.mkdir()
            return folder


def _resume(name: str, overrides: list[str]) -> int:
    """Go on with an unfinished run; other settings than its own are refused, unless `resume_allow` names them."""
    folder = Path(name.strip("'\"")).expanduser()
    others = [word for word in overrides if not word.lstrip("+").startswith("resume=")]
    config = changed(stored_config(Run(folder)), others)
    config.resume, config.overwrite = str(folder), False
    check(config)
    find_standing(config, folder)
    from ftclf.training import train

    train(config, folder, shlex.join(["ftclf", "train", *overrides]))
    return 0


def _finish_sweep(folder: Path, jobs: int, metric: str) -> int:
    """Print the table of a sweep's jobs and name those that failed."""
    from ftclf.compare import compare, plot_if_one_setting_varies
    from ftclf.report import page_or_warning, write_reports

    failures = list(find_failures(folder))
    done = [path.parent for path in folder.glob("*/metrics.json")]
    print()
    if done:
        compare([folder], metric)
        plot_if_one_setting_varies(find_runs([folder]), metric, folder)
        file = folder / "report.html"
        with page_or_warning(file, again=shlex.join(["ftclf", "report", str(folder), "--output", str(file)])):
            print(printable(f"report: {write_reports([folder], file, overwrite=True)}"))
    lines = [f"job {run.folder.name} ({' '.join(why['overrides'])}): {why['reason']}" for run, why in failures]
    missing = jobs - len(done) - len(failures)
    if missing > 0:
        lines.append(f"{missing} jobs left neither a result nor a reason: they were killed")
    if lines:
        raise SweepError("\n".join([f"sweep: {jobs - len(done)} of {jobs} jobs failed", *lines]))
    return 0


# ---- Hydra itself


def _hand_to_hydra(command: str, words: list[str]) -> int:
    """Call Hydra's main with a command line of its own; its --cfg, --info and completion work as they do."""
    register()
    GlobalHydra.instance().clear()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here as they are, not as Hydra's text and exit code
    argv = sys.argv
    sys.argv = [f"ftclf {command}", *words]
    try:
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=command)(TASKS[command])()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, "", command)) from error
    finally:
        sys.argv = argv
    if _failures:
        raise _failures.pop()
    return 0
