"""A checkpoint that is loaded once and labels many texts: `ftclf.load`, and what `ftclf predict` labels with."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from ftclf.data.cells import checked_text
from ftclf.score.task import task_named
from ftclf.storage.run_folder import checkpoint_of
from ftclf.system.library import as_library, process_kept
from ftclf.system.memory import no_collections
from ftclf.system.notebook import html_table
from ftclf.system.progress_bar import phase
from ftclf.system.text import counted, cut

if TYPE_CHECKING:
    from ftclf.checkpoint.format import CheckpointInfo
    from ftclf.checkpoint.scorer import Scorer
    from ftclf.score.decisions import Decision

CHUNK = 8192  # texts in memory at a time, and of many labels fewer:
MOST_CELLS = 2**21  # probabilities that are written at a time
DIGITS = 6  # of what is shown and written
BATCH_SIZE = 64
SHOWN = 20  # rows of a table in a notebook
COLUMNS = ("texts", "labels", "confidence", "abstain", "probabilities")
MOST_SHOWN = 3  # probabilities of a row in it


@dataclass(frozen=True)
class Prediction:
    """What a model says of one text: what a line of `ftclf predict` holds."""

    text: str
    labels: tuple[str, ...]
    confidence: float  # the probability that the labels are right
    abstain: str | None  # why the text is better left to a human, None where it is not
    probabilities: dict[str, float]  # by label

    @property
    def label(self) -> str | None:
        """The label; of several the most probable, and None where the text gets none."""
        return max(self.labels, key=self.probabilities.__getitem__, default=None)


@dataclass(frozen=True, repr=False)
class Predictions(Sequence[Prediction]):
    """The predictions of some texts, in their order; each is made when it is looked at."""

    texts: list[str]
    labels: list[list[str]]
    confidence: NDArray[np.float64]  # (texts,)
    abstain: list[str | None]
    probabilities: NDArray[np.float64]  # (texts, labels)
    names: list[str]  # of the labels
    settled: bool  # whether the model abstains at all

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, place: int) -> Prediction: ...

    @overload
    def __getitem__(self, place: slice) -> Predictions: ...

    def __getitem__(self, place: int | slice) -> Prediction | Predictions:
        if isinstance(place, slice):
            return replace(self, **{name: getattr(self, name)[place] for name in COLUMNS})
        return Prediction(
            self.texts[place],
            tuple(self.labels[place]),
            float(self.confidence[place]),
            self.abstain[place],
            dict(zip(self.names, self.probabilities[place].tolist(), strict=True)),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(_same, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{counted(len(self), 'prediction')}>" if len(self) > SHOWN else repr(list(self))

    def _repr_html_(self) -> str:
        """Return a table of the first texts, for a notebook."""
        names = ["text", "labels", "confidence", *(["abstain"] if self.settled else []), "most probable"]
        rows = [
            [
                cut(one.text),
                ", ".join(one.labels),
                f"{one.confidence:.3f}",
                *([one.abstain or ""] if self.settled else []),
                _most_probable(one),
            ]
            for one in self[:SHOWN]
        ]
        return html_table(names, rows, caption=f"{len(rows)} of {len(self):,} texts" if len(self) > SHOWN else "")


def _same(one: object, other: object) -> bool:
    return one == other


def _most_probable(prediction: Prediction) -> str:
    best = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[:MOST_SHOWN]
    return ", ".join(f"{name} {value:.3f}" for name, value in best)


class Model:
    """A checkpoint in memory. Threads may share it: their texts are labelled in turn."""

    def __init__(
        self,
        folder: Path,
        info: CheckpointInfo,
        scorer: Scorer,
    ) -> None:
        self.folder, self._info, self._scorer = folder, info, scorer
        self._lock = threading.Lock()

    @property
    def labels(self) -> list[str]:
        """The names of the labels, in the order of the columns of `predict_proba`."""
        return list(self._info.label_names)

    @property
    def task(self) -> str:
        """single_label or multi_label."""
        return self._info.task

    @as_library
    def predict(
        self, texts: str | Iterable[str], *, batch_size: int = BATCH_SIZE, progress: bool = False
    ) -> Predictions:
        """Return labels, probabilities and abstentions of the texts, as `ftclf predict` gives them."""
        given = _checked(texts)
        parts = [
            self.label(given[rows], probabilities)
            for rows, probabilities in self._chunks(given, batch_size, progress=progress)
        ]
        return joined(parts) if parts else self.label([], np.empty((0, len(self._info.label_names))))

    @as_library
    def predict_proba(
        self, texts: str | Iterable[str], *, batch_size: int = BATCH_SIZE, progress: bool = False
    ) -> NDArray[np.float64]:
        """Return the calibrated probabilities, shape (texts, labels)."""
        given = _checked(texts)
        parts = [part for _, part in self._chunks(given, batch_size, progress=progress)]
        return np.concatenate(parts) if parts else np.empty((0, len(self._info.label_names)))

    def probabilities(self, texts: list[str], batch_size: int = BATCH_SIZE) -> NDArray[np.float64]:
        """Return the calibrated probabilities of as many texts as fit into memory, (texts, labels)."""
        with self._lock:
            logits = self._scorer.logits(texts, batch_size)
        return self._info.calibration.probabilities(logits, task_named(self._info.task))

    def label(self, texts: list[str], probabilities: NDArray[np.float64]) -> Predictions:
        """Return what the texts get by the decision rule of the checkpoint."""
        return labelled(texts, probabilities, self._info)

    def _chunks(
        self, texts: list[str], batch_size: int, *, progress: bool
    ) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Give the probabilities of as many texts at a time as `ftclf predict` labels at a time."""
        most = chunk_size(len(self._info.label_names))
        with phase("predicting", len(texts)) if progress else nullcontext():
            for start in range(0, len(texts), most):
                rows = slice(start, start + most)
                yield rows, self.probabilities(texts[rows], batch_size)

    def __repr__(self) -> str:
        return f"<Model of {self.folder}: {counted(len(self._info.label_names), 'label')}, {self.task}>"


