"""What a model should beat: the most frequent label, a linear model on word counts, the untrained encoder.

Their probabilities are made once for a data set and kept on disk; every later run only compares itself with them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftclf.cache import cache_folder, writing_cache
from ftclf.calibration import fit_calibration
from ftclf.config import HEADLINES
from ftclf.console import say, warn
from ftclf.data import Split
from ftclf.decisions import Decision, choose_decision
from ftclf.evaluation import headline_metrics, targets_of
from ftclf.intervals import draw_scores, interval_of
from ftclf.metrics import log_odds, log_of, row_losses
from ftclf.model import OF_A_NETWORK
from ftclf.stopping import unbroken
from ftclf.tokens import tokenizer_digest
from ftclf.words import against, baseline_name

if TYPE_CHECKING:
    from ftclf.evaluation import Evaluation
    from ftclf.preparation import Prepared

CACHE_FORMAT = "4"
MOST_ROWS = 50_000  # training rows of a baseline: beyond, its time would grow past that of the model
SPLITS = ("validation", "test")
ABOUT = {
    "majority": "the most frequent label for every row",
    "tfidf": "TF-IDF of words, word pairs and character pieces, logistic regression",
    "frozen_encoder": "the encoder as it came, mean of its tokens, logistic regression",
}

Probabilities = dict[str, NDArray[np.float64]]  # by split


@dataclass
class Baseline:
    probabilities: Probabilities
    seconds: float  # when it was fitted, not when it was read from disk


def beside_baselines(prepared: Prepared, evaluation: Evaluation) -> dict[str, Any]:
    """Return each baseline's scores on test, and by how much the evaluated model is better, in paired intervals.

    One that cannot be fitted (texts without words, too little memory) is left out with a warning: the model is trained.
    """
    found = {}
    for name in prepared.config.baselines:
        try:
            found[name] = _compared(name, prepared, evaluation)
        except (*OF_A_NETWORK, OSError, MemoryError) as error:  # texts without words, an encoder without states
            warn(f"baseline {name} is left out: {' '.join(str(error).split()) or 'out of memory'}")
    return found


def verdict(metrics: dict[str, Any], task: str) -> str:
    """Return `beats TF-IDF by 4.1 points [2.9, 5.3]`, of the baseline that does best; '' without any."""
    found, score = metrics.get("baselines", {}), HEADLINES[task][0]
    if not found:
        return ""
    name = min(found, key=lambda name: found[name]["difference"][score][0])
    return against(found[name]["difference"][score], score, baseline_name(name))


def _compared(name: str, prepared: Prepared, evaluation: Evaluation) -> dict[str, Any]:
    task, test = prepared.data.task, prepared.data.splits["test"]
    fitted = _cached(name, prepared)
    targets = targets_of(test, len(prepared.data.label_names))
    probabilities, chosen = _decided(name, fitted.probabilities, prepared)
    draws = draw_scores(chosen, targets, row_losses(probabilities, targets, task))
    scores = headline_metrics(probabilities, chosen, test)
    intervals, _ = draws.intervals()
    gained = evaluation.draws.observed_less(draws)
    spread = {key: interval_of(values, gained[key]) for key, values in evaluation.draws.less(draws).items()}
    names = [key for key in HEADLINES[task] if key in scores]
    return {
        "about": ABOUT[name] + ("" if name == "majority" else _sampled(prepared)),
        "scores": {key: scores[key] for key in names},
        "intervals": {key: intervals[key] for key in names if key in intervals},
        "difference": {key: [gained[key], *spread[key]] for key in names if key in gained},
        "seconds": fitted.seconds,
    }


def _decided(name: str, found: Probabilities, prepared: Prepared) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return test probabilities and answers: scaled and decided on validation by the very settings of the run."""
    data, wanted = prepared.data, prepared.config.decision
    if name == "majority":
        return found["test"], Decision().decide(found["test"])
    labels, several = data.splits["validation"].labels, data.task == "multi_label"
    logits = {split: log_odds(values) if several else log_of(values) for split, values in found.items()}
    scaling = fit_calibration(
        logits["validation"],
        labels,
        method=wanted.calibration,
        label_names=data.label_names,
        min_positives=wanted.min_positives,
    )
    scaled = {split: scaling.probabilities(values, data.task) for split, values in logits.items()}
    decision = choose_decision(scaled["validation"], labels, wanted, data.label_names) if several else Decision()
    return scaled["test"], decision.decide(scaled["test"])


def _sampled(prepared: Prepared) -> str:
    rows = len(prepared.data.splits["train"])
    return f" ({MOST_ROWS:,} of {rows:,} training rows)" if rows > MOST_ROWS else ""


# ---- kept on disk


