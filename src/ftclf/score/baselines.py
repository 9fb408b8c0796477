"""What a model should beat: the most frequent label, a linear model on word counts, the frozen encoder.

Their probabilities are made once for a data set and kept on disk; every later run only compares itself with them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ftclf.config import HEADLINES, TrainConfig
from ftclf.data import Data, Split
from ftclf.data.label_sets import LabelSets
from ftclf.model import tfidf
from ftclf.model.network import OF_A_NETWORK
from ftclf.model.tokens import tokenizer_digest
from ftclf.score.bootstrap import draw_scores, interval_of
from ftclf.score.calibration import NEUTRAL, fit_calibration
from ftclf.score.decisions import Decision, choose_decision, decide_all
from ftclf.score.evaluation import targets_of
from ftclf.score.frozen_vectors import FrozenEncoder
from ftclf.score.probabilities import Probabilities
from ftclf.score.task import task_named
from ftclf.score.wording import against, baseline_name
from ftclf.storage.cache import cache_folder, missing, new_entry
from ftclf.system.console import say, warn
from ftclf.system.progress_bar import advance, phase

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ftclf.model.base_weights import Weights
    from ftclf.model.compute import Compute
    from ftclf.model.tokens import Tokens
    from ftclf.score.evaluation import Evaluation

FILE = "probabilities.npz"
FILES_OF_CODE = (__file__, tfidf.__file__)
# Their settings stand in the code: a baseline that was fitted by other code is another one.
CODE = hashlib.sha256(b"".join(Path(str(one)).read_bytes() for one in FILES_OF_CODE)).hexdigest()
MOST_ROWS = 50_000  # training rows of a baseline: beyond, its time would grow past that of the model
SPLITS = ("validation", "test")
# Measured on two cores of an AMD EPYC (family 25) with GoEmotions and the DBpedia sample: for the time that is left.
TFIDF_SECONDS_PER_TOKEN, TFIDF_SECONDS_PER_TOKEN_AND_LABEL = 2e-5, 2e-6
ABOUT = {
    "majority": "the most frequent label for every row",
    "tfidf": "TF-IDF of words, word pairs and character n-grams, logistic regression",
    "frozen_encoder": "the encoder as it came, mean of its tokens, logistic regression",
}

Fitted = dict[str, NDArray[np.float64]]  # probabilities by split


class Measured(Protocol):
    """A run that is measured against baselines, and its data."""

    config: TrainConfig
    data: Data
    compute: Compute

    @property
    def baselines(self) -> list[str]: ...

    @property
    def prior(self) -> NDArray[np.float64]: ...


class BaselineInputs(Measured, Protocol):
    """What baselines are fitted on: the data of a run, its tokens, and the encoder as it came."""

    weights: Weights
    tokenizer: PreTrainedTokenizerBase
    tokens: dict[str, Tokens]  # by split


@dataclass
class Baseline:
    probabilities: Fitted
    seconds: float  # when it was fitted, not when it was read from disk


def beside_baselines(measured: Measured, evaluation: Evaluation) -> dict[str, Any]:
    """Return each baseline's scores on test, and by how much the evaluated model is better, in paired intervals.

    A run names no baseline that asks for tokens or an encoder which it has not.
    One that cannot be fitted (texts without words, too little memory) is left out with a warning: the model is trained.
    """
    found, prepared = {}, cast(BaselineInputs, measured)
    for name in prepared.baselines:
        try:
            found[name] = _compared(name, prepared, evaluation)
        except (*OF_A_NETWORK, OSError, MemoryError) as error:  # texts without words, an encoder without states
            warn(f"baseline {name} is left out: {' '.join(str(error).split()) or 'out of memory'}")
    return found


def against_strongest(metrics: dict[str, Any], task: str) -> str:
    """Return `4.1 points above TF-IDF [2.9, 5.3]`, of the baseline that does best; '' without any."""
    if not metrics.get("baselines"):
        return ""
    name, difference = strongest(metrics, task)
    return against(difference, HEADLINES[task][0], baseline_name(name))


def strongest(metrics: dict[str, Any], task: str) -> tuple[str, list[float]]:
    """Return the baseline that does best, and by how much the model is better, with the interval."""
    found, score = metrics["baselines"], HEADLINES[task][0]
    name = min(found, key=lambda name: found[name]["difference"][score][0])
    return name, found[name]["difference"][score]


def _compared(name: str, prepared: BaselineInputs, evaluation: Evaluation) -> dict[str, Any]:
    task, test = task_named(prepared.data.task), prepared.data.splits["test"]
    fitted = _cached(name, prepared)
    targets = targets_of(test, len(prepared.data.label_names))
    probabilities, chosen = _decided(name, fitted.probabilities, prepared)
    draws = draw_scores(chosen, targets, task.row_losses(probabilities, targets))
    scores = task.metrics(draws.observed, probabilities, targets, task.ranks(probabilities, targets))
    intervals, _ = draws.intervals()
    gained = evaluation.draws.observed_less(draws)
    spread = {key: interval_of(values, gained[key]) for key, values in evaluation.draws.less(draws).items()}
    names = [key for key in task.headlines if key in scores]
    return {
        "about": ABOUT[name] + ("" if name == "majority" else _sampled(prepared)),
        "scores": {key: scores[key] for key in names},
        "intervals": {key: intervals[key] for key in names if key in intervals},
        "difference": {key: [gained[key], *spread[key]] for key in names if key in gained},
        "seconds": fitted.seconds,
    }


def _decided(name: str, found: Fitted, prepared: BaselineInputs) -> tuple[Probabilities, LabelSets]:
    """Return test probabilities and answers: scaled and decided on validation by the very settings of the run."""
    data, wanted = prepared.data, prepared.config.decision
    if name == "majority":
        return Probabilities.of(found["test"]), decide_all([Decision()], found["test"])[0]
    labels, task = data.splits["validation"].labels, task_named(data.task)
    logits = {split: task.logits(values) for split, values in found.items()}
    scaling = fit_calibration(
        logits["validation"],
        labels,
        method=wanted.calibration,
        label_names=data.label_names,
        min_positives=wanted.min_positives,
        prior=prepared.prior,
        usual=NEUTRAL,
    )
    scaled = {split: scaling.scaled(values, task) for split, values in logits.items()}
    targets = LabelSets.of(labels, len(data.label_names))
    decision = choose_decision(scaled["validation"], targets, task.asked(wanted), data.label_names)
    return scaled["test"], decide_all([decision], scaled["test"])[0]


def _sampled(prepared: BaselineInputs) -> str:
    rows = len(prepared.data.splits["train"])
    return f" ({MOST_ROWS:,} of {rows:,} training rows)" if rows > MOST_ROWS else ""


# ---- kept on disk


def _cached(name: str, prepared: BaselineInputs) -> Baseline:
    """Return a baseline's probabilities, from disk where the same rows were seen before."""
    folder = _place(name, prepared)
    with missing(folder) as fresh:
        if fresh:
            say(f"baseline: {ABOUT[name]} (kept for later runs)")
            start = time.perf_counter()
            with phase(f"baseline {baseline_name(name)}", _units(name, prepared)):
                probabilities = FITS[name](prepared)
            with new_entry(folder) as beside:
                seconds = np.array(time.perf_counter() - start)
                np.savez(beside / FILE, seconds=seconds, **probabilities)  # type: ignore[arg-type]
    with np.load(folder / FILE) as kept:
        return Baseline({split: kept[split] for split in SPLITS}, round(float(kept["seconds"]), 1))


