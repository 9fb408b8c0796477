"""One run from its config to its folder: data, model, method, training, the proof, the scores."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftclf import __version__, resuming
from ftclf.config import TrainConfig, check, choosing_metric
from ftclf.console import log_to, say
from ftclf.data import load_data
from ftclf.durable import refuse_too_little_room, whole_folder
from ftclf.errors import ConfigError, DivergedError
from ftclf.locking import taken
from ftclf.preparation import Prepared, build_trainer, prepare
from ftclf.resuming import Standing, find_standing
from ftclf.runs import Run, clear, cut_history, read_json, write_json, write_text

if TYPE_CHECKING:
    from ftclf.checkpoint import CheckpointInfo
    from ftclf.evaluation import Evaluation
    from ftclf.method import Parameters
    from ftclf.trainer import ClassifierTrainer


@dataclass
class Timer:
    """Seconds of each part of a run."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] = round(time.perf_counter() - start, 3)


@dataclass
class Fitted:
    """What training left behind besides the checkpoint. `examples` and `seconds` are of training alone."""

    parameters: Parameters
    steps: int
    examples: int
    seconds: float
    reload_difference: float = 0.0
    milliseconds_per_text: float = 0.0


def train(config: TrainConfig, folder: Path, command: str = "") -> float:
    """Train one classifier and return its validation score. `command` is kept in the manifest.

    A run that stands unfinished in the folder goes on to the same bits; a finished one is left as it is. The folder
    holds everything when this returns; `metrics.json` is written last. Raises an FtclfError for whatever a user can
    mend, before anything is overwritten.
    """
    check(config)
    for tracker in config.training.trackers:
        if find_spec(tracker) is None:
            raise ConfigError(f"training.trackers: {tracker} is not installed; pip install {tracker}")
    run = Run(folder)
    with taken(folder):
        standing = find_standing(config, folder)
        if standing.finished:
            return _finished_before(standing.config, run)
        try:
            return _train(standing, run, command)
        except DivergedError as error:
            from ftclf.report import write_diverged

            write_json(run.failure, {"error": type(error).__name__, "reason": str(error)})
            write_diverged(run, str(error))
            raise


def _train(standing: Standing, run: Run, command: str) -> float:
    timer, config = Timer(), standing.config
    with timer("total"):
        with timer("data"):
            data = load_data(config.dataset)
        with timer("preparation"):
            prepared = prepare(config, run, data)
            trainer, parameters = build_trainer(prepared)
        # Everything that can be checked is checked: only now is anything written, or an old run replaced.
        record, checkpoint = _start(prepared, trainer, begun=standing.begun)
        with log_to(run.log):
            with timer("training"):
                fitted = _fit(prepared, trainer, parameters, checkpoint)
            with whole_folder(run.checkpoint) as folder:
                info = _save(prepared, trainer, folder)
                fitted.reload_difference = _prove(prepared, trainer, folder)
                with timer("evaluation"):
                    evaluations, fitted.milliseconds_per_text = _evaluate(prepared, folder, info)
                with timer("baselines"):
                    from ftclf.baselines import beside_baselines

                    baselines = beside_baselines(prepared, evaluations["test"])
                metrics = {**{name: one.metrics for name, one in evaluations.items()}, "baselines": baselines}
                manifest = {**record, **_manifest(prepared, fitted, command, timer.seconds)}
                _write_card(prepared, folder, evaluations, metrics, manifest)
            _plot_history(prepared)
    _finish(prepared, metrics, manifest)
    return float(metrics["validation"][choosing_metric(config)])


def _finished_before(config: TrainConfig, run: Run) -> float:
    """Say that there is nothing left to do, and do what a kill after the last step but one left undone."""
    from ftclf.evaluation import headline

    metrics = read_json(run.metrics)
    _clear_up(config, run)
    say(f"{run.folder} holds this run, finished: test {headline(metrics['test'], config.dataset.task)}")
    return float(metrics["validation"][choosing_metric(config)])