def _cached(name: str, prepared: Prepared) -> Baseline:
    """Return a baseline's probabilities, from disk where the same rows were seen before."""
    data = prepared.data
    what = [CACHE_FORMAT, name, version("scikit-learn"), _own_code(), *(data.digest(split) for split in data.splits)]
    if name == "frozen_encoder":
        base, config = prepared.weights, prepared.config
        what += [base.sha256, base.settings, tokenizer_digest(prepared.tokenizer), prepared.compute.precision]
        what += [config.model.attention, str(config.dataset.max_length)]
    file = cache_folder() / "baselines" / f"{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]}.npz"
    if not file.is_file():
        say(f"baseline: {ABOUT[name]} (kept for later runs)")
        start = time.perf_counter()
        probabilities = FITS[name](prepared)
        _keep(file, probabilities, time.perf_counter() - start)
    with np.load(file) as kept:
        return Baseline({split: kept[split] for split in SPLITS}, round(float(kept["seconds"]), 1))


@functools.cache
def _own_code() -> str:
    """Return the SHA-256 of this file, which holds all that baselines are fitted with besides the data."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _keep(file: Path, probabilities: Probabilities, seconds: float) -> None:
    """Write beside the cache and rename: another process sees the whole file or none."""
    with writing_cache(), unbroken():
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, beside = tempfile.mkstemp(dir=file.parent, suffix=".npz")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                np.savez(stream, seconds=np.array(seconds), **probabilities)  # type: ignore[arg-type]
            Path(beside).replace(file)
        finally:
            Path(beside).unlink(missing_ok=True)


# ---- the baselines


def _majority(prepared: Prepared) -> Probabilities:
    shares = targets_of(prepared.data.splits["train"], len(prepared.data.label_names)).mean(axis=0)
    return {split: np.tile(shares, (len(prepared.data.splits[split]), 1)) for split in SPLITS}


def _tfidf(prepared: Prepared) -> Probabilities:
    """Words and pairs alone miss inflections and spellings: pieces of words give 2 points more on GoEmotions."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    train, splits = _sample(prepared), prepared.data.splits
    rare = 2 if len(train) > 1000 else 1
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), min_df=rare, sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=rare, sublinear_tf=True),
    )
    inputs = features.fit_transform([prepared.data.splits["train"].texts[row] for row in train])
    others = {split: features.transform(splits[split].texts) for split in SPLITS}
    for matrix in (inputs, *others.values()):
        matrix.sum_duplicates()  # else each fit sorts it in place, while the others read it: wrong scores, or a crash
    return _linear(inputs, splits["train"].take(train), others, prepared)


def _frozen_encoder(prepared: Prepared) -> Probabilities:
    from ftclf.embeddings import embed
    from ftclf.model import build_classifier

    config, compute, tokens = prepared.config, prepared.compute, prepared.tokens
    train = _sample(prepared)
    network = build_classifier(prepared.weights.folder, prepared.data.label_names, config.model).network
    encoder = network.get_encoder() if network.config.is_encoder_decoder else network.base_model
    inputs = embed(encoder, tokens["train"], compute, rows=train)
    others = {split: embed(encoder, tokens[split], compute) for split in SPLITS}
    return _linear(inputs, prepared.data.splits["train"].take(train), others, prepared)


def _linear(inputs: Any, train: Split, others: dict[str, Any], prepared: Prepared) -> Probabilities:
    """Fit one logistic regression a label against the rest; with one label a row they are scaled to add up to 1."""
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    targets = targets_of(train, len(prepared.data.label_names))
    # The solvers work outside of Python's lock. Few at a time: each has a copy of the features.
    with threadpool_limits(1):
        columns = Parallel(n_jobs=min(4, prepared.compute.threads), prefer="threads")(
            delayed(_one_against_rest)(inputs, truth, others) for truth in targets.T
        )
    found = {split: np.stack([column[split] for column in columns], axis=1) for split in others}
    if prepared.data.task == "multi_label":
        return found
    return {split: values / values.sum(axis=1, keepdims=True) for split, values in found.items()}


def _one_against_rest(inputs: Any, truth: NDArray[np.bool_], others: dict[str, Any]) -> Probabilities:
    """Return a label's probabilities, (rows,) for each split."""
    from scipy.sparse import issparse
    from sklearn.linear_model import LogisticRegression

    if truth.all() or not truth.any():  # the sample may miss a label
        return {split: np.full(features.shape[0], float(truth.any())) for split, features in others.items()}
    # Of 43,410 rows, lbfgs fits 384 dense columns in 0.3 s and liblinear in 4.6; on sparse ones it is the other way.
    solver = "liblinear" if issparse(inputs) else "lbfgs"
    model = LogisticRegression(C=4.0, solver=solver, max_iter=300, random_state=0).fit(inputs, truth)
    return {split: model.predict_proba(features)[:, 1] for split, features in others.items()}


def _sample(prepared: Prepared) -> NDArray[np.int64]:
    rows = len(prepared.data.splits["train"])
    if rows <= MOST_ROWS:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))


FITS: dict[str, Callable[[Prepared], Probabilities]] = {
    "majority": _majority,
    "tfidf": _tfidf,
    "frozen_encoder": _frozen_encoder,
}
