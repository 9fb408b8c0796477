"""One run from its config to its folder: data, model, method, training, the proof, the scores."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftclf import __version__
from ftclf.checkpoint.format import CheckpointInfo, prove_reload, save_checkpoint, write_info
from ftclf.config import TrainConfig, check, choosing_metric
from ftclf.data import load_data, sketch
from ftclf.storage.durable import whole_folder
from ftclf.storage.lock import taken
from ftclf.storage.run_folder import Run, write_json
from ftclf.storage.run_paths import way, with_found_paths
from ftclf.system.console import log_to
from ftclf.system.errors import ConfigError, DivergedError
from ftclf.system.memory import hand_back_memory, nothing_set_aside_later
from ftclf.system.progress_bar import phase
from ftclf.training.finish import Fitted, finish, finished_before, made_with, plot_run, write_card
from ftclf.training.prepare import Prepared, build_trainer, prepare
from ftclf.training.resume import Standing, find_standing
from ftclf.training.start import start

if TYPE_CHECKING:
    from ftclf.model.method import Parameters
    from ftclf.score.evaluation import Evaluation
    from ftclf.training.trainer import ClassifierTrainer

SCORED = ("validation", "test")  # in this order: validation settles how test is scored


@dataclass
class Timer:
    """Seconds of each part of a run; `before` are those of training by the processes that a resumed run had before."""

    seconds: dict[str, float] = field(default_factory=dict)
    before: float = 0.0

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        before = self.before if part in ("training", "total") else 0.0
        self.seconds[part] = round(before + time.perf_counter() - start, 3)


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
    with taken(folder), nothing_set_aside_later():
        standing = find_standing(config, folder)
        if standing.finished:
            return finished_before(standing.config, run)
        try:
            return _train(standing, run, command)
        except DivergedError as error:
            from ftclf.report.page import page_or_warning, write_diverged

            write_json(run.failure, {"error": type(error).__name__, "reason": str(error)})
            with page_or_warning(run.report):
                write_diverged(run, str(error))
            raise


def _train(standing: Standing, run: Run, command: str) -> float:
    timer, config = Timer(), standing.config
    with timer("total"):
        with timer("data"):
            data = load_data(with_found_paths(config.dataset, standing.home))
        with timer("preparation"):
            prepared = prepare(config, run, data, standing)
            trainer, parameters = build_trainer(prepared)
            trainer.bar.ahead = partial(_seconds_after, prepared)
        # Everything that can be checked is checked: only now is anything written, or an old run replaced.
        record, checkpoint = start(prepared, trainer, begun=standing.begun)
        with log_to(run.log):
            with timer("training"):
                fitted = _fit(prepared, trainer, parameters, checkpoint)
                timer.before = trainer.seconds_before
                hand_back_memory()
            with whole_folder(run.checkpoint) as folder:
                save_checkpoint(folder, trainer.bare_network, prepared.tokenizer, _checkpoint_info(prepared))
                inputs, expected = _some_logits(prepared, trainer.bare_network)
                del trainer  # and its network, before that of the checkpoint is loaded
                hand_back_memory()
                saved, fitted.reload_difference = prove_reload(
                    folder, inputs, expected, seed=config.training.seed, home=prepared.home
                )
                with timer("evaluation"), phase("evaluation", sum(len(data.splits[name]) for name in SCORED)):
                    logits, fitted.milliseconds_per_text = _apply(prepared, saved.network)
                    info = saved.info
                    del saved  # the network has said all it has to: plots need its room
                    hand_back_memory()
                    evaluations = _evaluate(prepared, folder, info, logits)
                with timer("baselines"):
                    from ftclf.score.baselines import beside_baselines

                    baselines = beside_baselines(prepared, evaluations["test"])
                metrics = {**{name: one.metrics for name, one in evaluations.items()}, "baselines": baselines}
                manifest = {**record, **made_with(prepared, fitted, command, timer.seconds)}
                write_card(prepared, folder, evaluations, metrics, manifest)
            plot_run(prepared)
    with log_to(run.log):  # the scores, and which weights were kept
        finish(prepared, metrics, manifest)
    return float(metrics["validation"][choosing_metric(config)])


def _seconds_after(prepared: Prepared, seconds_per_token: float) -> float:
    """Return how long evaluation and baselines will take, from the seconds that a token of validation took."""
    from ftclf.score.baselines import work_ahead

    scored = sum(int(prepared.tokens[name].offsets[-1]) for name in SCORED)
    embedded, seconds = work_ahead(prepared)
    return seconds_per_token * (scored + embedded) + seconds


def _fit(prepared: Prepared, trainer: ClassifierTrainer, parameters: Parameters, checkpoint: Path | None) -> Fitted:
    """Train, from a checkpoint if there is one, and leave the best weights in the network."""
    config = prepared.config.training
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds, steps = trainer.seconds - trainer.seconds_aside, trainer.state.global_step
    kept = trainer.state.best_global_step or steps
    examples = steps * config.batch_size * config.accumulation
    if config.max_steps is None:
        assert config.epochs is not None
        examples = min(examples, round(config.epochs * prepared.sampler.rows))
    return Fitted(parameters, trainer.engine.name, steps, kept, examples, seconds)


def _checkpoint_info(prepared: Prepared) -> CheckpointInfo:
    from ftclf.score.calibration import Calibration
    from ftclf.score.decisions import Decision

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
        base_settings=prepared.weights.settings,
        trained_texts=sketch(prepared.trained.texts),
        started_in=way(prepared.run.checkpoint, prepared.home),
        device=compute.device,
        precision=compute.precision,
        threads=compute.threads,
        engine=compute.engine,
        eval_batch_size=config.training.eval_batch_size,
        task=data.task,
        version=__version__,
    )


def _some_logits(prepared: Prepared, network: Any) -> tuple[dict[str, Any], Any]:
    """Return rows of validation and the network's logits of them, which its checkpoint must give again."""
    import torch

    from ftclf.model.batches import model_inputs
    from ftclf.model.compute import as_it_stands

    tokens = prepared.tokens["validation"]
    inputs = model_inputs(tokens, np.arange(min(16, len(tokens))), prepared.compute.device)
    network.eval()
    with torch.inference_mode(), as_it_stands(compiled=prepared.config.training.compile):
        return inputs, network(**inputs).logits