def _place(name: str, prepared: BaselineInputs) -> Path:
    """Return the folder that holds a baseline once it is fitted: its name is of all that decides it."""
    data = prepared.data
    what = [name, version("scikit-learn"), *(data.digest(split) for split in data.splits)]
    if name == "frozen_encoder":
        encoder = _encoder(prepared)
        what += [*encoder.identity, tokenizer_digest(encoder.tokenizer), str(encoder.max_length)]
    return cache_folder() / "baselines" / hashlib.sha256(json.dumps([CODE, *what]).encode()).hexdigest()[:32]


def _units(name: str, prepared: BaselineInputs) -> int | None:
    """Return what a baseline's work is counted in: labels that are fitted, or texts that are embedded."""
    if name == "frozen_encoder":
        return len(_sample(prepared)) + sum(len(prepared.data.splits[split]) for split in SPLITS)
    return len(prepared.data.label_names) if name == "tfidf" else None


def work_ahead(prepared: BaselineInputs) -> tuple[int, float]:
    """Return how many tokens the baselines will embed, and about how many seconds the linear ones will take.

    Those that are kept on disk take none.
    """
    missing = [name for name in prepared.baselines if not _place(name, prepared).is_dir()]
    tokens, seconds = 0, 0.0
    if "frozen_encoder" in missing:
        share = len(_sample(prepared)) / len(prepared.data.splits["train"])
        lengths = {split: int(found.offsets[-1]) for split, found in prepared.tokens.items()}
        tokens = round(share * lengths["train"]) + lengths["validation"] + lengths["test"]
    if "tfidf" in missing:
        read = sum(int(found.offsets[-1]) for found in prepared.tokens.values())
        fitted = int(prepared.tokens["train"].offsets[-1]) * len(prepared.data.label_names)
        seconds = read * TFIDF_SECONDS_PER_TOKEN + fitted * TFIDF_SECONDS_PER_TOKEN_AND_LABEL
    return tokens, seconds


