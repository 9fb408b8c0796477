"""What a run trains with method=tfidf: a logistic regression per label, on TF-IDF of the texts."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.checkpoint.format import read_info
from ftclf.checkpoint.tfidf import TfidfScorer, prove_tfidf, save_tfidf
from ftclf.config import ModelConfig, TfidfConfig, TrainConfig
from ftclf.data import Data
from ftclf.model.compute import Compute, usable_cores
from ftclf.model.method import Parameters
from ftclf.model.tfidf import Features, LabelWeights, drawn_rows, fit_features, fit_labels, of_all_labels
from ftclf.score.evaluation import targets_of
from ftclf.score.task import task_named
from ftclf.storage.run_folder import Run
from ftclf.system.console import say, size
from ftclf.system.errors import ConfigError
from ftclf.system.memory import free_memory
from ftclf.system.progress_bar import advance, phase
from ftclf.system.text import counted
from ftclf.training.checkpoint_info import checkpoint_info
from ftclf.training.finish import Fitted
from ftclf.training.prepare import SCORED, Prepared, introduce_data
from ftclf.training.resume import Standing
from ftclf.training.start import start

ENGINE = "liblinear"
PROVED, TIMED = 16, 20  # texts
COPIES = 4  # of the coefficients: as they are fitted, saved, loaded again, and loaded as float64


class TfidfLearner:
    """The training texts as a matrix; then the weights; after they were saved, the checkpoint that was loaded again."""

    def __init__(self, config: TrainConfig, run: Run, data: Data, standing: Standing) -> None:
        method = config.method
        assert isinstance(method, TfidfConfig)
        if config.start_from:
            raise ConfigError(f"start_from: method={method.kind} starts from no weights; leave it out")
        compute = Compute("cpu", "fp32", config.training.threads or usable_cores())
        config = replace(config, model=ModelConfig.none())
        self.prepared = Prepared(config, run, data, compute, standing.home or Path.cwd())
        self.method = method
        introduce_data(config, data)
        train = data.splits["train"]
        self.rows = drawn_rows(len(train), self.method.max_rows, config.training.seed)
        self.features, self.matrix = self._read_texts()
        self.shape = (self.matrix.shape[1], len(data.label_names))
        self._introduce()
        self._refuse_too_little_memory()
        self._scorer: TfidfScorer | None = None

    def _read_texts(self) -> tuple[Features, Any]:
        texts = self.prepared.data.splits["train"].texts
        try:
            with phase("vocabulary"):
                return fit_features([texts[row] for row in self.rows.tolist()], self.method.max_features)
        except ValueError as error:
            reason = str(error).partition(";")[0]
            raise ConfigError(f"method: got tfidf, which cannot be fitted on these texts ({reason})") from error

    def _introduce(self) -> None:
        data, seed = self.prepared.data, self.prepared.config.training.seed
        rows, kinds = len(data.splits["train"]), self.features.vocabularies
        if len(self.rows) < rows:
            say(f"  method.max_rows: {len(self.rows):,} of {rows:,} training rows are fitted")
        elif seed:
            say("  note: all training rows are fitted, so training.seed changes nothing")
        words, pieces = (f"{len(kinds[kind]):,}" for kind in ("words", "pieces"))
        threads = counted(self.prepared.compute.threads, "thread")
        say(f"tfidf: {words} words and word pairs, {pieces} character n-grams, {threads}")
        say(f"{self.shape[0] * self.shape[1] + self.shape[1]:,} weights are trained, engine {ENGINE}")

    def _refuse_too_little_memory(self) -> None:
        needed, free = 4 * COPIES * self.shape[0] * self.shape[1], free_memory()
        if needed > free:
            fitting = max(1, int(free / needed * self.shape[0] / 4))
            raise ConfigError(
                f"method.max_features: {self.shape[0]:,} features of {self.shape[1]:,} labels need {size(needed)} of "
                f"memory, {size(free)} are free; try method.max_features={fitting}"
            )

    def start(self, *, begun: bool) -> dict[str, Any]:
        record, _ = start(self.prepared, begun=begun)
        return record

    def fit(self) -> Fitted:
        begin, data = time.perf_counter(), self.prepared.data
        targets = targets_of(data.splits["train"].take(self.rows), len(data.label_names))
        seed, threads = self.prepared.config.training.seed, self.prepared.compute.threads
        with phase("training", len(data.label_names)):
            weights = of_all_labels(
                (_counted(one) for one in fit_labels(self.matrix, targets, threads=threads, seed=seed)), self.shape
            )
        self._scorer = TfidfScorer(self.features, weights, task_named(data.task))
        self.matrix = None
        number = weights.coefficients.size + weights.intercepts.size
        seconds = time.perf_counter() - begin
        return Fitted(Parameters(number, number), ENGINE, 0, 0, len(self.rows), seconds)

    def save(self, folder: Path) -> None:
        assert self._scorer is not None
        save_tfidf(folder, self._scorer, checkpoint_info(self.prepared))

    def prove(self, folder: Path) -> float:
        assert self._scorer is not None
        texts = self.prepared.data.splits["validation"].texts[:PROVED]
        expected, self._scorer = self._scorer.logits(texts), None
        self._scorer, difference = prove_tfidf(folder, read_info(folder), texts, expected)
        return difference

    def logits(self) -> tuple[dict[str, NDArray[np.float32]], float]:
        """Return logits by the checkpoint as it was saved: exactly what `ftclf eval` computes."""
        scorer, splits = self._scorer, self.prepared.data.splits
        assert scorer is not None
        logits = {name: scorer.logits(splits[name].texts) for name in SCORED}
        return logits, _milliseconds_per_text(scorer, splits["test"].texts[:TIMED])


def _counted(weights: LabelWeights) -> LabelWeights:
    advance()
    return weights


def _milliseconds_per_text(scorer: TfidfScorer, texts: list[str]) -> float:
    """Return the median time of one text alone."""
    times = []
    for text in [texts[0], *texts]:  # the first warms up
        begin = time.perf_counter()
        scorer.logits([text])
        times.append(time.perf_counter() - begin)
    return round(1000 * median(times[1:]), 2)
