"""Baselines: fitted once for a data set, scored as the model is, and the difference said with its interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy.sparse import issparse

from conftest import TrainTiny, make_rows, tiny_words, write_csv
from ftclf.cli.main import run
from ftclf.score import baselines
from ftclf.storage.run_folder import Run, read_json

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_every_run_stands_beside_its_baselines(trained: Run) -> None:
    metrics = read_json(trained.metrics)
    assert list(metrics["baselines"]) == ["majority", "tfidf", "frozen_encoder"]
    for one in metrics["baselines"].values():
        difference, low, high = one["difference"]["accuracy"]
        assert difference == pytest.approx(metrics["test"]["accuracy"] - one["scores"]["accuracy"])
        assert low <= difference <= high
    assert metrics["baselines"]["majority"]["scores"]["accuracy"] == pytest.approx(1 / 3, abs=0.02)
    assert metrics["baselines"]["tfidf"]["scores"]["accuracy"] > 0.9  # topics that words alone tell apart


def test_baselines_are_fitted_once_for_a_data_set(
    tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_csv(tmp_path / "own.csv", make_rows(120, seed=7))
    scores = []
    for folder in ("a", "b"):
        words = tiny_words(tiny_models["bert"], data, tmp_path / folder, "training.max_steps=1")
        assert run(words) == 0
        scores.append(read_json(tmp_path / folder / "metrics.json")["baselines"])
        assert ("kept for later runs" in capsys.readouterr().out) == (folder == "a")
    assert scores[0] == scores[1] | {}


def test_no_fit_writes_into_the_features_that_others_read(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit, shared = baselines._one_against_rest, []

    def of_read_only_features(inputs: Any, truth: Any, others: dict[str, Any]) -> Any:
        for features in (inputs, *others.values()):
            for array in [features.data, features.indices, features.indptr] if issparse(features) else [features]:
                array.setflags(write=False)
                shared.append(array)
        return fit(inputs, truth, others)

    monkeypatch.setattr(baselines, "_one_against_rest", of_read_only_features)
    monkeypatch.setattr(baselines, "CODE", "of read-only features")
    finished = train_tiny("training.max_steps=1")
    assert list(read_json(finished.metrics)["baselines"]) == ["majority", "tfidf", "frozen_encoder"]
    assert "left out" not in capsys.readouterr().err
    assert shared


def test_baselines_can_be_left_out(train_tiny: TrainTiny, capsys: pytest.CaptureFixture[str]) -> None:
    finished = train_tiny("training.max_steps=1", "baselines=[]")
    assert read_json(finished.metrics)["baselines"] == {}
    assert "TF-IDF" not in capsys.readouterr().out


def test_an_unknown_baseline_is_refused(
    tiny_models: dict[str, Path], reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tiny_words(tiny_models["bert"], reviews, tmp_path / "run", "baselines=[tfid]")) == 2
    assert "baselines" in capsys.readouterr().err


def test_a_baseline_that_cannot_be_fitted_is_left_out(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise ValueError("empty vocabulary; perhaps\nthe documents only contain stop words")

    monkeypatch.setitem(baselines.FITS, "tfidf", fail)
    monkeypatch.setattr(baselines, "CODE", "of this test")
    finished = train_tiny("training.max_steps=1")
    assert list(read_json(finished.metrics)["baselines"]) == ["majority", "frozen_encoder"]
    assert "baseline tfidf is left out: empty vocabulary" in capsys.readouterr().err
