"""Tasks: one label per row, or several, and what differs between them.

A task owns its probabilities, its loss per row, its confidence, its metrics, its decision rules and its prior. Label
ids are of shape (rows,), label sets are `LabelSets`; `part` is always the probabilities of some rows, float64, shape
(rows, labels), which the methods may overwrite.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ftclf.config import HEADLINES, DecisionConfig
from ftclf.config.settings import SCALINGS
from ftclf.data.label_sets import LabelSets
from ftclf.score.metrics import (
    Given,
    Labels,
    RowSums,
    label_ranking_average_precision,
    log_odds,
    log_of,
    macro_average_precision,
    per_row,
    sigmoid,
    softmax,
)
from ftclf.score.probabilities import Dense, Probabilities
from ftclf.score.ranking import LabelRanks, ranks_of_labels

LEAST = np.finfo(np.float64).eps  # a probability of 0 costs as much as this


class Task(ABC):
    """What a classifier is asked per row."""

    name: ClassVar[str]
    several: ClassVar[bool]  # labels per row
    usual_epochs: ClassVar[int]
    usual_scaling: ClassVar[str]  # of calibration=auto
    rules: ClassVar[tuple[str, ...]]  # that decide
    # What else is chosen on validation beside the rule that the settings ask for: name, rule, objective.
    other_decisions: ClassVar[tuple[tuple[str, str, str], ...]]
    _of_sums: ClassVar[tuple[str, ...]]  # scores from `RowSums`

    @property
    def headlines(self) -> tuple[str, ...]:
        """The scores that a run prints, the one it is judged by first."""
        return HEADLINES[self.name]

    @property
    def scalings(self) -> tuple[str, ...]:
        return SCALINGS[self.name]

    @abstractmethod
    def probabilities(self, logits: NDArray[np.floating[Any]]) -> Dense:
        """Turn logits into probabilities, both (rows, labels)."""

    @abstractmethod
    def logits(self, probabilities: Dense) -> NDArray[np.float32]:
        """Turn probabilities back into logits."""

    @abstractmethod
    def from_one_against_rest(self, probabilities: Dense) -> Dense:
        """Return what separate classifiers of each label say as probabilities of the task."""

    @abstractmethod
    def prior(self, rows_per_label: NDArray[Any], rows: int) -> NDArray[np.float64]:
        """Return the logit of each label that train alone suggests, (labels,).

        As if each label had half a row more (several labels: and half a row without it): never the log of nothing.
        """

    @abstractmethod
    def part_losses(self, part: Dense, targets: LabelSets) -> NDArray[np.float64]:
        """Return the log loss of each row, (rows,)."""

    @abstractmethod
    def part_confidence(self, part: Dense, chosen: LabelSets) -> NDArray[np.float64]:
        """Return the probability that all of a row's answer is right, (rows,)."""

    @abstractmethod
    def claims(self, part: Dense, targets: LabelSets) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the probabilities that calibration is measured on, and the places of those that came true."""

    @abstractmethod
    def claims_per_row(self, labels: int) -> int: ...

    @abstractmethod
    def asked(self, wanted: DecisionConfig) -> DecisionConfig:
        """Return the settings of a decision rule as far as they mean something for the task."""

    @abstractmethod
    def ranks(self, probabilities: Probabilities, targets: LabelSets) -> list[LabelRanks]:
        """Return the ranks of each label's rows where the task is scored by them, else nothing."""

    @abstractmethod
    def metrics(
        self, observed: dict[str, float], probabilities: Given, targets: LabelSets, ranks: list[LabelRanks]
    ) -> dict[str, float]:
        """Return the scores of a split; `observed` are those of `RowSums`."""

    @abstractmethod
    def choosing_metrics(
        self, probabilities: Probabilities, targets: LabelSets, losses: NDArray[np.float64]
    ) -> dict[str, float]:
        """Return the scores by which the weights to keep are chosen: no threshold is needed for them."""

    def row_losses(self, probabilities: Given, targets: Labels) -> NDArray[np.float64]:
        """Return the log loss of each row, (rows,); their mean is the log loss of a split."""
        given, truth = Probabilities.of(probabilities), LabelSets.of(targets)
        losses = np.empty(len(given))
        for rows, part in given.chunks():
            losses[rows] = self.part_losses(np.clip(part, LEAST, 1 - 1e-15), truth.part(rows))
        return losses

    def confidence(self, probabilities: Given, chosen: Labels) -> NDArray[np.float64]:
        """Return the probability that a row's answer is right, (rows,)."""
        given, answers = Probabilities.of(probabilities), LabelSets.of(chosen)
        confidence = np.empty(len(given))
        for rows, part in given.chunks():
            confidence[rows] = self.part_confidence(part, answers.part(rows))
        return confidence


