"""Steps that are recorded and replayed on a GPU train what steps kernel by kernel train."""

from __future__ import annotations

import itertools
import json
from collections import deque
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import TrainTiny, tiny_words
from ftclf.cli.main import run
from ftclf.config import TrainingConfig
from ftclf.config.settings import LOSS_TASKS, LOSSES
from ftclf.fast.gpu.recorded import Launched, RecordedSteps, can_record
from ftclf.fast.gpu.shapes import filled_up, rounded_up
from ftclf.score.task import MULTI_LABEL, SINGLE_LABEL
from ftclf.storage.run_folder import Run
from ftclf.training.losses import training_loss
from ftclf.training.trainer import ClassifierTrainer

pytestmark = pytest.mark.usefixtures("no_pictures")

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@given(st.integers(1, 10**6))
def test_sizes_are_few_and_an_eighth_too_large_at_most(count: int) -> None:
    size = rounded_up(count)
    assert count <= size <= max(count + 3, count * 9 / 8)
    assert rounded_up(size) == size


def test_an_octave_has_eight_sizes() -> None:
    assert len({rounded_up(count) for count in range(257, 513)}) == 8
    assert len({rounded_up(count) for count in range(1, 65)}) == 16


@given(rows=st.integers(1, 40), length=st.integers(1, 40), several=st.booleans())
def test_what_fills_a_batch_up_changes_no_loss(rows: int, length: int, several: bool) -> None:
    torch.manual_seed(rows)
    labels = torch.randint(2, (rows, 3)).float() if several else torch.randint(3, (rows,))
    mask = torch.ones(rows, length, dtype=torch.int64)
    batch = {"input_ids": torch.randint(5, 9, (rows, length)), "attention_mask": mask, "labels": labels}
    filled = filled_up(batch, pad_id=1, longest=37 if length <= 37 else 40)
    assert filled["input_ids"].shape == (rounded_up(rows), min(rounded_up(length), 37 if length <= 37 else 40))
    assert torch.equal(filled["input_ids"][:rows, :length], batch["input_ids"])
    assert (filled["input_ids"][rows:] == 1).all()
    assert (filled["input_ids"][:, length:] == 1).all()
    assert filled["attention_mask"].sum() == rows * length + rounded_up(rows) - rows
    assert (filled["attention_mask"].sum(1) > 0).all()

    logits, task = torch.randn(rounded_up(rows), 3), MULTI_LABEL if several else SINGLE_LABEL
    kinds = [kind for kind in LOSSES if LOSS_TASKS.get(kind, task.name) == task.name]
    for count, kind in itertools.product((None, 32), kinds):
        counts = np.array([9, 3, 1])
        loss = training_loss(LOSSES[kind](kind=kind), task, counts, train_rows=20, rows_per_step=count)
        alone = loss(Outputs(logits[:rows]), labels)
        assert loss(Outputs(logits), filled["labels"]) == pytest.approx(float(alone), rel=1e-5)


class Outputs:
    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


def test_only_steps_that_are_all_the_same_are_recorded() -> None:
    def settings(**changes: Any) -> TrainingConfig:
        return TrainingConfig(epochs=1, learning_rate=1e-3, **changes)

    assert can_record(settings(), "cuda", "bf16")
    assert can_record(settings(), "cuda", "fp32")
    assert can_record(settings(extra={"adam_beta2": 0.98}), "cuda", "bf16")
    assert not can_record(settings(), "cpu", "bf16")
    assert not can_record(settings(), "mps", "fp32")
    assert not can_record(settings(), "cuda", "fp16")
    for changes in (
        {"graphs": False},
        {"accumulation": 2},
        {"optimizer": "sgd"},
        {"gradient_checkpointing": True},
        {"compile": True},
        {"extra": {"optim": "adafactor"}},
    ):
        assert not can_record(settings(**changes), "cuda", "bf16"), changes


class OnCPU(RecordedSteps):
    """Steps that are trained and never recorded, without a GPU."""

    def __init__(self, loss_of: Any, update: Any, device: Any) -> None:
        self.loss_of, self.update = loss_of, update
        self.found, self.under_way = torch.zeros(2), deque()

    def launch(self, batch: Any) -> Launched:
        self._train(batch)
        return Launched(self.found.clone(), SimpleNamespace(synchronize=lambda: None))


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch, quick_interpreter: None) -> None:
    """Train as on a GPU, kernels in triton's interpreter."""
    if torch.cuda.is_available():
        pytest.skip("a GPU trains so itself")
    pytest.importorskip("triton", reason="needs triton")
    from ftclf.fast.gpu.engine import GraphEngine

    monkeypatch.setattr("ftclf.fast.choose_engine", GraphEngine)
    monkeypatch.setattr(
        "ftclf.fast.gpu.engine.packs", lambda network, *_, **__: network.config._attn_implementation == "sdpa"
    )
    monkeypatch.setattr("ftclf.fast.gpu.packed.TOKENS", 8)
    monkeypatch.setattr("ftclf.fast.gpu.packed.TEXTS", 4)
    monkeypatch.setattr("ftclf.fast.gpu.updates.Layout.CHUNK", 1 << 15)  # the interpreter's programs take as long each
    monkeypatch.setattr("torch.cuda.Stream", lambda: None)
    monkeypatch.setattr("ftclf.fast.gpu.engine.computing_in", nullcontext)
    monkeypatch.setattr("ftclf.fast.gpu.steps.RecordedSteps", OnCPU)
    monkeypatch.setattr("ftclf.system.imports.may_have_gpu", lambda: True)