def load_model(path: str | os.PathLike[str], *, decide: str | None = None) -> Model:
    """Load the checkpoint that a path stands for, and leave the process as it was."""
    from ftclf.checkpoint.format import decide_by, read_info

    folder = checkpoint_of(Path(path).expanduser())
    info = read_info(folder)
    decide_by(info, decide)
    with no_collections(), process_kept():
        return open_model(folder, info)


def open_model(folder: Path, info: CheckpointInfo, *, compiled: bool = False, engine: str | None = None) -> Model:
    """Load a checkpoint, ready to label on this machine."""
    from ftclf.checkpoint.scorer import open_scorer

    return Model(folder, info, open_scorer(folder, info, engine=engine, compiled=compiled))


def labelled(texts: list[str], probabilities: NDArray[np.float64], info: CheckpointInfo) -> Predictions:
    """Return the labels of texts, rounded as they are written."""
    from ftclf.score.evaluation import names_of

    decision = info.decision
    chosen = decision.decide(probabilities)
    sure = task_named(info.task).confidence(probabilities, chosen)
    settled = decision.abstain_below is not None
    return Predictions(
        texts,
        names_of(chosen, info.label_names),
        sure.round(DIGITS),
        [_abstention(decision, one) if settled else None for one in sure.tolist()],
        probabilities.round(DIGITS),
        info.label_names,
        settled,
    )


def joined(parts: list[Predictions]) -> Predictions:
    """Return the predictions of one model in one sequence."""
    first, *others = parts
    if not others:
        return first
    return replace(
        first,
        texts=[*chain(*(part.texts for part in parts))],
        labels=[*chain(*(part.labels for part in parts))],
        confidence=np.concatenate([part.confidence for part in parts]),
        abstain=[*chain(*(part.abstain for part in parts))],
        probabilities=np.concatenate([part.probabilities for part in parts]),
    )


def chunk_size(labels: int) -> int:
    """Return how many texts are labelled at a time; within them they are sorted by length."""
    return max(1, min(CHUNK, MOST_CELLS // labels))


def _checked(texts: str | Iterable[str]) -> list[str]:
    given = [texts] if isinstance(texts, str) else list(texts)
    return [checked_text(text, f"texts: text {number}") for number, text in enumerate(given, start=1)]


def _abstention(decision: Decision, confident: float) -> str | None:
    """Return why a row is not to be answered, or None."""
    assert decision.abstain_below is not None
    if confident >= decision.abstain_below:
        return None
    wanted = "" if decision.wanted_precision is None else f", which {decision.wanted_precision:.0%} right answers need"
    return f"confidence {confident:.3f} is below {decision.abstain_below:.3f}{wanted}"
