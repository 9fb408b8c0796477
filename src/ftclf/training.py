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
from ftclf.console import log_to, quiet_libraries, say, warn
from ftclf.data import Data, load_data
from ftclf.errors import ConfigError
from ftclf.runs import Run, begin, check_same, forget_after, refuse_taken, write_json, write_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ftclf.checkpoint import CheckpointInfo
    from ftclf.compute import Compute
    from ftclf.decisions import Decision
    from ftclf.evaluation import Evaluation
    from ftclf.method import Parameters
    from ftclf.model import Weights
    from ftclf.tokens import Tokens
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
class Prepared:
    """Everything a run needs before its network is built."""

    config: TrainConfig
    run: Run
    data: Data
    compute: Compute
    weights: Weights
    tokenizer: PreTrainedTokenizerBase
    tokens: dict[str, Tokens]  # by split
    from_cache: bool


@dataclass
class Fitted:
    """What training left behind besides the checkpoint. `examples` and `seconds` are of training alone."""

    parameters: Parameters
    steps: int
    examples: int
    seconds: float
    reload_difference: float


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
            prepared = _prepare(config, run, data)
            trainer, parameters = _build(prepared)
        # Everything that can be checked is checked: only now is anything written, or an old run replaced.
        begin(run, resume=config.resume is not None)
        with log_to(run.log):
            _start(prepared)
            with timer("training"):
                fitted, info = _fit(prepared, trainer, parameters)
            with timer("evaluation"):
                metrics = _evaluate(prepared, info)
            _plot_history(prepared)
            if not config.training.keep_checkpoints:
                shutil.rmtree(run.resumable, ignore_errors=True)
    _finish(prepared, fitted, metrics, command, timer.seconds)
    return float(metrics["validation"][choosing_metric(config)])


def _prepare(config: TrainConfig, run: Run, data: Data) -> Prepared:
    from ftclf.compute import choose_attention, choose_compute
    from ftclf.model import find_weights, load_tokenizer, longest_text
    from ftclf.tokens import cached_tokens

    quiet_libraries()
    compute = choose_compute(config.training)
    weights = find_weights(config.model)
    tokenizer = load_tokenizer(weights.folder)
    cached = {name: cached_tokens(split, tokenizer, config.dataset.max_length) for name, split in data.splits.items()}
    tokens = {name: found for name, (found, _) in cached.items()}
    longest = longest_text(weights.folder)
    if longest is not None and config.dataset.max_length > longest:
        raise ConfigError(
            f"dataset.max_length: got {config.dataset.max_length}, allowed with this model: up to {longest}"
        )
    if config.model.attention == "auto":
        attention = choose_attention(tokens["train"].lengths, compute.device)
        config = replace(config, model=replace(config.model, attention=attention))
    prepared = Prepared(
        config, run, data, compute, weights, tokenizer, tokens, all(known for _, known in cached.values())
    )
    _introduce(prepared)
    return prepared


def _introduce(prepared: Prepared) -> None:
    config, data, compute = prepared.config, prepared.data, prepared.compute
    sizes = ", ".join(f"{len(split)} {name}" for name, split in data.splits.items())
    say(f"{data.name}: {sizes} rows, {len(data.label_names)} labels")
    for note in data.notes:
        say(f"  note: {note}")
    for name, tokens in prepared.tokens.items():
        if tokens.full:
            say(f"  note: {tokens.full} {name} texts fill dataset.max_length={config.dataset.max_length}: cut there")
    if config.training.epochs * len(data.splits["train"]) < config.training.batch_size:
        warn("training.batch_size is larger than the rows that are seen: there is a single step")
    say(
        f"{config.model.alias}, {config.method.kind}, {compute.precision} on {compute.device}, "
        f"{compute.threads} threads, {config.model.attention} attention"
    )


