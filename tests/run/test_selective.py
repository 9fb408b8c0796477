"""Abstention: the surest rows first, and the confidence that a wanted precision needs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftclf.cli.main import run
from ftclf.score.abstention import abstention, confidence_for_precision, risk_coverage
from ftclf.score.task import MULTI_LABEL, SINGLE_LABEL
from ftclf.storage.durable import seal
from ftclf.storage.run_folder import Run, read_json

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_confidence_is_the_probability_of_the_answer() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.4, 0.3, 0.3]])
    assert SINGLE_LABEL.confidence(p, p == p.max(axis=1, keepdims=True)).tolist() == [0.7, 0.4]
    chosen = np.array([[True, False, False], [True, True, False]])
    assert MULTI_LABEL.confidence(p, chosen).tolist() == pytest.approx([0.7 * 0.8 * 0.9, 0.4 * 0.3 * 0.7])


def test_risk_rises_to_that_of_all_rows() -> None:
    sure, right = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True])
    found = risk_coverage(sure, right)
    assert [point["coverage"] for point in found["curve"]] == [0.25, 0.5, 0.75, 1.0]
    assert [point["risk"] for point in found["curve"]] == pytest.approx([0, 0, 1 / 3, 1 / 4])
    assert found["aurc"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 80), st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_no_lower_confidence_has_the_wanted_precision(seed: int, rows: int, wanted: float) -> None:
    random = np.random.default_rng(seed)
    sure = random.integers(0, 12, rows) / 12  # with ties
    right = random.random(rows) < sure
    found = confidence_for_precision(sure, right, wanted)
    enough = [
        value
        for value in np.unique(sure)
        if right[sure >= value].mean() >= wanted and (sure >= value).sum() >= min(20, rows)
    ]
    assert found == (min(enough) if enough else None)


def test_what_is_kept_is_counted() -> None:
    sure, right = np.array([0.9, 0.8, 0.2]), np.array([True, False, True])
    assert abstention(sure, right, 0.5) == {"below": 0.5, "coverage": pytest.approx(2 / 3), "precision": 0.5}
    assert abstention(sure, right, 2.0) == {"below": 2.0, "coverage": 0.0, "precision": None}


@pytest.fixture
def careful(trained: Run, tmp_path: Path) -> Path:
    """A checkpoint that abstains from everything."""
    import shutil

    copy = Path(shutil.copytree(trained.checkpoint, tmp_path / "careful"))
    info = json.loads((copy / "ftclf.json").read_text())
    info["decision"].update(abstain_below=1.1, wanted_precision=0.9)
    (copy / "ftclf.json").write_text(json.dumps(info))
    seal(copy)  # as it stands it would be refused as damaged
    return copy


def test_predict_says_that_it_abstains_and_why(careful: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("the a was\n")
    for suffix in ("csv", "jsonl", "parquet"):
        words = ["predict", f"checkpoint={careful}", f"input={tmp_path / 'in.txt'}"]
        assert run([*words, f"output={tmp_path / 'out'}.{suffix}"]) == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert "is below 1.100, which 90% right answers need" in row["abstain"]
    assert json.loads((tmp_path / "out.jsonl").read_text())["abstain"] == row["abstain"]


@pytest.mark.slow
def test_the_confidence_for_a_precision_is_chosen_on_validation(
    train_tiny: object, trained: Run, tmp_path: Path
) -> None:
    run_folder = train_tiny("decision.min_precision=0.5", "training.epochs=30", "training.batch_size=8")  # type: ignore[operator]
    decision = read_json(run_folder.checkpoint / "ftclf.json")["decision"]
    kept = read_json(run_folder.metrics)
    assert kept["validation"]["selective"]["abstain"]["precision"] >= 0.5
    assert kept["test"]["selective"]["abstain"]["below"] == decision["abstain_below"]
    assert read_json(trained.metrics)["test"]["selective"]["abstain"] is None


def test_every_rule_of_the_checkpoint_abstains(trained: Run) -> None:
    from dataclasses import replace

    from ftclf.checkpoint.format import read_info
    from ftclf.config import DecisionConfig
    from ftclf.score.evaluation import settle

    random = np.random.default_rng(0)
    info = replace(read_info(trained.checkpoint), task="multi_label")
    logits = random.normal(size=(200, 3)).astype(np.float32)
    settle(info, logits, random.random((200, 3)) < 0.3, DecisionConfig(min_precision=0.4))
    assert all(one.abstain_below is not None for one in (info.decision, *info.other_decisions.values()))
