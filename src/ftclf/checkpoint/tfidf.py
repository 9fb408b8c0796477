"""A checkpoint of method=tfidf: its vocabulary as json, its weights as safetensors, and no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.checkpoint.format import AGAIN, ROUNDING, CheckpointInfo, write_info
from ftclf.data import Split
from ftclf.model.tfidf import KINDS, Features, LabelWeights, probabilities_of
from ftclf.score.task import Task, task_named
from ftclf.storage.durable import damage
from ftclf.storage.run_folder import write_text
from ftclf.storage.small_files import check_safetensors, read_small_json
from ftclf.system.errors import CheckpointError, SmallFileError
from ftclf.system.progress_bar import advance, phase

VOCABULARY, WEIGHTS = "vocabulary.json", "tfidf.safetensors"
VOCABULARY_LIMIT = 1000  # MB; 50,000 long texts have some 20 MB of it
AT_ONCE = 1024  # texts
TYPES = {"coefficients": np.float32}  # the others are float64


@dataclass(frozen=True)
class TfidfScorer:
    """Features and weights, ready to score. Threads may share it."""

    features: Features
    weights: LabelWeights
    task: Task

    def logits(self, texts: Sequence[str], batch_size: int = AT_ONCE) -> NDArray[np.float32]:
        starts = range(0, len(texts), AT_ONCE)
        return np.concatenate([self._of_part(texts[start : start + AT_ONCE]) for start in starts])

    def logits_of(self, split: Split, batch_size: int = AT_ONCE) -> NDArray[np.float32]:
        with phase("evaluation", len(split)):
            return self.logits(split.texts, batch_size)

    def _of_part(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the very logits that the baseline of the same name is calibrated on."""
        probabilities = probabilities_of(self.weights.log_odds(self.features.matrix(texts)))
        advance(len(texts))
        return self.task.logits(self.task.from_one_against_rest(probabilities))


def save_tfidf(folder: Path, scorer: TfidfScorer, info: CheckpointInfo) -> None:
    """Write the checkpoint into an empty folder; whoever made it puts it in its place when all of it is there."""
    from safetensors.numpy import save_file

    write_text(folder / VOCABULARY, json.dumps(scorer.features.vocabularies, ensure_ascii=False))
    arrays: dict[str, NDArray[Any]] = {f"{kind}_idf": weights for kind, weights in scorer.features.weights.items()}
    arrays |= {"coefficients": scorer.weights.coefficients, "intercepts": scorer.weights.intercepts}
    save_file(
        {name: np.ascontiguousarray(array, TYPES.get(name, np.float64)) for name, array in arrays.items()},
        folder / WEIGHTS,
    )
    write_info(folder, info)


def load_tfidf(folder: Path, info: CheckpointInfo) -> TfidfScorer:
    """Load a checkpoint whose json is `info`. Raises CheckpointError where a file is missing or damaged."""
    if problem := damage(folder):
        raise CheckpointError(f"{folder}: {problem}; {AGAIN}")
    vocabularies = _read_vocabularies(folder / VOCABULARY)
    arrays = _read_arrays(folder / WEIGHTS)
    features, labels = sum(map(len, vocabularies.values())), len(info.label_names)
    shapes: dict[str, tuple[int, ...]] = {f"{kind}_idf": (len(words),) for kind, words in vocabularies.items()}
    shapes |= {"coefficients": (features, labels), "intercepts": (labels,)}
    for name in {**shapes, **arrays}:
        _check_array(folder / WEIGHTS, name, arrays.get(name), shapes.get(name))
    idf = {kind: arrays[f"{kind}_idf"] for kind in KINDS}
    # The float64 is made once: each product with the matrix of some texts would make it again.
    weights = LabelWeights(arrays["coefficients"].astype(np.float64), arrays["intercepts"])
    return TfidfScorer(Features.of(vocabularies, idf), weights, task_named(info.task))


def prove_tfidf(
    folder: Path, info: CheckpointInfo, texts: list[str], logits: NDArray[np.float32]
) -> tuple[TfidfScorer, float]:
    """Load the checkpoint and return it with the largest difference of its logits from these.

    Raises CheckpointError if it is more than rounding: then something that was trained was not saved.
    """
    scorer = load_tfidf(folder, info)
    difference = float(np.abs(scorer.logits(texts) - logits).max())
    if not difference <= ROUNDING * max(1.0, float(np.abs(logits).max())):
        raise CheckpointError(
            f"{folder}: loaded again it gives other logits (by {difference:.2g}) and is not kept; please report this "
            "with the config"
        )
    return scorer, difference


def _read_vocabularies(path: Path) -> dict[str, list[str]]:
    try:
        found = read_small_json(path, VOCABULARY_LIMIT, any_text=True)
    except (SmallFileError, OSError) as error:
        raise CheckpointError(f"{path}: {error}; {AGAIN}") from error
    if not isinstance(found, dict) or set(found) != set(KINDS):
        raise CheckpointError(f"{path}: it holds no lists {' and '.join(KINDS)}; {AGAIN}")
    for kind, words in found.items():
        if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
            raise CheckpointError(f"{path}: {kind} is no list of texts; {AGAIN}")
        if len(set(words)) < len(words):
            raise CheckpointError(f"{path}: {kind} holds a text twice; {AGAIN}")
    return {kind: found[kind] for kind in KINDS}


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        check_safetensors(path)
        return load_file(path)
    except (SafetensorError, SmallFileError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: no usable safetensors file ({' '.join(str(error).split())}); {AGAIN}"
        ) from error


def _check_array(path: Path, name: str, array: NDArray[Any] | None, shape: tuple[int, ...] | None) -> None:
    if shape is None or array is None:
        raise CheckpointError(f"{path}: {name} is {'not known' if shape is None else 'missing'}; {AGAIN}")
    kind = np.dtype(TYPES.get(name, np.float64))
    if array.shape != shape or array.dtype != kind:
        got = f"{array.dtype} of shape {array.shape}"
        raise CheckpointError(f"{path}: {name} is {got}, allowed: {kind} of shape {shape}; {AGAIN}")
    if not np.isfinite(array).all():
        raise CheckpointError(f"{path}: {name} holds numbers that are not finite; {AGAIN}")