SEVERAL = ("method=full", "dataset.task=multi_label", "training.batching=by_length")


@pytest.mark.slow
@pytest.mark.parametrize("words", [SEVERAL, ("method=lora", "method.dropout=0", "training.batching=random")])
def test_steps_made_as_for_a_gpu_train_what_others_train(
    words: tuple[str, ...], train_tiny: TrainTiny, request: pytest.FixtureRequest
) -> None:
    few = (
        "model.dropout=0",
        "model.attention_dropout=0",
        "training.batch_size=2",
        "training.max_steps=2",
        "training.log_steps=1",
        "baselines=[]",
        *words,
    )
    usual = lines(train_tiny(*few, folder="usual"))
    request.getfixturevalue("as_on_a_gpu")
    padded = lines(train_tiny(*few, "model.attention=eager", folder="padded"))
    packed = lines(train_tiny(*few, "model.attention=sdpa", folder="packed"))
    for found in (padded, packed):
        assert len(found) == len(usual)
        for one, wanted in zip(found, usual, strict=True):
            assert one.keys() == wanted.keys()
            for name in ("loss", "grad_norm"):
                assert one.get(name, 0) == pytest.approx(wanted.get(name, 0), rel=1e-3)
            assert one.get("learning_rate") == wanted.get("learning_rate")


WORDS = ("training.log_steps=1", "training.epochs=3", "baselines=[]")


class Again:
    """A recording that trains kernel by kernel."""

    def __init__(self, steps: RecordedSteps, inputs: Any) -> None:
        self.steps, self.inputs = steps, inputs

    def replay(self) -> None:
        self.steps._train(self.inputs)


def again(steps: RecordedSteps, inputs: Any) -> Again:
    return Again(steps, inputs)


@gpu
@pytest.mark.parametrize(
    "words",
    [
        ("method=full",),
        ("method=full", "training.precision=bf16"),
        ("method=lora", "training.precision=bf16"),
        ("method=lora", "training.batching=random"),
    ],
)
@pytest.mark.parametrize("model", ["bert", "distilbert", "roberta"])
def test_a_replayed_step_is_the_step(
    words: tuple[str, ...], model: str, train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed = lines(train_tiny(*WORDS, *words, model=model, folder="replayed"))
    monkeypatch.setattr(RecordedSteps, "_recorded", again)
    wanted = lines(train_tiny(*WORDS, *words, model=model, folder="wanted"))
    assert len(replayed) == len(wanted) > 20
    for name in ("loss", "grad_norm", "learning_rate"):
        found = [[line[name] for line in one if name in line] for one in (replayed, wanted)]
        assert np.allclose(*found, rtol=1e-3), name


def lines(done: Run) -> list[dict[str, float]]:
    return [json.loads(line) for line in done.history.read_text().splitlines()]


@gpu
def test_every_step_is_recorded_but_the_first_of_each_shape(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    train = RecordedSteps._train
    monkeypatch.setattr(RecordedSteps, "_train", lambda self, inputs: (trained.append(1), train(self, inputs))[1])
    done = train_tiny(*WORDS, "training.epochs=20")
    steps = sum("loss" in line for line in lines(done))
    assert len(trained) < steps / 2


@gpu
def test_a_learning_rate_that_is_too_large_is_told_with_its_step(
    tiny_models: dict[str, Path], reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tiny_words(tiny_models["bert"], reviews, tmp_path / "run", "method=full", *WORDS)
    assert run([*words, "training.learning_rate=10", "training.weight_decay=10", "training.epochs=50"]) == 4
    assert "in step" in capsys.readouterr().err


@gpu
def test_a_run_that_was_stopped_goes_on(train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftclf.system.signals import Stopped

    whole = lines(train_tiny(*WORDS, folder="whole"))
    save = ClassifierTrainer._save_checkpoint

    def stopping(self: ClassifierTrainer, *args: Any) -> None:
        save(self, *args)
        if self.state.epoch == 1:
            raise Stopped(15, "")

    monkeypatch.setattr(ClassifierTrainer, "_save_checkpoint", stopping)
    with pytest.raises(AssertionError):
        train_tiny(*WORDS, folder="stopped")
    monkeypatch.setattr(ClassifierTrainer, "_save_checkpoint", save)
    resumed = lines(train_tiny(*WORDS, folder="stopped"))
    found = [[line["loss"] for line in one if "loss" in line] for one in (resumed, whole)]
    assert np.allclose(*found, rtol=1e-3)