def _apply(prepared: Prepared, network: Any) -> tuple[dict[str, NDArray[np.float32]], float]:
    """Return the logits of validation and test by the checkpoint as it was saved, and milliseconds per text.

    They are exactly what `ftclf eval` computes.
    """
    from ftclf.score.logits import compute_logits, milliseconds_per_text, scoring_network

    compute, batch_size = prepared.compute, prepared.config.training.eval_batch_size
    network = scoring_network(network, compute)
    checkpoint, tokens = prepared.run.checkpoint, prepared.tokens
    logits = {
        name: compute_logits(network, tokens[name], compute, batch_size, checkpoint=checkpoint) for name in SCORED
    }
    return logits, milliseconds_per_text(network, tokens["test"], compute)


def _evaluate(
    prepared: Prepared, folder: Path, info: CheckpointInfo, logits: dict[str, NDArray[np.float32]]
) -> dict[str, Evaluation]:
    """Score validation and test.

    How logits become labels is settled on validation, and stored in the checkpoint, before test is scored.
    """
    from ftclf.report.evaluation_files import write_evaluation
    from ftclf.score.evaluation import score, settle

    run, data = prepared.run, prepared.data
    evaluations: dict[str, Evaluation] = {}
    for name in SCORED:
        split = data.splits[name]
        if name == "validation":
            settle(info, logits[name], split.labels, prepared.config.decision, prepared.trained_prior)
            write_info(folder, info)
        with phase(f"{name} scores and their intervals"):
            evaluations[name] = score(logits[name], split, info)
        write_evaluation(evaluations[name], split, data.label_names, name, predictions=run.predictions, plots=run.plots)
        hand_back_memory()
    return evaluations
