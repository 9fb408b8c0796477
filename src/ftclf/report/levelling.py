"""Sweeps over losses, samplers and augmentation: what each gives in macro F1 and rare labels, and what it costs.

The reference is the config that levels nothing. Differences and their intervals hold the chance of rows, and of seeds
where there are several.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from ftclf.config.differences import flatten
from ftclf.report.leaderboard import Comparison, group_name, read_outcome
from ftclf.score.significance import Side, difference
from ftclf.score.wording import difference as in_points
from ftclf.score.wording import score_name
from ftclf.storage.run_folder import Run, read_json
from ftclf.system.text import number

LEVELS = {"loss.kind": "plain", "sampler.kind": "plain", "augment.kind": "none"}  # and what levels nothing
GAINED, SINGLE, SEVERAL = ("macro_f1", "rare_f1"), ("accuracy",), ("micro_f1", "subset_accuracy")

Interval = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True)
class Gains:
    """A config beside the one that levels nothing, as differences of test scores in shares."""

    runs: list[Run]
    scores: dict[str, Interval]  # by score; log loss as it is
    ece: float
    reference_ece: float


def reference_of(comparison: Comparison) -> list[Run] | None:
    """Return the runs of the config that levels nothing; None where no run levels, or none is plain."""
    settings = {group[0]: flatten(read_json(group[0].config)) for group in comparison.groups}
    plain = [
        group
        for group in comparison.groups
        if all(settings[group[0]].get(name, usual) == usual for name, usual in LEVELS.items())
        and not set(group) & set(comparison.left_out)
    ]
    return plain[0] if len(plain) == 1 and len(comparison.groups) > 1 else None


def gains(comparison: Comparison) -> list[Gains]:
    """Return what each config of a sweep gains over the plain one, most macro F1 first; nothing for other sweeps."""
    reference = reference_of(comparison)
    if reference is None:
        return []
    plain = _side(reference)
    rows = []
    for group in comparison.groups:
        if group is reference or set(group) & set(comparison.left_out):
            continue
        found = difference(_side(group), plain, score="macro_f1")
        rows.append(Gains(group, found.scores, _ece(group), _ece(reference)))
    return sorted(rows, key=lambda row: -row.scores["macro_f1"][0])


def gains_table(comparison: Comparison, names: dict[str, str]) -> dict[str, object] | None:
    """Return heads and rows of the page's table; None for sweeps that level nothing."""
    found = gains(comparison)
    if not found:
        return None
    task = read_json(comparison.runs[0].manifest)["task"]
    scores = (*GAINED, *(SEVERAL if task == "multi_label" else SINGLE), "log_loss")
    rows = [
        {
            "name": names[group_name(row.runs, str)],
            "cells": [
                *(in_points(list(row.scores[name]), name, unit="") for name in scores),
                f"{number(row.reference_ece)} → {number(row.ece)}",
            ],
        }
        for row in found
    ]
    heads = [*(score_name(name) for name in scores), "calibration error"]
    return {"heads": heads, "rows": rows, "several_seeds": any(len(row.runs) > 1 for row in found)}


def _side(group: list[Run]) -> Side:
    return Side(group_name(group, str), tuple(read_outcome(run) for run in group))


def _ece(group: list[Run]) -> float:
    return fmean(read_json(run.metrics)["test"]["calibration"]["ece"] for run in group)
