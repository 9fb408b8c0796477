"""One run from its config to its folder: data, model, method, training, the proof, the scores."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftclf import __version__
from ftclf.config import TrainConfig, check
from ftclf.console import log_to, quiet_libraries, say, warn
from ftclf.data import Data, load_data
from ftclf.errors import ConfigError
from ftclf.runs import Run, claim, write_json, write_text

if TYPE_CHECKING:
    from ftclf.checkpoint import Checkpoint
    from ftclf.compute import Compute
    from ftclf.evaluation import Evaluation
    from ftclf.method import Parameters
    from ftclf.tokens import Tokens


@dataclass
class Timer:
    """Seconds of each part of a run."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] = round(time.perf_counter() - start, 3)


def train(config: TrainConfig, folder: Path, command: str = "") -> float:
    """Train one classifier and return its validation score. `command` is kept in the manifest.

    The folder holds everything when this returns; `metrics.json` is written last. Raises an FtclfError for whatever a
    user can mend, before anything is overwritten.
    """
    check(config)
    for tracker in config.training.trackers:
        if find_spec(tracker) is None:
            raise ConfigError(f"training.trackers: {tracker} is not installed; pip install {tracker}")
    timer = Timer()
    with timer("total"):
        with timer("data"):
            data = load_data(config.dataset)
        run = claim(folder, overwrite=config.overwrite, resume=config.resume is not None)
        with log_to(run.log):
            write_json(run.config, asdict(config))
            metrics, manifest = _run(config, run, data, timer)
    manifest = {"command": command, **manifest, "seconds": timer.seconds}
    write_json(run.manifest, manifest)
    from ftclf.card import model_card

    write_text(run.checkpoint / "README.md", model_card(config, data, metrics, manifest))
    write_json(run.metrics, metrics)
    from ftclf.evaluation import headline

    say(f"test {headline(metrics['test'])}")
    say(f"run folder: {folder}")
    return float(metrics["validation"][config.training.metric])


