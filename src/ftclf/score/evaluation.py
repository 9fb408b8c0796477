"""From the logits of a split to metrics, intervals and predictions. `train` and `eval` both come through here."""

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
from ftclf.score.abstention import abstention, confidence_for_precision, risk_coverage
from ftclf.score.bootstrap import ScoreDraws, draw_several, ranking_intervals
from ftclf.score.calibration import USUAL, Calibration, calibration_metrics, fit_calibration, fit_scaling_of_all
from ftclf.score.confusion import Counts, confusion, most_confused
from ftclf.score.decisions import Decision, choose_decision, decide_all
from ftclf.score.metrics import Labels, per_class_metrics, per_class_ranking
from ftclf.score.probabilities import Probabilities
from ftclf.score.ranking import LabelRanks
from ftclf.score.rules import Rules
from ftclf.score.task import Task, task_named, task_of
from ftclf.system.console import say, warn
from ftclf.system.notebook import html_table
from ftclf.system.text import counted

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
    task = task_of(split.labels)
    targets = LabelSets.of(split.labels, logits.shape[1])
    scaling = Calibration() if prior is None else fit_scaling_of_all(logits, split.labels, prior)
    probabilities = scaling.scaled(logits, task, look)
    losses = task.row_losses(probabilities, targets)
    metrics = task.choosing_metrics(probabilities, targets, losses)
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
    names, task = rules.label_names, task_named(rules.task)
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
    asked, known = task.asked(wanted), dict[tuple[str, str], Decision]()

    def chosen(rule: str, objective: str) -> Decision:
        if (rule, objective) not in known:
            known[rule, objective] = choose_decision(
                probabilities, targets, replace(asked, rule=rule, objective=objective), names
            )
        return replace(known[rule, objective])

    rules.decision = chosen(asked.rule, asked.objective)
    rules.other_decisions = {name: chosen(rule, objective) for name, rule, objective in task.other_decisions}
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
    task: Task,
    precision: float,
) -> None:
    below = confidence_for_precision(task.confidence(probabilities, chosen), chosen.same(targets), precision)
    decision.abstain_below, decision.wanted_precision = NEVER_SURE if below is None else below, precision


def score(logits: NDArray[np.float32], split: Split, rules: Rules) -> Evaluation:
    """Turn logits into every number of a split, by the scaling and the decision rule of a checkpoint."""
    task, label_names = task_named(rules.task), rules.label_names
    probabilities, raw = rules.calibration.scaled(logits, task), Calibration().scaled(logits, task)
    targets = targets_of(split, len(label_names))
    chosen, *others = decide_all([rules.decision, *rules.other_decisions.values()], probabilities)
    sure, losses = task.confidence(probabilities, chosen), task.row_losses(probabilities, targets)
    draws, *draws_of_others = draw_several([chosen, *others], targets, losses)
    ranks = task.ranks(probabilities, targets)
    counts = confusion(chosen, targets)
    intervals, of_classes = draws.intervals()
    metrics: dict[str, Any] = {
        "rows": len(split),
        **task.metrics(draws.observed, probabilities, targets, ranks),
        "intervals": intervals,
        "per_class": _per_class(draws, label_names, of_classes),
        "most_confused": most_confused(counts, targets.per_label, label_names),
        "calibration": {
            "method": rules.calibration.method,
            **calibration_metrics(raw, probabilities, targets, task),
        },
        "selective": _selective(sure, chosen.same(targets), rules.decision),
    }
    metrics["intervals"] = {name: pair for name, pair in metrics["intervals"].items() if name in metrics}
    if ranks:
        _add_ranking(metrics, ranks, targets)
    if rules.other_decisions:
        decided = zip(rules.other_decisions.items(), draws_of_others, strict=True)
        metrics["decisions"] = {name: _decided(rule, drawn) for (name, rule), drawn in decided}
    by_rule = dict(zip(rules.other_decisions, others, strict=True))
    return Evaluation(metrics, probabilities, chosen, by_rule, targets, counts, sure, losses, draws)


def targets_of(split: Split, labels: int) -> LabelSets:
    """Return a split's labels as sets."""
    return LabelSets.of(split.labels, labels)


def _per_class(draws: ScoreDraws, label_names: list[str], intervals: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = per_class_metrics(draws.sums, label_names)
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


def _decided(decision: Decision, draws: ScoreDraws) -> dict[str, Any]:
    """Return what another decision rule scores on the same rows."""
    intervals, _ = draws.intervals()
    names = ("macro_f1", "micro_f1", "subset_accuracy")
    return {
        "rule": decision.rule,
        "scores": {name: draws.observed[name] for name in names},
        "intervals": {name: intervals[name] for name in names},
    }


def headline(metrics: dict[str, Any], task: str) -> str:
    """Return the line that training and eval print of a split: scores with their 95 % intervals."""
    return ", ".join(f"{name} {with_interval(metrics, name)}" for name in HEADLINES[task])


def with_interval(metrics: dict[str, Any], name: str) -> str:
    """Return a score as 0.5808 [0.5679, 0.5938]; without the brackets where it has no interval."""
    interval = metrics["intervals"].get(name)
    return f"{metrics[name]:z.4f}" + (f" [{interval[0]:z.4f}, {interval[1]:z.4f}]" if interval else "")


def headline_html(metrics: dict[str, dict[str, Any]], task: str, *, caption: str = "") -> str:
    """Return the headline scores of splits with their 95 % intervals as an HTML table."""
    rows = [[name.replace("_", " "), *(with_interval(of, name) for of in metrics.values())] for name in HEADLINES[task]]
    return html_table(["", *metrics], rows, caption=caption)


def names_of(chosen: Labels, label_names: list[str]) -> list[list[str]]:
    """Return the names of the labels of each row."""
    sets = LabelSets.of(chosen)
    names = [label_names[label] for label in sets.ids.tolist()]
    return [names[start:end] for start, end in itertools.pairwise(sets.starts.tolist())]