def _build(prepared: Prepared) -> tuple[ClassifierTrainer, Parameters]:
    """Build the network and its trainer; raises ConfigError for settings that fit no such network."""
    import torch

    from ftclf.dropout import use_byte_dropout
    from ftclf.losses import start_at_log_odds
    from ftclf.method import apply_method, count_parameters, faster_parameters
    from ftclf.model import build_classifier
    from ftclf.trainer import ClassifierTrainer, TokenRows

    config, data, tokens = prepared.config, prepared.data, prepared.tokens
    torch.manual_seed(config.training.seed)  # before the model: its head starts at random
    classifier = build_classifier(prepared.weights.folder, data.label_names, config.model)
    if data.task == "multi_label":
        start_at_log_odds(classifier.network, data.splits["train"].labels)
    faster = faster_parameters(classifier, config.method)
    network = apply_method(classifier, config.method)
    if prepared.compute.device == "cpu":
        use_byte_dropout(network)
    parameters = count_parameters(network)
    say(f"{parameters.trainable:,} of {parameters.total:,} weights are trained ({parameters.share:.1%})")
    trainer = ClassifierTrainer(
        network,
        config.training,
        choosing_metric(config),
        prepared.run,
        compute=prepared.compute,
        train=TokenRows(tokens["train"], data.splits["train"]),
        validation=(tokens["validation"], data.splits["validation"]),
        faster=faster,
    )
    return trainer, parameters


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
        decision=Decision(),
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


def _evaluate(prepared: Prepared, info: CheckpointInfo) -> dict[str, Any]:
    """Score validation and test by the checkpoint as it was saved: exactly what `ftclf eval` loads.

    How probabilities become labels is chosen on validation, and stored in the checkpoint, before test is scored.
    """
    from ftclf.checkpoint import load_checkpoint, write_info
    from ftclf.evaluation import compute_logits, score, write_evaluation

    run, data, compute = prepared.run, prepared.data, prepared.compute
    network = load_checkpoint(run.checkpoint).network.to(compute.device)
    batch_size = prepared.config.training.eval_batch_size
    metrics: dict[str, Any] = {}
    for name in ("validation", "test"):
        split = data.splits[name]
        logits = compute_logits(network, prepared.tokens[name], compute, batch_size)
        if name == "validation" and data.task == "multi_label":
            info.decision = _choose(prepared, logits)
            write_info(run.checkpoint, info)
        evaluation: Evaluation = score(logits, split, data.label_names, info.decision)
        write_evaluation(evaluation, split, data.label_names, name, predictions=run.predictions, plots=run.plots)
        metrics[name] = evaluation.metrics
    return metrics


def _choose(prepared: Prepared, logits: Any) -> Decision:
    from ftclf.decisions import choose_decision
    from ftclf.evaluation import to_probabilities

    data, wanted = prepared.data, prepared.config.decision
    return choose_decision(
        to_probabilities(logits, data.task),
        data.splits["validation"].labels,
        label_names=data.label_names,
        rule=wanted.rule,
        objective=wanted.objective,
        beta=wanted.beta,
        k=wanted.k,
        min_positives=wanted.min_positives,
    )


def _plot_history(prepared: Prepared) -> None:
    from ftclf.plots import plot_history

    history = [json.loads(line) for line in prepared.run.history.read_text(encoding="utf-8").splitlines()]
    plot_history(prepared.run.plots / "history.png", history, choosing_metric(prepared.config))


def _finish(
    prepared: Prepared, fitted: Fitted, metrics: dict[str, Any], command: str, seconds: dict[str, float]
) -> None:
    """Write the manifest, the model card and, last, the metrics; print the score."""
    from ftclf.card import model_card
    from ftclf.compute import describe_machine, peak_memory_mb
    from ftclf.evaluation import headline
    from ftclf.manifest import git_commit, versions

    config, run, data = prepared.config, prepared.run, prepared.data
    manifest: dict[str, Any] = {
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
        "peak_memory_mb": round(peak_memory_mb()),
        "reload_difference": fitted.reload_difference,
        "compute": asdict(prepared.compute),
        "machine": describe_machine(),
        "versions": versions(),
        "git_commit": git_commit(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "seconds": seconds,
    }
    write_json(run.manifest, manifest)
    write_text(run.checkpoint / "README.md", model_card(config, data, metrics, manifest))
    write_json(run.metrics, metrics)
    say(f"test {headline(metrics['test'], data.task)}")
    say(f"run folder: {run.folder}")