class SingleLabel(Task):
    """One label per row."""

    name, several, usual_epochs, usual_scaling = "single_label", False, 3, "temperature"
    rules, other_decisions = ("argmax",), ()
    _of_sums = ("accuracy", "macro_f1", "rare_f1", "micro_f1", "weighted_f1", "log_loss")

    def probabilities(self, logits: NDArray[np.floating[Any]]) -> Dense:
        return softmax(logits)

    def logits(self, probabilities: Dense) -> NDArray[np.float32]:
        return log_of(probabilities)

    def from_one_against_rest(self, probabilities: Dense) -> Dense:
        return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))

    def prior(self, rows_per_label: NDArray[Any], rows: int) -> NDArray[np.float64]:
        return np.asarray(np.log((rows_per_label + 0.5) / (rows + 0.5 * len(rows_per_label))))

    def part_losses(self, part: Dense, targets: LabelSets) -> NDArray[np.float64]:
        return -np.log(part[targets.rows, targets.ids])

    def part_confidence(self, part: Dense, chosen: LabelSets) -> NDArray[np.float64]:
        return np.asarray(part.max(axis=1))

    def claims(self, part: Dense, targets: LabelSets) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return those of the most probable label (Guo et al. 2017)."""
        best = part.argmax(axis=1)
        return part[np.arange(len(part)), best], np.flatnonzero(targets.ids == best)

    def claims_per_row(self, labels: int) -> int:
        return 1

    def asked(self, wanted: DecisionConfig) -> DecisionConfig:
        return replace(wanted, rule="argmax", k=1)

    def ranks(self, probabilities: Probabilities, targets: LabelSets) -> list[LabelRanks]:
        return []

    def metrics(
        self, observed: dict[str, float], probabilities: Given, targets: LabelSets, ranks: list[LabelRanks]
    ) -> dict[str, float]:
        return {name: observed[name] for name in self._of_sums}

    def choosing_metrics(
        self, probabilities: Probabilities, targets: LabelSets, losses: NDArray[np.float64]
    ) -> dict[str, float]:
        best = np.concatenate([part.argmax(axis=1) for _, part in probabilities.chunks()])
        sums = RowSums.of(LabelSets.of(best, targets.labels), targets, losses)
        return self.metrics(sums.observed(), probabilities, targets, [])


class MultiLabel(Task):
    """Any number of labels per row, none included."""

    name, several, usual_epochs, usual_scaling = "multi_label", True, 4, "platt"
    rules = ("argmax", "top_k", "threshold", "thresholds")
    other_decisions = (
        ("macro_f1", "thresholds", "macro_f1"),
        ("micro_f1", "thresholds", "micro_f1"),
        ("subset_accuracy", "threshold", "subset_accuracy"),
        ("argmax", "argmax", "subset_accuracy"),
    )
    _of_sums = ("macro_f1", "rare_f1", "micro_f1", "weighted_f1", "samples_f1", "subset_accuracy", "hamming_loss")

    def probabilities(self, logits: NDArray[np.floating[Any]]) -> Dense:
        return sigmoid(logits)

    def logits(self, probabilities: Dense) -> NDArray[np.float32]:
        return log_odds(probabilities)

    def from_one_against_rest(self, probabilities: Dense) -> Dense:
        return probabilities

    def prior(self, rows_per_label: NDArray[Any], rows: int) -> NDArray[np.float64]:
        return np.asarray(np.log((rows_per_label + 0.5) / (rows - rows_per_label + 0.5)))

    def part_losses(self, part: Dense, targets: LabelSets) -> NDArray[np.float64]:
        """Return the mean binary cross entropy of a row's labels."""
        of_targets = part[targets.rows, targets.ids]
        gained = np.log(of_targets) - np.log1p(-of_targets)
        # log1p takes four times as long for digits that the sum loses.
        others = np.log(np.subtract(1, part, out=part), out=part).sum(axis=1)
        return np.asarray(-(others + per_row(targets, gained)) / targets.labels)

    def part_confidence(self, part: Dense, chosen: LabelSets) -> NDArray[np.float64]:
        """Return the probability that all labels are right, taken as independent."""
        of_chosen = part[chosen.rows, chosen.ids]
        np.subtract(1, part, out=part)
        part[chosen.rows, chosen.ids] = of_chosen
        return np.asarray(part.prod(axis=1))

    def claims(self, part: Dense, targets: LabelSets) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return those of every label of every row."""
        return part.ravel(), targets.keys

    def claims_per_row(self, labels: int) -> int:
        return labels

    def asked(self, wanted: DecisionConfig) -> DecisionConfig:
        return wanted

    def ranks(self, probabilities: Probabilities, targets: LabelSets) -> list[LabelRanks]:
        return ranks_of_labels(probabilities, targets, drawn=True)

    def metrics(
        self, observed: dict[str, float], probabilities: Given, targets: LabelSets, ranks: list[LabelRanks]
    ) -> dict[str, float]:
        return {
            **{name: observed[name] for name in self._of_sums},
            "macro_average_precision": macro_average_precision(ranks),
            "label_ranking_average_precision": label_ranking_average_precision(
                Probabilities.of(probabilities), targets
            ),
            "log_loss": observed["log_loss"],
        }

    def choosing_metrics(
        self, probabilities: Probabilities, targets: LabelSets, losses: NDArray[np.float64]
    ) -> dict[str, float]:
        ranks = ranks_of_labels(probabilities, targets, drawn=False)
        return {**_ranking_metrics(probabilities, targets, ranks), "log_loss": float(losses.mean())}


def _ranking_metrics(probabilities: Probabilities, targets: LabelSets, ranks: list[LabelRanks]) -> dict[str, float]:
    return {
        "macro_average_precision": macro_average_precision(ranks),
        "label_ranking_average_precision": label_ranking_average_precision(probabilities, targets),
    }


SINGLE_LABEL, MULTI_LABEL = SingleLabel(), MultiLabel()


def task_named(name: str) -> Task:
    """Return the task of `dataset.task`, or of a checkpoint."""
    return {task.name: task for task in (SINGLE_LABEL, MULTI_LABEL)}[name]


def task_of(labels: NDArray[Any]) -> Task:
    """Return the task of label ids (rows,) or truth values (rows, labels)."""
    return MULTI_LABEL if labels.ndim == 2 else SINGLE_LABEL
