"""The facts at the top of a report: which are chosen, and that they say what the numbers say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftclf.report.facts import Fact, facts, kept_step
from ftclf.report.material import Material
from ftclf.storage.run_folder import Run
from ftclf.system.text import data_name


def label(name: str, f1: float, support: int) -> dict[str, Any]:
    return {"label": name, "f1": f1, "support": support}


def material(**changes: Any) -> Material:
    """Return a run of three labels that has nothing to complain of; `changes` go into metrics, manifest and history."""
    test = {
        "rows": 900,
        "accuracy": 0.9,
        "intervals": {"accuracy": [0.88, 0.92]},
        "per_class": [label("<b>food", 0.8, 300), label("space", 0.9, 300), label("sport", 0.95, 300)],
        "most_confused": [{"true": "<b>food", "predicted": "space", "count": 30, "share_of_true": 0.1}],
        "calibration": {"ece": 0.021},
        "selective": {
            "curve": [{"coverage": 0.5, "risk": 0.005}, {"coverage": 0.8, "risk": 0.04}, {"coverage": 1, "risk": 0.1}],
            "abstain": None,
        },
    }
    manifest = {
        "task": "single_label",
        "rows": {"train": 1000},
        "label_rows": {"train": [400, 300, 300]},
        "texts_at_max_length": {"train": 10},
        "steps": 600,
        "kept_step": 600,
        "seconds": {"training": 61.2},
        "milliseconds_per_text": 4.21,
    }
    history = [{"step": step, "epoch": step / 300, "validation_log_loss": 0.5} for step in (300, 600)]
    return Material(
        run=Run(Path("run")),
        config={"dataset": {"max_length": 128}},
        manifest=manifest | changes.get("manifest", {}),
        metrics={"test": test | changes.get("test", {}), "validation": test, "baselines": changes.get("baselines", {})},
        history=changes.get("history", history),
        decision={},
        confusion=None,
        predictions=None,
    )


def said(run: Material) -> dict[str, str]:
    return {fact.heading: str(fact.text) for fact in facts(run)}


def test_a_run_without_faults_says_where_it_is_weak_how_sure_it_is_and_what_it_cost() -> None:
    assert facts(material())[0] == Fact(
        "Weakest label",
        "<bdi>&lt;b&gt;food</bdi> (F1 0.80, 300 test rows). Most frequent confusion: <bdi>&lt;b&gt;food</bdi> "
        "predicted as <bdi>space</bdi>, 30 rows (10% of <bdi>&lt;b&gt;food</bdi>).",  # type: ignore[arg-type]
    )
    assert said(material())["Confidence"] == (
        "The 50% of the test rows with the highest confidence are 99% right; all rows: 90%. On average, confidence "
        "and the share that is right differ by 2.1 points (ECE 0.021)."
    )
    assert list(said(material())) == ["Weakest label", "Confidence", "Training", "Cost"]
    assert said(material())["Cost"] == "Training took 61 seconds; a text is labelled in 4.2 ms on the same machine."


def test_with_the_score_and_the_baseline_of_the_first_sentence_there_are_five() -> None:
    assert len(facts(material(manifest={"steps": 40}))) == 4
    assert len(facts(material(manifest={"steps": 40}, baselines={"tfidf": {}}))) == 3


def test_a_rule_of_abstention_is_told_as_it_was_chosen() -> None:
    abstain = {"below": 0.7, "coverage": 0.8, "precision": 0.953}
    selective = {"curve": [], "abstain": abstain}
    assert said(material(test={"selective": selective}))["Confidence"].startswith(
        "Without an answer below a confidence of 0.70, 80% of the test rows are answered and 95% of these are right."
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"manifest": {"texts_at_max_length": {"train": 630}}},
            "63% of the training texts are longer than 128 tokens and cut there; a larger dataset.max_length keeps "
            "more of them.",
        ),
        (
            {"manifest": {"steps": 40, "kept_step": 40}},
            "Training took 40 steps; a new classifier needs about training.max_steps=300.",
        ),
        (
            {"manifest": {"label_rows": {"train": [400, 3, 9]}}},
            "2 of the 3 labels have fewer than 20 training rows (fewest: space, 3); more rows of these labels help "
            "most.",
        ),
        (
            {"manifest": {"label_rows": {"train": [400, 3, 90]}}},
            "1 of the 3 labels has fewer than 20 training rows (fewest: space, 3); more rows of these labels help "
            "most.",
        ),
        (
            {"manifest": {"kept_step": 300}},
            "Overfitting: validation got worse after step 300 of 600, whose weights were kept.",
        ),
        (
            {"history": [{"step": step, "validation_log_loss": 90 / step} for step in (200, 400, 600)]},
            "Validation log loss still fell at the end of training; more epochs are likely to help.",
        ),
        (
            {"test": {"rows": 80, "intervals": {"accuracy": [0.83, 0.95]}}},
            "80 test rows leave accuracy uncertain by about ±6.0 points; smaller differences cannot be seen.",
        ),
        (
            {"manifest": {"steps": 40, "kept_step": 9, "texts_at_max_length": {"train": 630}}},
            "63% of the training texts are longer than 128 tokens and cut there; a larger dataset.max_length keeps "
            "more of them. Training took 40 steps; a new classifier needs about training.max_steps=300.",
        ),
    ],
)
def test_what_limits_the_score_is_chosen_by_rules(changes: dict[str, Any], expected: str) -> None:
    assert said(material(**changes))["What limits the score"] == expected


def test_many_labels_without_a_hit_are_counted_and_rare_ones_are_not_judged() -> None:
    rows = [label(f"l{number}", 0.0, 10 + number) for number in range(5)] + [
        label("good", 0.9, 50),
        label("rare", 0, 4),
    ]
    text = said(material(test={"per_class": rows, "most_confused": []}))["Weakest labels"]
    assert text.startswith("5 of 6 labels are never predicted correctly, as <bdi>l4</bdi> (F1 0.00, 14 test rows), ")
    assert "rare" not in text


def test_labels_that_are_all_right_are_not_called_weak() -> None:
    rows = [label("a", 1.0, 30), label("b", 1.0, 30)]
    assert "Weakest label" not in said(material(test={"per_class": rows, "most_confused": []}))


def test_the_kept_step_names_its_epoch_of_how_many() -> None:
    run = material(manifest={"kept_step": 300})
    assert kept_step(run) == "the weights after step 300 of 600 (epoch 1.00 of 2.00)"
    assert kept_step(material(history=[])) == "the weights after step 600 of 600"
    assert kept_step(material(manifest={"kept_step": None})) == ""  # a run of an older version


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("my data/tickets.csv", "tickets"),
        ("my data/train.csv", "my data/train"),
        ("train.csv", "train"),
        ("~/train.csv", "train"),  # the folder's name is a user's
        ("../data.jsonl", "data"),
    ],
)
def test_a_file_is_named_with_its_folder_where_its_name_tells_nothing(file: str, expected: str) -> None:
    assert data_name("files", file) == expected
    assert data_name("go_emotions", file) == "go_emotions"
