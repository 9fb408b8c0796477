"""How long is trained where nobody says it, which weights are kept, and what is said where that was not enough."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_rows, tiny_words, write_csv
from ftclf.cli.main import run
from ftclf.score.task import MULTI_LABEL, SINGLE_LABEL, Task
from ftclf.storage.run_folder import Run, read_json
from ftclf.training.prepare import LEAST_EXAMPLES, MANY, MOST_TOKENS, usual_epochs
from ftclf.training.trainer import ClassifierTrainer

pytestmark = pytest.mark.usefixtures("no_pictures")


@given(
    rows=st.integers(2, 10**7),
    tokens=st.floats(3, 8192),
    task=st.sampled_from([SINGLE_LABEL, MULTI_LABEL]),
)
def test_few_rows_are_seen_often_and_many_at_least_once(rows: int, tokens: float, task: Task) -> None:
    epochs, usual = usual_epochs(rows, tokens, task), 4 if task.several else 3
    assert 1 <= epochs <= 100_000  # what training.epochs may be
    if rows <= MANY:
        assert epochs == int(epochs)
        assert epochs == usual or epochs * rows * tokens <= max(MOST_TOKENS, usual * rows * tokens) + rows * tokens
        assert epochs * rows >= min(LEAST_EXAMPLES, MOST_TOKENS / tokens) - 1e-6
    else:
        assert epochs <= usual
        assert usual_epochs(2 * rows, tokens, task) * 2 * rows >= epochs * rows  # more rows, no fewer examples


def _words(model: Path, data: Path, folder: Path, *more: str) -> list[str]:
    return [word for word in tiny_words(model, data, folder, *more) if word != "training.epochs=2"]


def test_the_length_that_follows_from_the_rows_is_said_and_kept(
    tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, folder = write_csv(tmp_path / "d.csv", make_rows(600)), tmp_path / "run"
    words = _words(tiny_models["bert"], data, folder, "baselines=[]", "dataset.max_length=8", "training.batch_size=64")
    assert run(words) == 0
    rows = read_json(Run(folder).manifest)["rows"]["train"]
    epochs = usual_epochs(rows, 8.0, SINGLE_LABEL)
    assert f"training.epochs={epochs:g}, which is usual for {rows} rows" in capsys.readouterr().out
    assert read_json(Run(folder).config)["training"]["epochs"] == epochs
    assert 3 <= Run(folder).history.read_text().count("validation_log_loss") // 2 <= 13
    assert run(words) == 0  # the same command finds the run that it began
    assert "finished" in capsys.readouterr().out


def _kept(losses: list[tuple[float, float]], steps: int) -> tuple[int | None, int]:
    """Return which evaluation of so many is kept, counted from 1, and after how many training ends."""
    state = SimpleNamespace(best_metric=None, best_global_step=None, global_step=0, max_steps=steps)
    trainer: Any = SimpleNamespace(
        config=SimpleNamespace(metric=None), state=state, control=SimpleNamespace(should_training_stop=False)
    )
    for number, (loss, error) in enumerate(losses, 1):
        state.global_step = number
        ClassifierTrainer._determine_best_metric(trainer, {"eval_log_loss": loss, "eval_log_loss_error": error}, None)
        if trainer.control.should_training_stop:
            return state.best_global_step, number
    return state.best_global_step, len(losses)


def test_later_weights_are_kept_unless_they_are_clearly_worse() -> None:
    assert _kept([(1.0, 0.1), (0.9, 0.1), (0.95, 0.1)], 3) == (3, 3)  # by chance
    assert _kept([(1.0, 0.1), (0.5, 0.1), (0.7, 0.1)], 3) == (2, 3)
    assert _kept([(0.5, 0.1), (0.58, 0.1), (0.66, 0.1)], 3) == (2, 3)  # beside the lowest, not the last one kept
    assert _kept([(0.5, 0.1), *[(0.9, 0.1)] * 11], 12) == (1, 5)  # a third of the steps did nothing
    assert _kept([(0.5, 0.0), (0.5, 0.0)], 2) == (2, 2)


@pytest.mark.parametrize(
    ("more", "advice"),
    [
        (["training.max_steps=1"], "a classifier learns little in 1 step: try training.max_steps=300"),
        (["training.max_steps=1", "dataset.max_length=4"], "of its texts are cut: try dataset.max_length=8"),
        (["training.max_steps=1", "method=head"], "the encoder stays as it is: try method=lora"),
    ],
)
def test_a_better_baseline_is_told_with_what_may_help(
    tiny_models: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    advice: str,
) -> None:
    data = write_csv(tmp_path / "d.csv", make_rows(120))
    words = _words(tiny_models["bert"], data, tmp_path / "run", "training.learning_rate=1e-6", "baselines=[tfidf]")
    assert run([*words, *more]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^accuracy \d+\.\d points below TF-IDF \[", said, re.MULTILINE)
    assert advice in said
