"""Mixup through the command, and against its formula."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from conftest import TrainTiny, tiny_words
from ftclf.cli.main import run
from ftclf.config import LossConfig
from ftclf.score.task import MULTI_LABEL, SINGLE_LABEL
from ftclf.storage.run_folder import Run, read_json
from ftclf.training.losses import training_loss
from ftclf.training.mixup import MixedLoss

pytestmark = pytest.mark.usefixtures("no_pictures")


def losses(run: Run) -> list[float]:
    rows = [json.loads(line) for line in run.history.read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.parametrize("several", [False, True])
def test_states_and_targets_are_mixed_by_the_same_share(several: bool) -> None:
    torch.manual_seed(0)
    states, output = torch.randn(6, 4), torch.nn.Linear(4, 3)
    labels = torch.randint(2, (6, 3)).float() if several else torch.randint(3, (6,))
    task = MULTI_LABEL if several else SINGLE_LABEL
    plain = training_loss(LossConfig(), task, np.array([2, 2, 2]), train_rows=6, rows_per_step=None)
    mixed = MixedLoss(plain, output, alpha=1.0)
    value = mixed(SimpleNamespace(logits=output(states)), labels)
    share, order = mixed.share, mixed.order
    assert 0 < share < 1
    assert sorted(order.tolist()) == list(range(6))
    logits = functional.linear(share * states + (1 - share) * states[order], output.weight, output.bias)
    truth = labels if several else functional.one_hot(labels, 3).float()
    targets = share * truth + (1 - share) * truth[order]
    loss = functional.binary_cross_entropy_with_logits if several else functional.cross_entropy
    assert value.item() == pytest.approx(loss(logits, targets).item(), rel=1e-5)
    assert torch.equal(output.eval()(states), functional.linear(states, output.weight, output.bias))


@pytest.mark.parametrize(("model", "method"), [("bert", "full"), ("roberta", "lora"), ("bert", "head")])
def test_both_engines_mix_alike(
    model: str, method: str, train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers are given: the engines draw other ones from torch's generator in between."""
    words = [f"method={method}", "training.max_steps=2", "training.log_steps=1", "model.dropout=0", "baselines=[]"]
    words += ["method.dropout=0"] if method == "lora" else []
    found = {}
    for engine, mixup in (("auto", 0.4), ("plain", 0.4), ("auto", 0)):
        given = torch.Generator().manual_seed(1)
        mix = lambda _, rows, given=given: (0.6, torch.randperm(rows, generator=given))  # noqa: E731
        monkeypatch.setattr("ftclf.training.mixup.draw", mix)
        folder = train_tiny(
            *words, f"training.mixup={mixup}", f"training.engine={engine}", folder=f"{engine}{mixup}", model=model
        )
        found[engine, mixup] = losses(folder)
        assert read_json(folder.manifest)["engine"] == {"auto": "cpu_blocks"}.get(engine, engine)
    assert found["auto", 0.4] == pytest.approx(found["plain", 0.4], rel=1e-3)
    assert found["auto", 0.4] != pytest.approx(found["auto", 0], rel=1e-3)


def test_a_network_without_a_pooled_state_is_refused(tmp_path: Path, capsys: Any) -> None:
    from conftest import make_rows, write_csv
    from many_models import make_many

    model = make_many(tmp_path / "models", "gpt2")["gpt2"]
    data = write_csv(tmp_path / "rows.csv", make_rows(60))
    words = ["training.mixup=0.4", "training.max_steps=1", "method=full", "dataset.max_length=32"]
    assert run(tiny_words(model, data, tmp_path / "run", *words)) == 2
    assert "error: training.mixup: gpt2 labels every token" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_mixes_the_same_rows(train_tiny: TrainTiny, tmp_path: Path) -> None:
    import shutil

    words = ["training.mixup=0.4", "training.log_steps=1", "baselines=[]", "training.keep_checkpoints=true"]
    whole, begun = (train_tiny(*words, folder=name) for name in ("whole", "begun"))
    begun.metrics.unlink()
    shutil.rmtree(max(begun.resumable.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2])))
    train_tiny(*words, folder="begun")
    assert read_json(begun.manifest)["resumes"]
    assert losses(begun) == losses(whole)
