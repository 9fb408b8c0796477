"""Fine-tune small encoders for text classification, fully or with LoRA, from composed configs.

    config = ftclf.compose("dataset=go_emotions", "method=lora")
    run = ftclf.train(config)
    model = ftclf.load(run)
    model.predict(["what a day"])

The functions do what the commands of the same names do, print nothing, and raise what is in `ftclf.errors`. Nothing
heavy is imported before one of them needs it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ftclf.system import errors as errors
from ftclf.system.library import as_library

if TYPE_CHECKING:
    from ftclf.checkpoint.eval import SplitScores
    from ftclf.checkpoint.predictor import Model
    from ftclf.config import TrainConfig
    from ftclf.report.leaderboard import Leaderboard
    from ftclf.training.trained_run import TrainedRun

__all__ = ["__version__", "compare", "compose", "errors", "evaluate", "load", "train"]
__version__ = "0.2.0"

sys.modules[f"{__name__}.errors"] = errors  # `from ftclf.errors import ConfigError`

AnyPath = str | os.PathLike[str]


@as_library
def compose(*words: str) -> TrainConfig:
    """Return the checked config of a run, from the words of a command line: `compose("dataset=go_emotions", "r=8")`.

    Raises ConfigError with a line for each problem.
    """
    from ftclf.cli.from_python import train_config

    return train_config(words)


@as_library
def train(config: TrainConfig, folder: AnyPath | None = None, *, progress: bool = False) -> TrainedRun:
    """Train a classifier in this process, in a new folder below `config.runs_dir` or in the one that is given.

    An unfinished run of the same settings in the folder goes on; a finished one is returned as it is.
    """
    from ftclf.cli.from_python import train_in_process

    return train_in_process(config, folder)


@as_library
def load(path: AnyPath, *, decide: str | None = None) -> Model:
    """Load the checkpoint of a run, ready to label texts.

    `path` is whatever `ftclf predict` takes; `decide` names another of the decision rules of several labels per row.
    """
    from ftclf.checkpoint.predictor import load_model

    return load_model(path, decide=decide)


@as_library
def evaluate(path: AnyPath, *words: str, progress: bool = False) -> SplitScores:
    """Score a checkpoint on a split, as `ftclf eval` does: `evaluate(run, "split=validation")`."""
    from ftclf.cli.from_python import evaluate_from_words

    return evaluate_from_words(path, words)


@as_library
def compare(
    paths: AnyPath | Iterable[AnyPath], *, sort: str | None = None, equal_within: float | None = None
) -> Leaderboard:
    """Compare finished runs, best first on validation, as `ftclf compare` does.

    `sort` is the score that orders them, and a difference smaller than `equal_within` (0.01) is none.
    """
    from ftclf.cli.from_python import compare_paths

    return compare_paths(paths, sort, equal_within)


def __dir__() -> list[str]:
    return sorted(__all__)
