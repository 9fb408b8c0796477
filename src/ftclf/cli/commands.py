"""train, eval and predict: folders, Hydra's main, sweeps and what is left when they end."""

from __future__ import annotations

import logging
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ftclf.cli.compose import (
    changed,
    checked_hydra,
    checked_jobs,
    chooses_sweeper,
    composed,
    given_settings,
    only_shows,
    overrides_of_jobs,
    parse,
    register,
    to_dataclass,
)
from ftclf.cli.help import asked_part, help_lines
from ftclf.cli.hydra_errors import explain
from ftclf.cli.hydra_guard import words_for_hydra
from ftclf.cli.no_effect import ignored, ignored_of_check
from ftclf.cli.quoting import quoted, without_quotes
from ftclf.cli.renamed_yaml import renamed_notes
from ftclf.cli.sweep_jobs import Job, Pool
from ftclf.cli.sweep_plan import Plan, planned
from ftclf.cli.text_settings import shown
from ftclf.cli.typed_words import as_settings, settled, with_files
from ftclf.config import HEADLINES, TrainConfig, check, choosing_metric, config_folder
from ftclf.config.did_you_mean import pasteable
from ftclf.storage.lock import is_taken
from ftclf.storage.new_folder import new_run_folder
from ftclf.storage.run_folder import Run, find_failures, find_runs, read_json, run_to_resume
from ftclf.storage.run_paths import from_here
from ftclf.system.console import clock, emit, note, printable
from ftclf.system.errors import ConfigError, RunError, SweepError
from ftclf.system.text import counted
from ftclf.training.resume import find_standing, further, stored_config

# Where launchers of several processes say how many there are; SLURM's is that of one srun.
PROCESSES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")


def refuse_several_processes() -> None:
    """Raise ConfigError where a launcher has started this command more than once: each would do all of it."""
    for name in PROCESSES:
        if os.environ.get(name, "").isdecimal() and int(os.environ[name]) > 1:
            raise ConfigError(
                f"{name}: got {os.environ[name]}, allowed: 1; ftclf works in one process on one device, so start it "
                "without torchrun, accelerate launch, mpirun or srun -n"
            )


def run_train(words: list[str]) -> int:
    """Train one run, or each job of a sweep, or go on with a run."""
    refuse_several_processes()
    register()
    words, part = asked_part(words)
    words, notes = settled("train", words)
    args = parse(words)
    if only_shows(args):
        return _show("train", args, words, part)
    if any(word.lstrip("+").startswith("resume=") for word in args.overrides):
        return _resume(args.overrides, notes)
    jobs = checked_jobs("train", args)
    if any(job.resume for job in jobs):
        raise ConfigError("resume: allowed: on the command line alone, as in ftclf train resume=RUN")
    given = given_settings(args)
    if "jobs" in given and not args.multirun and jobs[0].training.seeds == 1:
        notes.append("jobs has no effect on a single run; it is for sweeps")
    _tell([*notes, *dict.fromkeys(line for job in jobs for line in ignored(job, given))])
    if any(job.training.seeds > 1 for job in jobs):
        words = _one_job_a_seed(words, args, jobs)
        args = parse(words)
        jobs = checked_jobs("train", args)
    if args.multirun:
        with new_run_folder(jobs[0], sweep=True) as folder:
            return _sweep(words, args, jobs, folder)
    with new_run_folder(jobs[0], sweep=False) as folder:
        find_standing(jobs[0], folder)
        return _hand_to_hydra("train", [*words, f"hydra.run.dir={quoted(str(folder))}"])


def _sweep(words: list[str], args: Any, jobs: list[TrainConfig], folder: Path) -> int:
    """Train the jobs of a sweep: side by side, or by the launcher and sweeper that the command line chooses."""
    metric = HEADLINES[jobs[0].dataset.task][0]
    if chooses_sweeper(args.overrides) or words_for_hydra(args.overrides, "launcher"):
        return _finish_sweep(folder, _sweep_by_hydra(words, args, jobs, folder), metric)
    plan = planned(jobs, [folder / str(number) for number in range(len(jobs))])
    for number, config in enumerate(plan.configs):
        find_standing(config, folder / str(number))
    _tell([plan.note] if plan.note else [])
    print(printable(f"{counted(len(jobs), 'job')} in {folder}"), flush=True)
    _train_side_by_side(plan, overrides_of_jobs("train", args), folder)
    return _finish_sweep(folder, len(jobs), metric)


def _sweep_by_hydra(words: list[str], args: Any, jobs: list[TrainConfig], folder: Path) -> int:
    """Let Hydra start the jobs. Returns how many there were."""
    if any(job.jobs is not None for job in jobs):
        raise ConfigError("jobs: allowed without hydra/launcher and hydra/sweeper, which start the jobs themselves")
    chosen = chooses_sweeper(args.overrides)
    if not chosen:
        for number, job in enumerate(jobs):
            find_standing(job, folder / str(number))
    print(printable(f"jobs in {folder}" if chosen else f"{counted(len(jobs), 'job')} in {folder}"), flush=True)
    _hand_to_hydra("train", [*words, f"hydra.sweep.dir={quoted(str(folder))}"])
    return len(list(folder.glob("[0-9]*"))) if chosen else len(jobs)