def _start(prepared: Prepared, trainer: ClassifierTrainer, *, begun: bool) -> tuple[dict[str, Any], Path | None]:
    """Write what the run begins with; one that goes on must find the same conditions, and its last whole checkpoint."""
    from ftclf.resumable import newest_checkpoint, read_progress

    config, run = prepared.config, prepared.run
    config = replace(config, resume=None, training=replace(config.training, precision=prepared.compute.precision))
    conditions, checkpoint, history = _conditions(prepared), None, 0
    _refuse_too_little_room(prepared, trainer)
    if begun:
        record, changes = resuming.begun(run, config, conditions)
        checkpoint = newest_checkpoint(run, record["id"])
        progress = read_progress(checkpoint) if checkpoint else None
        step, history = (progress.step, progress.history) if progress else (0, 0)
        record = resuming.go_on(run, config, record, step, changes)
        say(f"the run goes on after step {step}")
    else:
        clear(run)
        record = resuming.begin(run, config, conditions)
    for path in (run.failure, run.report):  # of a run that had diverged
        path.unlink(missing_ok=True)
    cut_history(run, history)
    trainer.run_id = record["id"]
    return {name: record[name] for name in ("id", "label_names", "resumes")}, checkpoint


def _conditions(prepared: Prepared) -> dict[str, Any]:
    """Return what a run begins with: what it must find again when it goes on, what it should, and what it is."""
    from ftclf.compute import describe_machine
    from ftclf.manifest import versions

    data = prepared.data
    return {
        "dataset": data.name,
        "task": data.task,
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "digests": {name: data.digest(name) for name in data.splits},
        "label_names": data.label_names,
        "base": {"sha256": prepared.weights.sha256},
        "compute": asdict(prepared.compute),
        "processor": describe_machine()["processor"],
        "versions": versions(),
    }


def _refuse_too_little_room(prepared: Prepared, trainer: ClassifierTrainer) -> None:
    """Refuse to begin what the disk has no room for: as many checkpoints as stand side by side, and the last one."""
    config, run = prepared.config, prepared.run
    evaluations = trainer.most_checkpoints if config.training.eval_steps else math.ceil(config.training.epochs)
    there = sum(path.stat().st_size for path in run.resumable.rglob("*") if path.is_file())
    needed = (min(trainer.most_checkpoints, evaluations) + 1) * trainer.checkpoint_bytes()
    refuse_too_little_room(run.folder, needed - there)


def _fit(prepared: Prepared, trainer: ClassifierTrainer, parameters: Parameters, checkpoint: Path | None) -> Fitted:
    """Train, from a checkpoint if there is one, and leave the best weights in the network."""
    config = prepared.config.training
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.perf_counter() - start - trainer.seconds_aside
    steps = trainer.state.global_step
    examples = (steps - trainer.steps_before) * config.batch_size * config.accumulation
    if config.max_steps is None:
        examples = min(examples, round(config.epochs * len(prepared.data.splits["train"])))
    return Fitted(parameters, steps, examples, seconds)


def _save(prepared: Prepared, trainer: ClassifierTrainer, folder: Path) -> CheckpointInfo:
    """Save the best weights, which the trainer's network holds."""
    from ftclf.checkpoint import save_checkpoint

    info = _checkpoint_info(prepared)
    save_checkpoint(folder, trainer.bare_network, prepared.tokenizer, info)
    return info


def _checkpoint_info(prepared: Prepared) -> CheckpointInfo:
    from ftclf.calibration import Calibration
    from ftclf.checkpoint import CheckpointInfo
    from ftclf.decisions import Decision

    config, data, compute = prepared.config, prepared.data, prepared.compute
    return CheckpointInfo(
        label_names=data.label_names,
        data_name=data.name,
        digests={name: data.digest(name) for name in data.splits},
        dataset=config.dataset,
        model=config.model,
        method=asdict(config.method),
        calibration=Calibration(),
        decision=Decision(),
        other_decisions={},
        base_origin=prepared.weights.origin,
        base_sha256=prepared.weights.sha256,
        device=compute.device,
        precision=compute.precision,
        threads=compute.threads,
        eval_batch_size=config.training.eval_batch_size,
        task=data.task,
        version=__version__,
    )


def _prove(prepared: Prepared, trainer: ClassifierTrainer, folder: Path) -> float:
    import numpy as np

    from ftclf.checkpoint import prove_reload
    from ftclf.evaluation import model_inputs

    tokens = prepared.tokens["validation"]
    inputs = model_inputs(tokens, np.arange(min(16, len(tokens))), prepared.compute.device)
    return prove_reload(folder, trainer.bare_network, inputs, prepared.config.training.seed)


