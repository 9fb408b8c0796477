"""A network on a split: logits, metrics, predictions and plots. Training, eval and compare all come through here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.calibration import calibration_metrics, fit_calibration
from ftclf.checkpoint import CheckpointInfo
from ftclf.config import HEADLINES, DecisionConfig
from ftclf.console import warn
from ftclf.data import Split
from ftclf.decisions import Decision, choose_decision
from ftclf.intervals import ScoreDraws, draw_scores, ranking_intervals
from ftclf.metrics import (
    confusion,
    most_confused,
    multi_label_metrics,
    one_hot,
    per_class_metrics,
    per_class_ranking,
    ranking_metrics,
    row_losses,
    sigmoid,
    single_label_metrics,
    softmax,
)
from ftclf.selective import abstention, confidence, confidence_for_precision, risk_coverage
from ftclf.spreadsheets import write_lines

# Several labels a row: what else is chosen on validation beside the rule that the settings ask for.
OTHER_DECISIONS = (
    ("macro_f1", "thresholds", "macro_f1"),
    ("micro_f1", "thresholds", "micro_f1"),
    ("subset_accuracy", "threshold", "subset_accuracy"),
    ("argmax", "argmax", "subset_accuracy"),
)


NEVER_SURE = 1.0 + 1e-9  # no confidence reaches it


@dataclass
class Evaluation:
    """Scores of one network on one split, and what they were computed from; `metrics` is plain json."""

    metrics: dict[str, Any]
    probabilities: NDArray[np.float64]  # (rows, labels), in the order of the split
    chosen: NDArray[np.bool_]  # (rows, labels)
    targets: NDArray[np.bool_]  # (rows, labels)
    counts: NDArray[np.int64]  # confusion matrix; several labels a row: what is given in the place of a missed one
    sure: NDArray[np.float64]  # (rows,)
    draws: ScoreDraws


def to_probabilities(logits: NDArray[np.float32], task: str) -> NDArray[np.float64]:
    """Turn logits into the probabilities of a task."""
    return sigmoid(logits) if task == "multi_label" else softmax(logits)


def choosing_scores(logits: NDArray[np.float32], split: Split) -> dict[str, float]:
    """Return what a checkpoint can be chosen by: no measure of it needs a threshold."""
    if split.labels.ndim == 2:
        return ranking_metrics(sigmoid(logits), split.labels)
    return single_label_metrics(softmax(logits), split.labels)


def settle(info: CheckpointInfo, logits: NDArray[np.float32], labels: NDArray[Any], wanted: DecisionConfig) -> None:
    """Fit the scaling and choose the decision rules of a checkpoint on these rows (validation)."""
    names, task = info.label_names, info.task
    info.calibration = fit_calibration(
        logits, labels, method=wanted.calibration, label_names=names, min_positives=wanted.min_positives
    )
    probabilities = info.calibration.probabilities(logits, task)
    targets = one_hot(labels, len(names)) if task == "single_label" else labels
    if task == "multi_label":
        info.decision = choose_decision(probabilities, targets, wanted, names)
        info.other_decisions = {
            name: choose_decision(probabilities, targets, replace(wanted, rule=rule, objective=objective), names)
            for name, rule, objective in OTHER_DECISIONS
        }
    if wanted.precision is not None:
        for decision in (info.decision, *info.other_decisions.values()):
            _settle_abstention(decision, probabilities, targets, task=task, precision=wanted.precision)
        if info.decision.abstain_below == NEVER_SURE:
            warn(
                f"decision.precision: no confidence gives {wanted.precision:.0%} on validation; predict always abstains"
            )


def _settle_abstention(
    decision: Decision, probabilities: NDArray[np.float64], targets: NDArray[np.bool_], *, task: str, precision: float
) -> None:
    chosen = decision.decide(probabilities)
    sure, right = confidence(probabilities, chosen, task), (chosen == targets).all(axis=1)
    found = confidence_for_precision(sure, right, precision)
    decision.abstain_below, decision.wanted_precision = NEVER_SURE if found is None else found, precision


def score(logits: NDArray[np.float32], split: Split, info: CheckpointInfo) -> Evaluation:
    """Turn logits into every number of a split, by the scaling and the decision rule of a checkpoint."""
    task, label_names = info.task, info.label_names
    probabilities = info.calibration.probabilities(logits, task)
    targets = targets_of(split, len(label_names))
    chosen = info.decision.decide(probabilities)
    sure = confidence(probabilities, chosen, task)
    counts = confusion(chosen, targets)
    draws = draw_scores(chosen, targets, row_losses(probabilities, targets, task))
    metrics: dict[str, Any] = {
        "rows": len(split),
        **headline_metrics(probabilities, chosen, split),
        "intervals": draws.intervals()[0],
        "per_class": _per_class(probabilities, chosen, targets, info, draws),
        "most_confused": most_confused(counts, targets.sum(axis=0), label_names),
        "calibration": {
            "method": info.calibration.method,
            **calibration_metrics(to_probabilities(logits, task), probabilities, targets, task),
        },
        "selective": _selective(sure, (chosen == targets).all(axis=1), info.decision),
    }
    metrics["intervals"] = {name: pair for name, pair in metrics["intervals"].items() if name in metrics}
    if task == "multi_label":
        macro, per_class = ranking_intervals(probabilities, targets)
        metrics["intervals"] |= {} if macro is None else {"macro_average_precision": macro}
        for row, more in zip(metrics["per_class"], per_class, strict=True):
            row["intervals"] |= more
    if info.other_decisions:
        others = info.other_decisions.items()
        metrics["decisions"] = {name: _decided(one, probabilities, targets) for name, one in others}
    return Evaluation(metrics, probabilities, chosen, targets, counts, sure, draws)


def targets_of(split: Split, labels: int) -> NDArray[np.bool_]:
    """Return a split's labels as truth values, shape (rows, labels)."""
    return split.labels if split.labels.ndim == 2 else one_hot(split.labels, labels)