def _run(config: TrainConfig, run: Run, data: Data, timer: Timer) -> tuple[dict[str, Any], dict[str, Any]]:
    with timer("imports"):
        from ftclf.checkpoint import load_checkpoint
        from ftclf.compute import choose_attention, choose_compute, describe_machine, peak_memory_mb
        from ftclf.manifest import git_commit, versions
        from ftclf.model import find_weights, load_tokenizer
        from ftclf.tokens import cached_tokens

        quiet_libraries()
        compute = choose_compute(config.training)
    with timer("tokens"):
        weights = find_weights(config.model)
        tokenizer = load_tokenizer(weights.folder)
        tokens = {
            name: cached_tokens(split, tokenizer, config.dataset.max_length) for name, split in data.splits.items()
        }
    if config.model.attention == "auto":
        attention = choose_attention(tokens["train"][0].lengths, compute.device)
        config = replace(config, model=replace(config.model, attention=attention))
    _introduce(config, data, compute, tokens)
    with timer("training"):
        parameters, steps, difference = _fit(config, run, data, weights, tokenizer, compute, tokens)
    with timer("evaluation"):
        # What is scored is the checkpoint as it was saved: exactly what `ftclf eval` loads.
        checkpoint = load_checkpoint(run.checkpoint)
        scores = {
            split: _evaluate(checkpoint, data, split, tokens[split][0], compute, config.training.eval_batch_size, run)
            for split in ("validation", "test")
        }
    _plot_history(config, run)
    if not config.training.keep_checkpoints:
        shutil.rmtree(run.resumable, ignore_errors=True)
    examples = steps["examples"]
    manifest: dict[str, Any] = {
        "ftclf": __version__,
        "dataset": data.name,
        "rows": {name: len(split) for name, split in data.splits.items()},
        "digests": {name: data.digest(name) for name in data.splits},
        "notes": data.notes,
        "base": {"origin": weights.origin, "sha256": weights.sha256},
        "parameters": {
            "total": parameters.total,
            "trainable": parameters.trainable,
            "share": parameters.share,
        },
        "seed": config.training.seed,
        "steps": steps["steps"],
        "tokens_from_cache": all(known for _, known in tokens.values()),
        "texts_at_max_length": {name: found.full for name, (found, _) in tokens.items()},
        "examples_per_second": round(examples / steps["seconds"], 1) if steps["seconds"] else None,
        "peak_memory_mb": round(peak_memory_mb()),
        "reload_difference": difference,
        "compute": asdict(compute),
        "machine": describe_machine(),
        "versions": versions(),
        "git_commit": git_commit(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    metrics = {split: evaluation.metrics for split, evaluation in scores.items()}
    return metrics, manifest


def _fit(
    config: TrainConfig,
    run: Run,
    data: Data,
    weights: Any,
    tokenizer: Any,
    compute: Compute,
    tokens: dict[str, tuple[Tokens, bool]],
) -> tuple[Parameters, dict[str, Any], float]:
    """Train, keep the best weights, save them, and prove that they load. Returns counts and the proof's difference."""
    import numpy as np
    import torch

    from ftclf.checkpoint import CheckpointInfo, prove_reload, save_checkpoint
    from ftclf.dropout import use_byte_dropout
    from ftclf.evaluation import model_inputs
    from ftclf.method import apply_method, count_parameters, faster_parameters
    from ftclf.model import build_classifier
    from ftclf.trainer import ClassifierTrainer, TokenRows, last_checkpoint

    torch.manual_seed(config.training.seed)  # before the model: its head starts at random
    classifier = build_classifier(weights.folder, data.label_names, config.model)
    faster = faster_parameters(classifier, config.method)
    network = apply_method(classifier, config.method)
    if compute.device == "cpu":
        use_byte_dropout(network)
    parameters = count_parameters(network)
    say(f"{parameters.trainable:,} of {parameters.total:,} weights are trained ({parameters.share:.1%})")
    trainer = ClassifierTrainer(
        network,
        config.training,
        run,
        compute=compute,
        train=TokenRows(tokens["train"][0], data.splits["train"]),
        validation=(tokens["validation"][0], data.splits["validation"]),
        faster=faster,
    )
    resume_from = last_checkpoint(run) if config.resume else None
    before = time.perf_counter()
    steps_before = int(resume_from.name.rpartition("-")[2]) if resume_from else 0
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    seconds = time.perf_counter() - before - trainer.seconds_aside
    trained = trainer.state.global_step
    # In mixed precision the Trainer wraps `forward` in autocast: the proof below wants the bare network.
    network = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    per_step = config.training.batch_size * config.training.accumulation
    info = CheckpointInfo(
        label_names=data.label_names,
        data_name=data.name,
        dataset=config.dataset,
        model=config.model,
        method=asdict(config.method),
        base_origin=weights.origin,
        base_sha256=weights.sha256,
        precision=compute.precision,
        threads=compute.threads,
        eval_batch_size=config.training.eval_batch_size,
        version=__version__,
    )
    save_checkpoint(run.checkpoint, network, tokenizer, info)
    rows = np.arange(min(16, len(data.splits["validation"])))
    inputs = model_inputs(tokens["validation"][0], rows, compute.device)
    difference = prove_reload(run.checkpoint, network, inputs, config.training.seed)
    examples = min((trained - steps_before) * per_step, round(config.training.epochs * len(data.splits["train"])))
    return parameters, {"steps": trained, "seconds": seconds, "examples": examples}, difference


def _evaluate(
    checkpoint: Checkpoint,
    data: Data,
    split: str,
    tokens: Tokens,
    compute: Compute,
    batch_size: int,
    run: Run,
) -> Evaluation:
    from ftclf.evaluation import compute_logits, score, write_evaluation

    network = checkpoint.network.to(compute.device)
    logits = compute_logits(network, tokens, compute, batch_size)
    evaluation = score(logits, data.splits[split], data.label_names)
    write_evaluation(
        evaluation, data.splits[split], data.label_names, split, predictions=run.predictions, plots=run.plots
    )
    return evaluation


def _introduce(config: TrainConfig, data: Data, compute: Compute, tokens: dict[str, tuple[Tokens, bool]]) -> None:
    sizes = ", ".join(f"{len(split)} {name}" for name, split in data.splits.items())
    say(f"{data.name}: {sizes} rows, {len(data.label_names)} labels")
    for note in data.notes:
        say(f"  note: {note}")
    for name, (found, _) in tokens.items():
        if found.full:
            say(f"  note: {found.full} {name} texts fill dataset.max_length={config.dataset.max_length}: cut there")
    if config.training.epochs * len(data.splits["train"]) < config.training.batch_size:
        warn("training.batch_size is larger than the rows that are seen: there is a single step")
    say(
        f"{config.model.alias}, {config.method.kind}, {compute.precision} on {compute.device}, "
        f"{compute.threads} threads, {config.model.attention} attention"
    )


def _plot_history(config: TrainConfig, run: Run) -> None:
    import json

    from ftclf.plots import plot_history

    history = [json.loads(line) for line in run.history.read_text(encoding="utf-8").splitlines()]
    run.plots.mkdir(exist_ok=True)
    plot_history(run.plots / "history.png", history, config.training.metric)
