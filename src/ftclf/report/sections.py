"""From run folders to the plain values of a page: one row in SECTIONS is one section of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ftclf.config import HEADLINES
from ftclf.config.differences import flatten, varying
from ftclf.config.effect import effective
from ftclf.config.settings import NO_MODEL
from ftclf.report.doubtful import doubtful_rows
from ftclf.report.examples import confident_errors, confused_pairs
from ftclf.report.facts import Fact, facts
from ftclf.report.leaderboard import Comparison, compare_runs
from ftclf.report.levelling import gains_table
from ftclf.report.material import Material
from ftclf.report.scores import Content, calibration, curves, score_table, scored, sentence
from ftclf.report.slices import slices
from ftclf.report.sweep import asked_of_one_seed, config_names, job_names, pair_sentences, plot
from ftclf.report.usage import snippets
from ftclf.score.confusion import SHOWN, errors_of, most_confused, worst_labels
from ftclf.score.wording import difference, score_name
from ftclf.storage.run_folder import Run
from ftclf.system.text import common_labels, number, opened, short_names

MOST_LABELS = 500  # rows of a table of labels; all of them are in a csv file
PAIRS = 500  # rows of the table of confusions
FEW_PAIRS = 10  # confusions: up to as many are listed with their texts, and need no table
SHORT_NAMES = (22, 13)  # characters of a label beside the matrix, and on a phone
ELSEWHERE = (
    "digests",
    "sources",
    "notes",
    "rows",
    "label_rows",
    "label_names",
)  # parts of the manifest in other sections
RULE_SCORES = ("macro_f1", "micro_f1", "subset_accuracy")


BuiltSection = tuple[str, str, Callable[[Material], Any]]  # key, title, what builds its content


@dataclass(frozen=True)
class Section:
    """One section that a run has something for; `key` names its macro in sections.html.jinja."""

    key: str
    title: str
    content: Any


@dataclass(frozen=True)
class RunPage:
    """What the page says of one run."""

    key: str
    title: list[str]  # data, model, method
    about: list[str]  # folder, date
    sentence: str
    facts: list[Fact]
    sections: list[Section]


def run_page(material: Material, key: str) -> RunPage:
    """Return everything that the page says of one run."""
    return _page(material, key, sentence(material), SECTIONS, facts(material))


def diverged_page(material: Material, reason: str) -> RunPage:
    """Return what can be said of a run that has no scores, because its loss or gradient was not finite."""
    there = [section for section in SECTIONS if section[0] in ("curves", "settings")]
    return _page(material, "run1", f"This run diverged and has no scores. {opened(reason)}.", there, [])


def _page(
    material: Material, key: str, lead: str, sections: Sequence[BuiltSection], most_useful: list[Fact]
) -> RunPage:
    manifest = material.manifest
    built = [Section(name, title, build(material)) for name, title, build in sections]
    return RunPage(
        key=key,
        title=[material.data_name, *_model(material), material.config["method"]["kind"]],
        about=[material.name, str(manifest["date"])],
        sentence=lead,
        facts=most_useful,
        sections=[section for section in built if section.content],
    )


def comparison(runs: list[Material]) -> list[Content]:
    """Return the tables of each set of test rows, since scores on different rows do not compare; best first."""
    keys = {run.run: f"run{index}" for index, run in enumerate(runs, 1)}
    materials = {run.run: run for run in runs}
    return [_compared(found, materials, keys) for found in compare_runs([run.run for run in runs], name=str)]


def _compared(found: Comparison, materials: dict[Run, Material], keys: dict[Run, str]) -> Content:
    group = [materials[run] for run in found.runs]
    jobs, configs = job_names(found), config_names(found)
    figure = plot(found, group)
    best = found.runs[0]
    names = HEADLINES[group[0].task]
    settings = {run.run: effective(flatten(run.config)) for run in group}
    differing = varying(list(settings.values()))
    return {
        "data": group[0].data_name,
        "test_rows": group[0].test["rows"],
        "best": {"name": jobs[best], "score": score_name(names[0]), **scored(group[0].test, names[0])},
        "names": [f"validation {score_name(names[0])}", *map(score_name, names)],
        "differing": differing,
        "rows": [
            {
                "key": keys[run.run],
                "name": jobs[run.run],
                "folder": run.name,
                "scores": [scored(run.metrics["validation"], names[0]), *(scored(run.test, name) for name in names)],
                "seconds": run.manifest["seconds"]["total"],
                "trained": run.manifest["parameters"]["share"],
                "settings": [_setting(settings[run.run].get(name)) for name in differing],
            }
            for run in group
        ],
        "score": score_name(found.differences[0].score) if found.differences else "",
        "reference": configs[found.differences[0].b] if found.differences else "",
        "figures": [figure] if figure else [],
        "gains": gains_table(found, configs),
        "pairs": pair_sentences(found),
        "asked": asked_of_one_seed(found),
        "differences": [
            {
                "name": configs[one.a],
                "gained": difference(list(one.scores[one.score]), one.score),
                "p": "<0.001" if one.p_corrected < 0.001 else number(one.p_corrected),
                "only_it": one.only_a_right,
                "only_reference": one.only_b_right,
                "verdict": one.verdict,
            }
            for one in found.differences
        ],
    }


def _matrix(material: Material) -> Content | None:
    """Return the confusion matrix, or the worst block of a large one, and the worst pairs of labels.

    `shade` is the root of a cell's share: small shares can be told from none.
    """
    counts = material.confusion
    if counts is None:
        return None
    labels, errors = material.labels, errors_of(counts)
    shown = list(range(len(labels))) if len(labels) <= SHOWN else worst_labels(counts)
    support, wrong = np.array(material.support), int(errors.sum())
    dense = counts[shown][:, shown].toarray() if shown else np.zeros((0, 0), dtype=np.int64)
    shares = dense / np.maximum(support[shown], 1)[:, None]
    missed = support - counts.diagonal()
    short, tiny = (short_names([labels[label] for label in shown], longest) for longest in SHORT_NAMES)
    rows = [
        {
            "label": labels[label],
            "short": short[place],
            "tiny": tiny[place],
            "size": int(support[label]),
            "errors": int(missed[label]),
            "cells": [
                {
                    "count": int(dense[place, column]),
                    "share": float(share),
                    "shade": float(share) ** 0.5,
                    "hit": place == column,
                }
                for column, share in enumerate(shares[place])
            ],
        }
        for place, label in enumerate(shown)
    ]
    inside = int(errors[shown][:, shown].sum()) if shown else 0
    whole = len(shown) == len(labels)
    return {
        "several": material.several,
        "rows": rows,
        "part": None if whole else {"shown": len(shown), "labels": len(labels), "inside": inside, "errors": wrong},
        "dense": len(shown) > 24,
        "pairs": most_confused(counts, support, labels, PAIRS) if errors.nnz > FEW_PAIRS else [],
        "all_pairs": errors.nnz,
    }


def _classes(material: Material) -> Content:
    labels = material.test["per_class"]
    names = [name for name in ("f1", "precision", "recall", "average_precision", "auroc") if name in labels[0]]
    splits = material.label_rows
    return {
        "names": [score_name(name) for name in names],
        "splits": list(splits),
        "rows": [
            {
                "label": labels[label]["label"],
                "cells": [scored(labels[label], name) for name in names],
                "counts": [counts[label] for counts in splits.values()],
            }
            for label in common_labels(material.support, MOST_LABELS)
        ],
        "labels": len(labels),
    }


def _decisions(material: Material) -> Content | None:
    """Return the thresholds of the labels and the other rules that could have been taken."""
    decision, rules = material.decision, material.test.get("decisions", {})
    if not material.several or not decision:
        return None
    thresholds = decision["thresholds"]
    shared = set(material.labels if len(thresholds) == 1 else decision["guarded"])
    values = _each_threshold(thresholds, material)
    return {
        "decision": decision,
        "thresholds": [
            {
                "label": material.labels[label],
                "value": values[label],
                "whose": "shared" if material.labels[label] in shared else "own",
                "support": material.support[label],
            }
            for label in common_labels(material.support, MOST_LABELS)
            if label < len(values)
        ],
        "labels": len(material.labels),
        "names": [score_name(name) for name in RULE_SCORES],
        "rules": [
            {
                "objective": score_name(name),
                "rule": found["rule"],
                "cells": [scored({**found["scores"], "intervals": found["intervals"]}, score) for score in RULE_SCORES],
            }
            for name, found in rules.items()
        ],
    }


def _each_threshold(thresholds: list[float], material: Material) -> list[float]:
    return thresholds * len(material.labels) if len(thresholds) == 1 else thresholds


def _data(material: Material) -> Content:
    manifest, dataset = material.manifest, material.config["dataset"]
    return {
        "about": dataset["about"],
        "terms": dataset["terms"] or "the user's own",
        "rows": manifest["rows"],
        "sources": manifest.get("sources"),  # older runs have none
        "digests": manifest["digests"],
        "notes": manifest["notes"],
    }


def _usage(material: Material) -> Content:
    return {"snippets": snippets(material.config, whole="checkpoint")}


def _settings(material: Material) -> Content:
    config = {name: _setting(value) for name, value in effective(flatten(material.config)).items()}
    manifest = {
        name: _setting(value)
        for name, value in flatten(material.manifest).items()
        if name.partition(".")[0] not in ELSEWHERE
    }
    return {"tables": [("All settings", config), ("Machine, versions, seconds, seed and commit", manifest)]}


def _setting(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _model(material: Material) -> list[str]:
    """Return the name of the base model, if there is one."""
    model = material.config["model"]
    if model["name"] == NO_MODEL:
        return []
    pin = model.get("pin") or {}
    pinned = pin.get("alias") and pin.get("name") == model["name"]
    return [str(pin["alias"]) if pinned else Path(model["name"]).name]


SECTIONS: tuple[BuiltSection, ...] = (
    ("scores", "Scores", score_table),
    ("curves", "Training", curves),
    ("matrix", "Confusion", _matrix),
    ("classes", "Labels one by one", _classes),
    ("calibration", "Can the confidence be trusted", calibration),
    ("decisions", "From probabilities to labels", _decisions),
    ("pairs", "Most confused pairs", confused_pairs),
    ("errors", "Most confident errors", confident_errors),
    ("doubtful", "Most doubtful labels of test", doubtful_rows),
    ("slices", "Parts of the test rows", slices),
    ("data", "Data", _data),
    ("settings", "Settings and machine", _settings),
    ("usage", "How to use it", _usage),
)
