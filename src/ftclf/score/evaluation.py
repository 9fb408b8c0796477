"""A network on a split: logits, metrics, predictions and plots. Training, eval and compare all come through here."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.config import HEADLINES, DecisionConfig
from ftclf.data import Split
from ftclf.data.label_sets import LabelSets
from ftclf.score.abstention import abstention, confidence, confidence_for_precision, risk_coverage
from ftclf.score.bootstrap import ScoreDraws, draw_several, ranking_intervals
from ftclf.score.calibration import USUAL, Calibration, calibration_metrics, fit_calibration, fit_scaling_of_all
from ftclf.score.confusion import Counts, confusion, most_confused
from ftclf.score.decisions import Decision, choose_decision, decide_all
from ftclf.score.metrics import (
    Given,
    Labels,
    per_class_metrics,
    per_class_ranking,
    ranking_metrics,
    row_losses,
    set_metrics,
    single_label_metrics,
)
from ftclf.score.probabilities import Probabilities
from ftclf.score.ranking import LabelRanks, ranks_of_labels
from ftclf.score.rules import Rules
from ftclf.system.console import say, warn
from ftclf.system.notebook import html_table
from ftclf.system.text import counted

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
    probabilities: Probabilities  # in the order of the split
    chosen: LabelSets
    others: dict[str, LabelSets]  # by the other rules of the checkpoint
    targets: LabelSets
    counts: Counts  # confusion matrix; several labels a row: what is given in the place of a missed one
    sure: NDArray[np.float64]  # (rows,)
    losses: NDArray[np.float64]  # (rows,)
    draws: ScoreDraws


def choosing_scores(
    logits: NDArray[np.float32],
    split: Split,
    prior: NDArray[np.float64] | None,
    look: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Return what a checkpoint can be chosen by: no measure of it needs a threshold.

    Probabilities are scaled by one scaling for all labels that suits these rows best: the log loss of a network as it
    is rises as soon as that claims more than it knows, long before its answers get worse. `prior` are the log shares of
    the labels in train; without them nothing is scaled. `look` is called now and then, and may break it off.
    """
    task = "multi_label" if split.labels.ndim == 2 else "single_label"
    targets = LabelSets.of(split.labels, logits.shape[1])
    scaling = Calibration() if prior is None else fit_scaling_of_all(logits, split.labels, prior)
    probabilities = scaling.scaled(logits, task, look)
    metrics = (ranking_metrics if task == "multi_label" else single_label_metrics)(probabilities, split.labels)
    losses = row_losses(probabilities, targets, task)
    return {**metrics, "log_loss_error": float(losses.std() / np.sqrt(len(losses)))}


def settle(
    rules: Rules,
    logits: NDArray[np.float32],
    labels: NDArray[Any],
    wanted: DecisionConfig,
    prior: NDArray[np.float64] | None = None,
    *,
    usual: float = USUAL,
) -> None:
    """Fit the scaling and choose the decision rules of a checkpoint on these rows (validation).

    `prior` are the log shares of the labels in train, where each row has one; `usual` is the temperature that few rows
    are mixed with.
    """
    names, task = rules.label_names, rules.task
    rules.calibration = fit_calibration(
        logits,
        labels,
        method=wanted.calibration,
        label_names=names,
        min_positives=wanted.min_positives,
        prior=prior,
        usual=usual,
    )
    if wanted.calibration == "auto" and rules.calibration.method == "none":
        rows = counted(len(labels), "validation row")
        say(f"probabilities stay as they are: a scaling fitted on {rows} would not lower the log loss of others")
    probabilities = rules.calibration.scaled(logits, task)
    targets = LabelSets.of(labels, len(names))
    if task == "multi_label":
        known: dict[tuple[str, str], Decision] = {}

        def chosen(rule: str, objective: str) -> Decision:
            if (rule, objective) not in known:
                asked = replace(wanted, rule=rule, objective=objective)
                known[rule, objective] = choose_decision(probabilities, targets, asked, names)
            return replace(known[rule, objective])

        rules.decision = chosen(wanted.rule, wanted.objective)
        rules.other_decisions = {name: chosen(rule, objective) for name, rule, objective in OTHER_DECISIONS}
    if wanted.min_precision is not None:
        decisions = [rules.decision, *rules.other_decisions.values()]
        for decision, given in zip(decisions, decide_all(decisions, probabilities), strict=True):
            _settle_abstention(decision, probabilities, given, targets, task=task, precision=wanted.min_precision)
        if rules.decision.abstain_below == NEVER_SURE:
            warn(
                f"decision.min_precision: no confidence gives {wanted.min_precision:.0%} on validation; "
                "predict always abstains"
            )