def _train_side_by_side(plan: Plan, overrides: list[list[str]], folder: Path) -> None:
    """Train the jobs of a plan. Each says its lines by its name where others run beside it, and when it has ended."""
    several = plan.at_once > 1
    jobs: list[Job] = []
    for number, (config, words) in enumerate(zip(plan.configs, overrides, strict=True)):
        typed, threads = list(map(shown, words)), config.training.threads
        told = any(word.lstrip("+").startswith("training.threads=") for word in typed)
        share = [] if told or threads is None else [f"training.threads={threads}"]
        name = f"job {number}" if several else ""
        jobs.append(Job(config, folder / str(number), typed, [*typed, *share], name, plan.gpu_share))
    if several:
        threads = plan.configs[0].training.threads
        each = f", {counted(threads, 'thread')} each" if threads else ""
        emit(f"{plan.at_once} at a time{each}; jobs=1 trains one after the other")

    def begins(job: Job) -> None:
        own = [word for word in job.overrides if word not in common] or job.overrides
        emit(printable(f"{'' if several else chr(10)}job {job.folder.name}: {' '.join(own)}"))

    def ends(job: Job, left: float) -> None:
        done.append(job)
        score = _validation_score(job)
        how = "has failed" if math.isnan(score) else f"is done, validation {choosing_metric(job.config)} {score:.4f}"
        rest = f", {clock(left)} left" if left else ""
        emit(f"job {job.folder.name} {how}; {len(done)} of {counted(len(jobs), 'job')}{rest}")

    done: list[Job] = []
    common = set.intersection(*(set(job.overrides) for job in jobs))
    pool = Pool(plan.at_once, plan.need, plan.cores)
    pool.train(jobs, begins, ends if several else lambda *_: None)


def _validation_score(job: Job) -> float:
    """Return a job's validation score; NaN where it has none."""
    run = Run(job.folder)
    with suppress(RunError, LookupError, TypeError, ValueError):
        return float(read_json(run.metrics)["validation"][choosing_metric(job.config)]) if run.finished else math.nan
    return math.nan


def _one_job_a_seed(words: list[str], args: Any, jobs: list[TrainConfig]) -> list[str]:
    """Return the command line of the sweep that `training.seeds` stands for."""
    first = jobs[0].training
    if len({(job.training.seed, job.training.seeds) for job in jobs}) > 1:
        raise ConfigError("training.seeds: the sweep has seeds of its own (training.seed); drop one of the two")
    others = [word for word in words if not word.lstrip("+").startswith("training.seed=")]
    seeds = ",".join(str(first.seed + number) for number in range(first.seeds))
    return [*([] if args.multirun else ["-m"]), *others, f"training.seed={seeds}"]


def run_check(words: list[str]) -> int:
    """Look a data set over."""
    if (checked := _checked("check", words)) is not None:
        from ftclf.cli.fold_training import fine_tuned_judge
        from ftclf.report.data_check import check_data

        return check_data(checked[0], as_settings("check", words), fine_tuned_judge)
    return 0


def run_eval(words: list[str]) -> int:
    """Score a checkpoint."""
    if (checked := _checked("eval", words)) is not None:
        from ftclf.checkpoint.eval import evaluate_checkpoint

        evaluate_checkpoint(*checked)
    return 0


def run_predict(words: list[str]) -> int:
    """Label texts."""
    if (checked := _checked("predict", words)) is not None:
        from ftclf.checkpoint.predict import predict

        predict(checked[0])
    return 0


def _checked(command: str, words: list[str]) -> tuple[Any, set[str]] | None:
    """Return the config of a command and the names of the settings that its line gives; None where it only shows."""
    refuse_several_processes()
    register()
    words, part = asked_part(words)
    words, notes = settled(command, words)
    words = with_files(command, words)
    args = parse(words, command)
    if args.multirun:
        raise ConfigError(f"{command}: -m sweeps are for train; run {command} once for each checkpoint")
    if only_shows(args):
        _show(command, args, words, part)
        return None
    (config,) = checked_jobs(command, args)
    given = given_settings(args)
    _tell([*notes, *(ignored_of_check(config, given) if command == "check" else ())])
    return config, given


def _tell(notes: list[str]) -> None:
    """Say which names were completed or are old ones, once the line is known to be right."""
    for line in dict.fromkeys([*notes, *renamed_notes()]):
        note(line)


def _show(command: str, args: Any, words: list[str], part: str | None) -> int:
    """Print the help, or let Hydra print what it is asked for."""
    if args.help:
        print(printable("\n".join(help_lines(command, composed(command, args), part))))
        return 0
    if args.shell_completion and "COMP_LINE" not in os.environ:
        raise ConfigError("--shell-completion: allowed: in a completion script, as ftclf completion bash prints it")
    checked_hydra(command, args)
    with _broken_pipes_raised():
        return _hand_to_hydra(command, words)


