"""Any number of labels a row, from the file to the decision."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from conftest import TOPICS, make_rows, tiny_words
from ftclf.cli.main import run
from ftclf.config import DatasetConfig, LossConfig, config_folder
from ftclf.data import load_data
from ftclf.score.task import MULTI_LABEL
from ftclf.storage.durable import seal
from ftclf.storage.run_folder import Run, read_json
from ftclf.system.errors import DataError
from ftclf.training.losses import set_output_bias, training_loss

pytestmark = pytest.mark.usefixtures("no_pictures")

NAMES = list(TOPICS)


def make_several(count: int, seed: int = 0) -> list[tuple[str, list[str]]]:
    """Return texts with none, one or two of the topics: two texts joined have the labels of both."""
    rows = make_rows(2 * count, seed)
    joined: list[tuple[str, list[str]]] = []
    for index in range(count):
        (first, label), (second, other) = rows[index], rows[-index - 1]
        if index % 4 == 0:
            joined.append((f"{first} {second}", sorted({label, other})))
        elif index % 10 == 1:
            joined.append((f"the a was very {index}", []))
        else:
            joined.append((first, [label]))
    return joined


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, list[str]]]:
    return make_several(240)


@pytest.fixture(scope="module")
def jsonl(rows: list[tuple[str, list[str]]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("several") / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": text, "label": labels}) for text, labels in rows))
    return path


def config(path: Path, **changes: Any) -> DatasetConfig:
    return DatasetConfig(name="files", source="files", task="multi_label", train=str(path), **changes)


def test_lists_delimiters_and_columns_give_the_same_labels(
    rows: list[tuple[str, list[str]]], jsonl: Path, tmp_path: Path
) -> None:
    with (tmp_path / "cells.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((text, "|".join(labels)) for text, labels in rows)])
    with (tmp_path / "columns.csv").open("w", newline="") as file:
        columns = [[str(int(name in labels)) for name in NAMES] for _, labels in rows]
        csv.writer(file).writerows(
            [("text", *NAMES), *((text, *row) for (text, _), row in zip(rows, columns, strict=True))]
        )
    found = [
        load_data(config(jsonl)),
        load_data(config(tmp_path / "cells.csv", label_delimiter="|")),
        load_data(config(tmp_path / "columns.csv", label_columns=NAMES)),
    ]
    assert all(data.label_names == NAMES for data in found)
    assert len({data.digest("test") for data in found}) == 1
    assert found[0].splits["train"].labels.dtype == bool


def test_labels_that_look_like_several_in_a_cell_get_a_note(tmp_path: Path) -> None:
    cells = ("joy|love", "joy", "love|fear", "fear|joy")
    lines = [f"text {number},{cells[number % 4]}\n" for number in range(60)]
    (tmp_path / "cells.csv").write_text("text,label\n" + "".join(lines))
    told = "3 of the 4 labels hold '|', as 'fear|joy': dataset.label_delimiter='|' makes several of each"
    assert told in load_data(config(tmp_path / "cells.csv")).notes
    assert told not in load_data(config(tmp_path / "cells.csv", label_delimiter="|")).notes


def test_a_cell_that_is_neither_0_nor_1_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("text,a,b\nx,1,0\ny,0,2\n")
    with pytest.raises(DataError, match="row 3, column 'b': got '2', allowed: 0 or 1"):
        load_data(config(tmp_path / "c.csv", label_columns=["a", "b"]))


def test_splits_that_are_cut_keep_rare_labels(tmp_path: Path) -> None:
    rows = [
        (f"text number {i}", ["often"] + (["rare"] if i % 20 == 0 else []) + (["x"] if i % 2 else []))
        for i in range(400)
    ]
    path = tmp_path / "rare.jsonl"
    path.write_text("\n".join(json.dumps({"text": t, "label": labels}) for t, labels in rows))
    data = load_data(config(path))
    rare = data.label_names.index("rare")
    counts = {name: int(split.labels[:, rare].sum()) for name, split in data.splits.items()}
    assert counts == {"train": 14, "validation": 2, "test": 4}


def test_labels_are_merged_into_groups(jsonl: Path) -> None:
    data = load_data(config(jsonl, label_groups={"body": ["food", "sport"]}))
    assert data.label_names == ["body", "space"]
    plain = load_data(config(jsonl))
    before = {text: row for split in plain.splits.values() for text, row in zip(split.texts, split.labels, strict=True)}
    for split in data.splits.values():
        for text, row in zip(split.texts, split.labels, strict=True):
            assert row.tolist() == [before[text][[0, 2]].any(), before[text][1]]
    with pytest.raises(DataError, match=r"no label 'fod'\. Did you mean 'food'"):
        load_data(config(jsonl, label_groups={"body": ["fod"]}))


def test_the_output_starts_at_the_labels_log_odds(tiny_models: dict[str, Path]) -> None:
    import torch

    from ftclf.config import ModelConfig
    from ftclf.model.network import build_classifier

    targets = np.array([[True, False], [True, False], [True, True], [False, False]])
    for model in ("bert", "roberta"):
        classifier = build_classifier(tiny_models[model], ["a", "b"], ModelConfig(name=model))
        network: Any = classifier.network
        set_output_bias(classifier, MULTI_LABEL.prior(targets.sum(axis=0), len(targets)))
        output = network.classifier if model == "bert" else network.classifier.out_proj
        assert output.bias.tolist() == pytest.approx([np.log(3.5 / 1.5), np.log(1.5 / 3.5)])
        assert isinstance(output, torch.nn.Linear)


def test_the_loss_is_the_mean_over_rows_and_labels() -> None:
    from types import SimpleNamespace

    import torch

    logits, labels = torch.randn(6, 4), (torch.rand(6, 4) > 0.5).float()
    counts = np.array([5, 5, 5, 5])
    loss = training_loss(LossConfig(), MULTI_LABEL, counts, train_rows=9, rows_per_step=None)
    found = loss(SimpleNamespace(logits=logits), labels)
    assert found.item() == pytest.approx(torch.nn.functional.binary_cross_entropy_with_logits(logits, labels).item())
    assert loss(SimpleNamespace(logits=logits), labels, 48).item() == pytest.approx(found.item() / 2)


@pytest.fixture(scope="module")
def several(tiny_models: dict[str, Path], jsonl: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("several_run") / "run"
    words = [
        "dataset.task=multi_label",
        "method=full",
        "method.head_rate=1",
        "decision.min_positives=3",
        "decision.calibration=platt",
    ]
    assert (
        run(tiny_words(tiny_models["bert"], jsonl, folder, *words, "training.epochs=15", "training.batch_size=8")) == 0
    )
    return Run(folder)


def test_several_labels_are_learned_and_scored(several: Run) -> None:
    test = read_json(several.metrics)["test"]
    assert test["macro_f1"] > 0.8
    assert {"subset_accuracy", "samples_f1", "hamming_loss", "label_ranking_average_precision"} <= set(test)
    assert {"average_precision", "auroc", "support"} <= set(test["per_class"][0])


def test_thresholds_come_from_validation_and_stand_in_the_checkpoint(several: Run) -> None:
    decision = read_json(several.checkpoint / "ftclf.json")["decision"]
    assert decision["rule"] == "thresholds"
    assert len(decision["thresholds"]) == 3
    rows = pq.read_table(several.predictions / "validation.parquet").to_pylist()
    chosen = [
        [name for name, t in zip(NAMES, decision["thresholds"], strict=True) if row[f"p_{name}"] >= t] for row in rows
    ]
    assert chosen == [row["predicted"] for row in rows]


def test_eval_gives_the_very_numbers_of_training(several: Run, tmp_path: Path) -> None:
    assert run(["eval", f"checkpoint={several.folder}", f"output={tmp_path / 'out'}"]) == 0
    assert read_json(tmp_path / "out" / "metrics.json")["test"] == read_json(several.metrics)["test"]


def test_an_edited_threshold_is_obeyed(several: Run, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(several.checkpoint, tmp_path / "copy"))
    info = json.loads((copy / "ftclf.json").read_text())
    info["decision"]["thresholds"] = [0.0, 2.0, 2.0]
    (copy / "ftclf.json").write_text(json.dumps(info))
    seal(copy)  # as it stands it would be refused as damaged
    (tmp_path / "in.txt").write_text("rocket moon\nbread soup\n")
    assert run(["predict", f"checkpoint={copy}", f"input={tmp_path / 'in.txt'}", f"output={tmp_path / 'out.csv'}"]) == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [json.loads(row["labels"]) for row in csv.DictReader(file)] == [["food"], ["food"]]


def test_another_rule_of_the_checkpoint_can_decide(
    several: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", f"checkpoint={several.folder}", f"output={tmp_path / 'out'}"]
    assert run([*words, "decide=subset_accuracy"]) == 0
    found = read_json(tmp_path / "out" / "metrics.json")["test"]
    promised = read_json(several.metrics)["test"]["decisions"]["subset_accuracy"]
    assert {name: found[name] for name in promised["scores"]} == promised["scores"]
    assert run([*words[:2], "decide=subset"]) == 2
    assert "allowed: macro_f1, micro_f1, subset_accuracy, argmax" in capsys.readouterr().err


def test_the_probabilities_of_each_label_are_scaled(several: Run) -> None:
    info = read_json(several.checkpoint / "ftclf.json")
    assert info["calibration"]["method"] == "platt"
    assert len(info["calibration"]["slopes"]) == 3
    assert all(slope > 0 for slope in info["calibration"]["slopes"])


@pytest.mark.parametrize("rule", ["threshold", "top_k", "argmax"])
def test_every_rule_runs(tiny_models: dict[str, Path], jsonl: Path, tmp_path: Path, rule: str) -> None:
    words = ["dataset.task=multi_label", f"decision.rule={rule}", "decision.k=2", "training.max_steps=1"]
    assert run(tiny_words(tiny_models["bert"], jsonl, tmp_path / "run", *words)) == 0
    assert read_json(tmp_path / "run" / "checkpoint" / "ftclf.json")["decision"]["rule"] == rule
    assert run(["compare", str(tmp_path)]) == 0


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "labels"), [("multi_label", 28), ("ekman", 7), ("sentiment", 4)])
def test_the_real_go_emotions_in_its_groupings(real_data: Path, name: str, labels: int) -> None:
    folder = config_folder() / "dataset"
    merged: dict[str, Any] = yaml.safe_load((folder / "go_emotions.yaml").read_text())
    for file in ("multi_label", name):
        merged.update(yaml.safe_load((folder / f"go_emotions_{file}.yaml").read_text()))
    merged.pop("defaults")
    data = load_data(DatasetConfig(**merged))
    assert len(data.label_names) == labels
    assert "neutral" in data.label_names
    assert [len(split) for split in data.splits.values()] == [43410, 5426, 5427]
    assert all(split.labels.any(axis=1).all() for split in data.splits.values())