def _settle_abstention(
    decision: Decision,
    probabilities: Probabilities,
    chosen: LabelSets,
    targets: LabelSets,
    *,
    task: str,
    precision: float,
) -> None:
    below = confidence_for_precision(confidence(probabilities, chosen, task), chosen.same(targets), precision)
    decision.abstain_below, decision.wanted_precision = NEVER_SURE if below is None else below, precision


def score(logits: NDArray[np.float32], split: Split, rules: Rules) -> Evaluation:
    """Turn logits into every number of a split, by the scaling and the decision rule of a checkpoint."""
    task, label_names = rules.task, rules.label_names
    probabilities, raw = rules.calibration.scaled(logits, task), Calibration().scaled(logits, task)
    targets = targets_of(split, len(label_names))
    chosen, *others = decide_all([rules.decision, *rules.other_decisions.values()], probabilities)
    sure, losses = confidence(probabilities, chosen, task), row_losses(probabilities, targets, task)
    draws, *draws_of_others = draw_several([chosen, *others], targets, losses)
    ranks = ranks_of_labels(probabilities, targets, drawn=True) if task == "multi_label" else []
    counts = confusion(chosen, targets)
    intervals, of_classes = draws.intervals()
    metrics: dict[str, Any] = {
        "rows": len(split),
        **headline_metrics(probabilities, chosen, split, ranks),
        "intervals": intervals,
        "per_class": _per_class(chosen, targets, label_names, of_classes),
        "most_confused": most_confused(counts, targets.per_label, label_names),
        "calibration": {
            "method": rules.calibration.method,
            **calibration_metrics(raw, probabilities, targets, task),
        },
        "selective": _selective(sure, chosen.same(targets), rules.decision),
    }
    metrics["intervals"] = {name: pair for name, pair in metrics["intervals"].items() if name in metrics}
    if task == "multi_label":
        _add_ranking(metrics, ranks, targets)
    if rules.other_decisions:
        decided = zip(rules.other_decisions.items(), others, draws_of_others, strict=True)
        metrics["decisions"] = {name: _decided(rule, given, targets, drawn) for (name, rule), given, drawn in decided}
    by_rule = dict(zip(rules.other_decisions, others, strict=True))
    return Evaluation(metrics, probabilities, chosen, by_rule, targets, counts, sure, losses, draws)


def targets_of(split: Split, labels: int) -> LabelSets:
    """Return a split's labels as sets."""
    return LabelSets.of(split.labels, labels)


def headline_metrics(
    probabilities: Given, chosen: LabelSets, split: Split, ranks: list[LabelRanks] | None = None
) -> dict[str, float]:
    """Return the scores of a split as a whole; `ranks` are those of several labels, where they are known."""
    if split.labels.ndim == 2:
        targets = targets_of(split, chosen.labels)
        return {**set_metrics(chosen, targets), **ranking_metrics(probabilities, targets, ranks)}
    return single_label_metrics(probabilities, split.labels)


def _per_class(
    chosen: LabelSets, targets: LabelSets, label_names: list[str], intervals: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    rows = per_class_metrics(chosen, targets, label_names)
    return [{**row, "intervals": of_label} for row, of_label in zip(rows, intervals, strict=True)]


def _add_ranking(metrics: dict[str, Any], ranks: list[LabelRanks], targets: LabelSets) -> None:
    """Add the ranking scores of each label and their intervals, which several labels per row have."""
    macro, intervals = ranking_intervals(ranks, targets)
    metrics["intervals"] |= {} if macro is None else {"macro_average_precision": macro}
    for row, scores, more in zip(metrics["per_class"], per_class_ranking(ranks), intervals, strict=True):
        row["intervals"] |= more
        row |= {**scores, "intervals": row.pop("intervals")}


def _selective(sure: NDArray[np.float64], right: NDArray[np.bool_], decision: Decision) -> dict[str, Any]:
    below = decision.abstain_below
    kept = None if below is None else {"wanted_precision": decision.wanted_precision, **abstention(sure, right, below)}
    return {**risk_coverage(sure, right), "abstain": kept}


def _decided(decision: Decision, chosen: LabelSets, targets: LabelSets, draws: ScoreDraws) -> dict[str, Any]:
    """Return what another decision rule scores on the same rows."""
    scores, (intervals, _) = set_metrics(chosen, targets), draws.intervals()
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


def scores_table(metrics: dict[str, dict[str, Any]], task: str, *, caption: str = "") -> str:
    """Return the headline scores of splits with their 95 % intervals as an HTML table."""
    rows = [[name.replace("_", " "), *(with_interval(of, name) for of in metrics.values())] for name in HEADLINES[task]]
    return html_table(["", *metrics], rows, caption=caption)


def names_of(chosen: Labels, label_names: list[str]) -> list[list[str]]:
    """Return the names of the labels of each row."""
    sets = LabelSets.of(chosen)
    names = [label_names[label] for label in sets.ids.tolist()]
    return [names[start:end] for start, end in itertools.pairwise(sets.starts.tolist())]