def headline_metrics(probabilities: NDArray[np.float64], chosen: NDArray[np.bool_], split: Split) -> dict[str, float]:
    """Return the scores of a split as a whole."""
    if split.labels.ndim == 2:
        return multi_label_metrics(probabilities, chosen, split.labels)
    return single_label_metrics(probabilities, split.labels)


def _per_class(
    probabilities: NDArray[np.float64],
    chosen: NDArray[np.bool_],
    targets: NDArray[np.bool_],
    info: CheckpointInfo,
    draws: ScoreDraws,
) -> list[dict[str, Any]]:
    rows = per_class_metrics(chosen, targets, info.label_names)
    if info.task == "multi_label":
        ranking = per_class_ranking(probabilities, targets)
        rows = [{**row, **more} for row, more in zip(rows, ranking, strict=True)]
    return [{**row, "intervals": found} for row, found in zip(rows, draws.intervals()[1], strict=True)]


def _selective(sure: NDArray[np.float64], right: NDArray[np.bool_], decision: Decision) -> dict[str, Any]:
    below = decision.abstain_below
    kept = None if below is None else {"wanted_precision": decision.wanted_precision, **abstention(sure, right, below)}
    return {**risk_coverage(sure, right), "abstain": kept}


def _decided(decision: Decision, probabilities: NDArray[np.float64], targets: NDArray[np.bool_]) -> dict[str, Any]:
    """Return what another decision rule scores on the same rows."""
    chosen = decision.decide(probabilities)
    scores = multi_label_metrics(probabilities, chosen, targets)
    intervals, _ = draw_scores(chosen, targets, row_losses(probabilities, targets, "multi_label")).intervals()
    names = ("macro_f1", "micro_f1", "subset_accuracy")
    return {
        "rule": decision.rule,
        "scores": {name: scores[name] for name in names},
        "intervals": {name: intervals[name] for name in names},
    }


def headline(metrics: dict[str, Any], task: str) -> str:
    """Return the line that training and eval print of a split: scores with their 95 % intervals."""
    return ", ".join(f"{name} {with_interval(metrics, name)}" for name in HEADLINES[task])


def with_interval(metrics: dict[str, Any], name: str) -> str:
    """Return a score as 0.5808 [0.5679, 0.5938]; without the brackets where it has no interval."""
    interval = metrics["intervals"].get(name)
    return f"{metrics[name]:z.4f}" + (f" [{interval[0]:z.4f}, {interval[1]:z.4f}]" if interval else "")


def write_evaluation(
    evaluation: Evaluation, split: Split, label_names: list[str], name: str, *, predictions: Path, plots: Path
) -> None:
    """Write a split's predictions (parquet), its confusion matrix (csv) and the plot of it (png)."""
    from ftclf.plots import plot_confusion

    predictions.mkdir(parents=True, exist_ok=True)
    plots.mkdir(parents=True, exist_ok=True)
    _write_predictions(predictions / f"{name}.parquet", evaluation, split, label_names)
    _write_confusion(plots / f"confusion_{name}.csv", evaluation.counts, label_names)
    plot_confusion(plots / f"confusion_{name}.png", evaluation.counts, label_names, title=name)


def _write_predictions(path: Path, evaluation: Evaluation, split: Split, label_names: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    probabilities = evaluation.probabilities
    columns: dict[str, Any] = {
        "row": np.arange(len(split)),
        "text": pa.chunked_array([pa.array(texts) for texts in split.texts.pieces()]),
    }
    if split.labels.ndim == 2:
        columns["labels"] = names_of(evaluation.targets, label_names)
        columns["predicted"] = names_of(evaluation.chosen, label_names)
    else:
        names = np.array(label_names, dtype=object)
        columns["label"] = names[split.labels]
        columns["predicted"] = names[evaluation.chosen.argmax(axis=1)]
    columns["confidence"] = evaluation.sure
    columns.update({f"column_{name}": list(cells) for name, cells in split.columns.items()})
    columns.update({f"p_{name}": probabilities[:, index] for index, name in enumerate(label_names)})
    pq.write_table(pa.table(columns), path)


def names_of(chosen: NDArray[np.bool_], label_names: list[str]) -> list[list[str]]:
    """Return the names of the labels of each row."""
    return [[label_names[index] for index in np.flatnonzero(row)] for row in chosen]


def _write_confusion(path: Path, counts: NDArray[np.int64], label_names: list[str]) -> None:
    lines = [[name, *row] for name, row in zip(label_names, counts.tolist(), strict=True)]
    with path.open("w", newline="", encoding="utf-8") as file:
        write_lines(file, [["true \\ predicted", *label_names], *lines])
