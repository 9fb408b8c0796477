"""One run from its config to its folder: data, model, method, training, the proof, the scores."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftclf import __version__
from ftclf.config import TrainConfig, check, choosing_metric
from ftclf.console import log_to, say
from ftclf.data import load_data
from ftclf.errors import ConfigError
from ftclf.preparation import Prepared, build_trainer, prepare
from ftclf.runs import Run, begin, check_same, forget_after, refuse_taken, write_json, write_text

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
    reload_difference: float
    milliseconds_per_text: float = 0.0


def train(config: TrainConfig, folder: Path, command: str = "") -> float:
    """Train one classifier and return its validation score. `command` is kept in the manifest.

    The folder holds everything when this returns; `metrics.json` is written last. Raises an FtclfError for whatever a
    user can mend, before anything is overwritten.
    """
    check(config)
    for tracker in config.training.trackers:
        if find_spec(tracker) is None:
            raise ConfigError(f"training.trackers: {tracker} is not installed; pip install {tracker}")
    refuse_taken(folder, overwrite=config.overwrite, resume=config.resume is not None)
    timer, run = Timer(), Run(folder)
    with timer("total"):
        with timer("data"):
            data = load_data(config.dataset)
        with timer("preparation"):
            prepared = prepare(config, run, data)
            trainer, parameters = build_trainer(prepared)
        # Everything that can be checked is checked: only now is anything written, or an old run replaced.
        begin(run, resume=config.resume is not None)
        with log_to(run.log):
            _start(prepared)
            with timer("training"):
                fitted, info = _fit(prepared, trainer, parameters)
            with timer("evaluation"):
                evaluations, latency = _evaluate(prepared, info)
            with timer("baselines"):
                from ftclf.baselines import beside_baselines

                baselines = beside_baselines(prepared, evaluations["test"])
            _plot_history(prepared)
            if not config.training.keep_checkpoints:
                shutil.rmtree(run.resumable, ignore_errors=True)
    metrics = {**{name: one.metrics for name, one in evaluations.items()}, "baselines": baselines}
    manifest = _manifest(prepared, replace(fitted, milliseconds_per_text=latency), command, timer.seconds)
    _finish(prepared, evaluations, metrics, manifest)
    return float(metrics["validation"][choosing_metric(config)])


def _start(prepared: Prepared) -> None:
    """Write what the run begins with; a run that goes on must find the same rows as it began with."""
    config, run, data = prepared.config, prepared.run, prepared.data
    digests = {name: data.digest(name) for name in data.splits}
    if config.resume is not None:
        check_same(run, "digests", digests)
        return
    resolved = replace(config, training=replace(config.training, precision=prepared.compute.precision))
    write_json(run.config, asdict(resolved))
    write_json(run.manifest, {"digests": digests})


def _fit(prepared: Prepared, trainer: ClassifierTrainer, parameters: Parameters) -> tuple[Fitted, CheckpointInfo]:
    """Train, keep the best weights, save them, and prove that they load."""
    from ftclf.checkpoint import save_checkpoint
    from ftclf.trainer import last_checkpoint

    config, run = prepared.config.training, prepared.run
    resume_from = last_checkpoint(run) if prepared.config.resume else None
    steps_before = int(resume_from.name.rpartition("-")[2]) if resume_from else 0
    forget_after(run, steps_before)
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    seconds = time.perf_counter() - start - trainer.seconds_aside
    # In mixed precision the Trainer wraps `forward` in autocast: the proof below wants the bare network.
    network = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    info = _checkpoint_info(prepared)
    save_checkpoint(run.checkpoint, network, prepared.tokenizer, info)
    steps = trainer.state.global_step
    examples = (steps - steps_before) * config.batch_size * config.accumulation
    if config.max_steps is None:
        examples = min(examples, round(config.epochs * len(prepared.data.splits["train"])))
    return Fitted(parameters, steps, examples, seconds, _prove(prepared, network)), info


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


def _prove(prepared: Prepared, network: Any) -> float:
    import numpy as np

    from ftclf.checkpoint import prove_reload
    from ftclf.evaluation import model_inputs

    tokens = prepared.tokens["validation"]
    inputs = model_inputs(tokens, np.arange(min(16, len(tokens))), prepared.compute.device)
    return prove_reload(prepared.run.checkpoint, network, inputs, prepared.config.training.seed)


def _evaluate(prepared: Prepared, info: CheckpointInfo) -> tuple[dict[str, Evaluation], float]:
    """Score validation and test by the checkpoint as it was saved: exactly what `ftclf eval` loads.

    How logits become labels is settled on validation, and stored in the checkpoint, before test is scored.
    """
    from ftclf.checkpoint import load_checkpoint, write_info
    from ftclf.evaluation import (
        compute_logits,
        milliseconds_per_text,
        score,
        scoring_network,
        settle,
        write_evaluation,
    )

    run, data, compute = prepared.run, prepared.data, prepared.compute
    network = scoring_network(load_checkpoint(run.checkpoint).network, compute)
    batch_size = prepared.config.training.eval_batch_size
    evaluations: dict[str, Evaluation] = {}
    for name in ("validation", "test"):
        split = data.splits[name]
        logits = compute_logits(network, prepared.tokens[name], compute, batch_size)
        if name == "validation":
            settle(info, logits, split.labels, prepared.config.decision)
            write_info(run.checkpoint, info)
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


def _finish(
    prepared: Prepared, evaluations: dict[str, Evaluation], metrics: dict[str, Any], manifest: dict[str, Any]
) -> None:
    """Write the manifest, the model card and, last, the metrics; print the score."""
    from ftclf.baselines import verdict
    from ftclf.card import examples, model_card
    from ftclf.evaluation import headline
    from ftclf.report import write_report

    config, run, data = prepared.config, prepared.run, prepared.data
    shown = examples(evaluations["validation"], data.splits["validation"], data.label_names)
    write_json(run.manifest, manifest)
    write_text(run.checkpoint / "README.md", model_card(config, data, metrics, manifest, shown))
    write_json(run.metrics, metrics)
    write_report([run], run.report)
    say(f"test {headline(metrics['test'], data.task)}")
    if metrics["baselines"]:
        say(verdict(metrics, data.task))
    say(f"run folder: {run.folder}")
