"""One run from its config to its folder: data, model, method, training, the proof, the scores."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ftclf.checkpoint.format import CheckpointInfo, read_info, write_info
from ftclf.config import TrainConfig, check, choosing_metric
from ftclf.data import Data, load_data
from ftclf.storage.durable import whole_folder
from ftclf.storage.lock import taken
from ftclf.storage.run_folder import Run, write_json
from ftclf.storage.run_paths import with_found_paths
from ftclf.system.console import log_to
from ftclf.system.errors import ConfigError, DivergedError
from ftclf.system.memory import hand_back_memory, nothing_set_aside_later
from ftclf.system.progress_bar import phase
from ftclf.training.finish import Fitted, finish, finished_before, made_with, plot_run, write_card
from ftclf.training.prepare import SCORED, Prepared
from ftclf.training.resume import Standing, find_standing

if TYPE_CHECKING:
    from ftclf.score.evaluation import Evaluation


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


class Learner(Protocol):
    """What a run trains; the order of the methods is that of a run."""

    @property
    def prepared(self) -> Prepared: ...

    def start(self, *, begun: bool) -> dict[str, Any]:
        """Write what the run begins with, and return what the manifest keeps of it."""
        ...

    def fit(self) -> Fitted: ...

    def save(self, folder: Path) -> None:
        """Write the checkpoint into an empty folder."""
        ...

    def prove(self, folder: Path) -> float:
        """Load the checkpoint; return by how much some logits differ. CheckpointError for more than rounding."""
        ...

    def logits(self) -> tuple[dict[str, NDArray[np.float32]], float]:
        """Return the logits of validation and test by the loaded checkpoint, and milliseconds per text."""
        ...


def _learner(config: TrainConfig, run: Run, data: Data, standing: Standing) -> Learner:
    if config.method.needs_network:
        from ftclf.training.network_learner import NetworkLearner

        return NetworkLearner(config, run, data, standing)
    from ftclf.training.tfidf_learner import TfidfLearner

    return TfidfLearner(config, run, data, standing)


def _train(standing: Standing, run: Run, command: str) -> float:
    timer, config = Timer(), standing.config
    with timer("total"):
        with timer("data"):
            data = load_data(with_found_paths(config.dataset, standing.home))
        with timer("preparation"):
            learner = _learner(config, run, data, standing)
        # Everything that can be checked is checked: only now is anything written, or an old run replaced.
        record = learner.start(begun=standing.begun)
        prepared = learner.prepared
        with log_to(run.log):
            with timer("training"):
                fitted = learner.fit()
                timer.before = fitted.seconds_before
                hand_back_memory()
            with whole_folder(run.checkpoint) as folder:
                learner.save(folder)
                hand_back_memory()
                fitted.reload_difference = learner.prove(folder)
                with timer("evaluation"), phase("evaluation", sum(len(data.splits[name]) for name in SCORED)):
                    logits, fitted.milliseconds_per_text = learner.logits()
                    evaluations = _evaluate(prepared, folder, read_info(folder), logits)
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
            usual = prepared.usual_temperature
            settle(info, logits[name], split.labels, prepared.config.decision, prepared.calibration_prior, usual=usual)
            write_info(folder, info)
        with phase(f"{name} scores and their intervals"):
            evaluations[name] = score(logits[name], split, info)
        write_evaluation(evaluations[name], split, data.label_names, name, predictions=run.predictions, plots=run.plots)
        hand_back_memory()
    return evaluations
