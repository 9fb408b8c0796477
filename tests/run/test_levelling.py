"""Losses and samplers through the command: each trains, is exact when resumed, and scores come from plain logits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from conftest import TrainTiny
from ftclf.cli.main import run
from ftclf.config.settings import LOSS_TASKS, LOSSES
from ftclf.storage.run_folder import Run, read_json

pytestmark = pytest.mark.usefixtures("no_pictures")

FIELDS = {"sampler=capped": ["sampler.cap=20"]}


def losses(run: Run) -> list[float]:
    rows = [json.loads(line) for line in run.history.read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.parametrize("kind", [kind for kind in LOSSES if LOSS_TASKS.get(kind) != "multi_label"])
def test_both_engines_train_by_each_loss_alike(kind: str, train_tiny: TrainTiny) -> None:
    words = ["method=full", "training.max_steps=4", "training.log_steps=1", "model.dropout=0", f"loss={kind}"]
    fast, plain = (train_tiny(*words, f"training.engine={engine}", folder=engine) for engine in ("auto", "plain"))
    assert losses(fast) == pytest.approx(losses(plain), rel=0.02)
    assert read_json(fast.config)["loss"]["kind"] == kind


def test_a_loss_that_weighs_labels_is_another_loss_than_plain(train_tiny: TrainTiny) -> None:
    words = ["training.max_steps=2", "training.log_steps=1"]
    plain, other = (train_tiny(*words, f"loss={kind}", folder=kind) for kind in ("plain", "ldam"))
    assert losses(plain) != losses(other)


@pytest.mark.parametrize("sampler", ["balanced", "sqrt", "capped"])
def test_a_run_says_how_many_rows_an_epoch_has(
    sampler: str, train_tiny: TrainTiny, capsys: pytest.CaptureFixture[str]
) -> None:
    more = FIELDS.get(f"sampler={sampler}", [])
    trained = train_tiny("training.epochs=1", f"sampler={sampler}", *more, folder=sampler)
    manifest = read_json(trained.manifest)
    rows = manifest["rows_per_epoch"]
    assert f"sampler={sampler}: {rows} rows per epoch" in capsys.readouterr().out
    counts = manifest["label_rows"]["train"]
    assert rows == (sum(min(20, count) for count in counts) if sampler == "capped" else manifest["rows"]["train"])
    batch_size = read_json(trained.config)["training"]["batch_size"]
    assert manifest["steps"] == -(-rows // batch_size)


@pytest.mark.parametrize("seeds", ["0", "0,1"])
def test_the_report_of_a_levelling_sweep_says_which_chance_its_intervals_hold(
    seeds: str, train_tiny: TrainTiny, tmp_path: Path
) -> None:
    for seed in seeds.split(","):
        for kind in ("plain", "focal"):
            words = ["training.max_steps=2", "baselines=[]", f"loss={kind}", f"training.seed={seed}"]
            train_tiny(*words, folder=f"sweep/{kind}{seed}")
    assert run(["report", str(tmp_path / "sweep"), f"output={tmp_path / 'page.html'}"]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    (caption,) = re.findall("<caption><span>(What each way of levelling.*?)</span>", page)
    assert caption.endswith("intervals of rows, and of seeds where there are several" if "," in seeds else "of rows")