@contextmanager
def _broken_pipes_raised() -> Iterator[None]:
    """Let a reader who is gone end what Hydra prints by way of a log: it would print a traceback for every line."""
    usual = logging.Handler.handleError

    def handle(handler: logging.Handler, record: logging.LogRecord) -> None:
        if isinstance(error := sys.exc_info()[1], BrokenPipeError):
            raise error
        usual(handler, record)

    logging.Handler.handleError = handle  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        logging.Handler.handleError = usual  # type: ignore[method-assign]


# ---- the task that Hydra calls: module-level, so that launchers can pickle it


def train_task(cfg: DictConfig) -> float:
    """Train in the folder that Hydra made. A job of a sweep that fails leaves its reason there and returns NaN."""
    register()
    job = HydraConfig.get()
    folder, overrides = Path(job.runtime.output_dir), list(map(shown, job.overrides.task))
    sweeping = job.mode == RunMode.MULTIRUN
    config = to_dataclass(cfg, "train")
    if sweeping:
        print(printable(f"\njob {job.job.num}: {' '.join(overrides)}"), flush=True)
        one = Job(config, folder, overrides)
        Pool().train([one])
        return _validation_score(one)

    def work() -> float:
        from ftclf.training.run import train

        return train(config, folder, shlex.join(["ftclf", "train", *overrides]))

    return _attempt(work)


def _attempt(work: Callable[[], float | None]) -> float:
    """Do the work of the task; an error waits for `_hand_to_hydra`, since Hydra would print around it."""
    from ftclf.cli.exit_codes import attempt

    result = attempt(work, _failures.append)
    return float("nan") if result is None else result


_failures: list[Exception] = []


# ---- folders


def _resume(overrides: list[str], notes: list[str]) -> int:
    """Go on with an unfinished run; other settings than its own are refused, unless `resume_allow` names them."""
    name, *more = [word for word in overrides if word.lstrip("+").startswith("resume=")]
    if more:
        raise ConfigError("resume: given twice; name one run")
    folder = run_to_resume(Path(without_quotes(name.partition("=")[2]) or "").expanduser()).folder
    others = [word for word in overrides if word != name]
    before, command = stored_config(Run(folder)), shlex.join(["ftclf", "train", *map(shown, overrides)])
    config = changed(before, others)
    lengths = [(one.training.epochs, one.training.max_steps) for one in (before, config)]
    if lengths[0] != lengths[1] and Run(folder).finished and not config.resume_allow:
        return _go_further(further(config, before, Run(folder)), folder, others, command, notes)
    config.resume, config.overwrite = str(folder), False
    check(config)
    find_standing(config, folder)
    _tell(notes)
    from ftclf.training.run import train

    train(config, folder, command)
    return 0


def _go_further(config: TrainConfig, before: Path, words: list[str], command: str, notes: list[str]) -> int:
    """Train the weights of a finished run further, in a folder beside it or in another that is given."""
    from ftclf.training.run import train

    given = {word.lstrip("+").partition("=")[0] for word in words}
    if "run_dir" not in given:
        config.run_dir = None
    config.overwrite = config.overwrite and "overwrite" in given  # the first run may have been told to replace another
    check(config)
    with new_run_folder(config, sweep=False, beside=before) as folder:
        _tell(notes)
        train(config, folder, command)
    return 0


def _finish_sweep(folder: Path, jobs: int, metric: str) -> int:
    """Print the table of a sweep's jobs and name those that failed."""
    from ftclf.cli.compare import compare, plot_if_one_setting_varies
    from ftclf.report.page import page_or_warning, write_reports

    failures = list(find_failures(folder))
    done = [path.parent for path in folder.glob("*/metrics.json")]
    print()
    if done:
        compare([folder], metric)
        plot_if_one_setting_varies(find_runs([folder]), metric, folder)
        file = folder / "report.html"
        with page_or_warning(file, again=shlex.join(["ftclf", "report", str(folder), f"output={file}"])):
            print(printable(f"report: {pasteable(from_here(write_reports([folder], file, overwrite=True)))}"))
    lines = [f"job {run.folder.name} ({' '.join(why['overrides'])}): {why['reason']}" for run, why in failures]
    taken = [path.name for path in folder.glob("[0-9]*") if is_taken(path)]
    lines += [f"job {name}: another process trains it in this folder; wait for it" for name in taken]
    missing = jobs - len(done) - len(failures) - len(taken)
    if missing > 0:
        lines.append(f"{counted(missing, 'job')} left neither a result nor a reason: killed")
    if lines:
        raise SweepError("\n".join([f"sweep: {jobs - len(done)} of {counted(jobs, 'job')} failed", *lines]))
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
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=command)(train_task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, "", command)) from error
    finally:
        sys.argv = argv
    if _failures:
        raise _failures.pop()
    return 0