def _evaluate(prepared: Prepared, folder: Path, info: CheckpointInfo) -> tuple[dict[str, Evaluation], float]:
    """Score validation and test by the checkpoint as it was saved: exactly what `ftclf eval` loads.

    How logits become labels is settled on validation, and stored in the checkpoint, before test is scored.
    """
    from ftclf.checkpoint import load_checkpoint, write_info
    from ftclf.evaluation import compute_logits, milliseconds_per_text, score, settle, write_evaluation

    run, data, compute = prepared.run, prepared.data, prepared.compute
    network = load_checkpoint(folder).network.to(compute.device)
    batch_size = prepared.config.training.eval_batch_size
    evaluations: dict[str, Evaluation] = {}
    for name in ("validation", "test"):
        split = data.splits[name]
        logits = compute_logits(network, prepared.tokens[name], compute, batch_size)
        if name == "validation":
            settle(info, logits, split.labels, prepared.config.decision)
            write_info(folder, info)
        evaluations[name] = score(logits, split, info)
        write_evaluation(evaluations[name], split, data.label_names, name, predictions=run.predictions, plots=run.plots)
    return evaluations, milliseconds_per_text(network, prepared.tokens["test"], compute)


def _plot_history(prepared: Prepared) -> None:
    from ftclf.plots import plot_history

    history = [json.loads(line) for line in prepared.run.history.read_text(encoding="utf-8").splitlines()]
    plot_history(prepared.run.plots / "history.png", history, choosing_metric(prepared.config))


def _manifest(prepared: Prepared, fitted: Fitted, command: str, seconds: dict[str, float]) -> dict[str, Any]:
    """Return what the run was made with."""
    from ftclf.compute import describe_machine, peak_memory_mb
    from ftclf.manifest import git_commit, versions

    config, data = prepared.config, prepared.data
    return {
        "command": command,
        "ftclf": __version__,
        "dataset": data.name,
        "task": data.task,
        "rows": {name: len(split) for name, split in data.splits.items()},
        "digests": {name: data.digest(name) for name in data.splits},
        "notes": data.notes,
        "base": {"origin": prepared.weights.origin, "sha256": prepared.weights.sha256},
        "parameters": {**asdict(fitted.parameters), "share": fitted.parameters.share},
        "seed": config.training.seed,
        "steps": fitted.steps,
        "tokens_from_cache": prepared.from_cache,
        "texts_at_max_length": {name: tokens.full for name, tokens in prepared.tokens.items()},
        "examples_per_second": round(fitted.examples / fitted.seconds, 1) if fitted.seconds > 0 else None,
        "milliseconds_per_text": fitted.milliseconds_per_text,
        "peak_memory_mb": round(peak_memory_mb()),
        "reload_difference": fitted.reload_difference,
        "compute": asdict(prepared.compute),
        "machine": describe_machine(),
        "versions": versions(),
        "git_commit": git_commit(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "seconds": seconds,
    }


def _write_card(
    prepared: Prepared,
    folder: Path,
    evaluations: dict[str, Evaluation],
    metrics: dict[str, Any],
    manifest: dict[str, Any],
) -> None:
    from ftclf.card import examples, model_card

    data = prepared.data
    shown = examples(evaluations["validation"], data.splits["validation"], data.label_names)
    write_text(folder / "README.md", model_card(prepared.config, data, metrics, manifest, shown))


def _finish(prepared: Prepared, metrics: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Write the manifest and, last, the metrics; print the score."""
    from ftclf.baselines import verdict
    from ftclf.evaluation import headline

    config, run, data = prepared.config, prepared.run, prepared.data
    write_json(run.manifest, manifest)
    write_json(run.metrics, metrics)
    _clear_up(config, run)
    say(f"test {headline(metrics['test'], data.task)}")
    if metrics["baselines"]:
        say(verdict(metrics, data.task))
    say(f"run folder: {run.folder}")


def _clear_up(config: TrainConfig, run: Run) -> None:
    """Write the report of a finished run and remove what only an unfinished one needs."""
    from ftclf.report import write_report

    if not run.report.exists():
        write_report([run], run.report)
    if not config.training.keep_checkpoints:
        shutil.rmtree(run.resumable, ignore_errors=True)