# ---- the baselines


def _majority(prepared: BaselineInputs) -> Fitted:
    train = prepared.data.splits["train"]
    shares = targets_of(train, len(prepared.data.label_names)).per_label / len(train)
    return {split: np.tile(shares, (len(prepared.data.splits[split]), 1)) for split in SPLITS}


def _tfidf(prepared: BaselineInputs) -> Fitted:
    train, splits = _sample(prepared), prepared.data.splits
    features, inputs = tfidf.fit_features([splits["train"].texts[row] for row in train])
    others = {split: features.matrix(splits[split].texts) for split in SPLITS}
    targets = targets_of(splits["train"].take(train), len(prepared.data.label_names))
    columns = []
    for weights in tfidf.fit_labels(inputs, targets, threads=prepared.compute.threads):
        columns.append({split: tfidf.probabilities_of(weights.log_odds(matrix)) for split, matrix in others.items()})
        advance()
    return _together(columns, prepared)


def _frozen_encoder(prepared: BaselineInputs) -> Fitted:
    encoder, train = _encoder(prepared), _sample(prepared)
    sampled = None if len(train) == len(prepared.tokens["train"]) else train
    inputs = encoder.vectors_of(prepared.tokens["train"], sampled)
    others = {split: encoder.vectors_of(prepared.tokens[split]) for split in SPLITS}
    return _linear(inputs, prepared.data.splits["train"].take(train), others, prepared)


def _encoder(prepared: BaselineInputs) -> FrozenEncoder:
    config = prepared.config
    return FrozenEncoder(
        config.model, prepared.weights, prepared.compute, prepared.tokenizer, config.dataset.max_length
    )


def _linear(inputs: Any, train: Split, others: dict[str, Any], prepared: BaselineInputs) -> Fitted:
    """Fit one logistic regression per label against the rest, on dense features."""
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    targets = targets_of(train, len(prepared.data.label_names))
    # The solvers work outside of Python's lock. Few at a time: each has a copy of the features.
    with threadpool_limits(1):
        fits = Parallel(n_jobs=min(4, prepared.compute.threads), prefer="threads")
        columns = fits(
            delayed(_one_against_rest)(inputs, targets.column(label), others) for label in range(targets.labels)
        )
    return _together(columns, prepared)


def _together(columns: list[Fitted], prepared: BaselineInputs) -> Fitted:
    """Return the probabilities of the task from those of each label alone."""
    task = task_named(prepared.data.task)
    return {
        split: task.from_one_against_rest(np.stack([column[split] for column in columns], axis=1)) for split in SPLITS
    }


def _one_against_rest(inputs: Any, truth: NDArray[np.bool_], others: dict[str, Any]) -> Fitted:
    """Return a label's probabilities, (rows,) for each split."""
    from sklearn.linear_model import LogisticRegression

    if truth.all() or not truth.any():  # the sample may miss a label
        return {split: np.full(features.shape[0], float(truth.any())) for split, features in others.items()}
    # Of 43,410 rows, lbfgs fits 384 dense columns in 0.3 s and liblinear in 4.6; on sparse ones it is the other way.
    model = LogisticRegression(
        C=tfidf.INVERSE_REGULARIZATION, solver="lbfgs", max_iter=tfidf.MOST_ITERATIONS, random_state=0
    ).fit(inputs, truth)
    return {split: model.predict_proba(features)[:, 1] for split, features in others.items()}


def _sample(prepared: BaselineInputs) -> NDArray[np.int64]:
    return tfidf.drawn_rows(len(prepared.data.splits["train"]), MOST_ROWS)


FITS: dict[str, Callable[[BaselineInputs], Fitted]] = {
    "majority": _majority,
    "tfidf": _tfidf,
    "frozen_encoder": _frozen_encoder,
}
