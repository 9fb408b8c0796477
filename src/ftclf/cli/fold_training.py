"""Judges of labels that are fine-tuned: a temporary run per fold, by the functions of `import ftclf`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ftclf
from ftclf.config import CheckConfig, DatasetConfig
from ftclf.data import Data
from ftclf.data.check.finding import labels_of
from ftclf.score.label_errors import Judge, LabelledRows
from ftclf.score.probabilities import Dense

KEPT = ("name", "task", "max_length", "default_epochs")  # settings of the data set that its rows still need


def fine_tuned_judge(data: Data, config: CheckConfig, rows: LabelledRows) -> Judge:
    """Return a judge that trains the model of the config on some rows, and judges others."""

    def text_and_labels(row: int) -> tuple[str, list[str]]:
        split, number = rows.split_of(row)
        return data.splits[split].texts[number], labels_of(data, split, number)

    def judge(known: NDArray[np.int64], asked: NDArray[np.int64]) -> Dense:
        learned = [text_and_labels(row) for row in known.tolist()]
        texts = [text_and_labels(row)[0] for row in asked.tolist()]
        with tempfile.TemporaryDirectory(prefix="ftclf-fold-") as folder:
            return _trained(data, config, learned, texts, Path(folder))

    return judge


def _trained(
    data: Data, config: CheckConfig, learned: list[tuple[str, list[str]]], texts: list[str], folder: Path
) -> Dense:
    """Train on rows and return the probabilities of texts, (texts, labels of the data set)."""
    several = data.task == "multi_label"
    given = [labels if several else labels[0] for _, labels in learned]
    train = _write(folder / "train.jsonl", zip((text for text, _ in learned), given, strict=True))
    # A test split is asked for: the rows to judge, with a label that says nothing. Their scores are not looked at.
    test = _write(folder / "test.jsonl", ((text, given[number % len(given)]) for number, text in enumerate(texts)))
    kept = {name: getattr(config.dataset, name) for name in KEPT}
    epochs = [] if kept["default_epochs"] is None else [f"training.epochs={kept['default_epochs']}"]
    plain = ftclf.compose("dataset=files", f"method={config.judge}", f"dataset.train={train}", *epochs)
    dataset = DatasetConfig(source="files", train=str(train), test=str(test), **kept)
    run = ftclf.train(replace(plain, dataset=dataset, model=config.model, baselines=[]), folder / "run")
    model = ftclf.load(run)
    probabilities = np.zeros((len(texts), len(data.label_names)))
    places = [data.label_names.index(name) for name in model.labels]  # a fold may miss a label
    probabilities[:, places] = model.predict_proba(texts)
    return probabilities


def _write(path: Path, rows: Iterable[tuple[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps({'text': text, 'label': label})}\n" for text, label in rows)
    return path
