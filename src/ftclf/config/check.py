"""All problems of a config at once, each as one line."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from ftclf.config.did_you_mean import did_you_mean, value_instead
from ftclf.config.extra import extra_problems
from ftclf.config.settings import (
    CALIBRATIONS,
    CHOOSING_METRICS,
    EDITS,
    LOSS_TASKS,
    LOSSES,
    PACKAGE,
    REQUIRED,
    ROWS_TARGET,
    SCALINGS,
    SEPARATOR,
    SHA256,
    TARGET,
    CheckConfig,
    DatasetConfig,
    EditsAugmentConfig,
    LoraConfig,
    TrainConfig,
    TrainingConfig,
)
from ftclf.system.errors import ConfigError, short

# Settings that take the value of another unless they are given.
FOLLOWERS = {"training.learning_rate": "method.learning_rate", "training.epochs": "dataset.default_epochs"}
CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
PATTERNS = {r"\w+": "letters, digits and _", PACKAGE: "the name of a package", SHA256: "64 hexadecimal digits"}
PATTERNS[TARGET] = "max, median, a number of rows as 500, or a share of the largest label's rows as 0.5"
PATTERNS[ROWS_TARGET] = f"all, {PATTERNS[TARGET]}"
PATTERNS[SEPARATOR] = r"one character, or \t"


def check(config: Any) -> None:
    """Raise one ConfigError that holds a line for every setting that is missing or out of its range."""
    problems = [*_problems(config, "")]
    if isinstance(data := getattr(config, "dataset", None), DatasetConfig):
        problems += _dataset_problems(data)
    if isinstance(config, TrainConfig):
        problems += _cross_checks(config)
    if isinstance(config, CheckConfig):
        problems += _check_problems(config)
    for follower, leader in FOLLOWERS.items():  # the same mistake, said once
        said = {line.replace(leader, follower) for line in problems if line.startswith(f"{leader}:")}
        problems = [line for line in problems if line not in said]
    if problems:
        raise ConfigError("\n".join(problems))


def _dataset_problems(data: DatasetConfig) -> Iterator[str]:
    if data.group_column and data.time_column:
        yield f"dataset.time_column: got '{data.time_column}', allowed without dataset.group_column; drop one"


def _problems(config: Any, prefix: str) -> Iterator[str]:
    for item in fields(config):
        where, value = f"{prefix}{item.name}", getattr(config, item.name)
        if is_dataclass(value):
            yield from _problems(value, f"{where}.")
        elif (isinstance(value, str) and value == REQUIRED) or value is MISSING:
            yield f"{where}: not given; {item.metadata.get('about', 'required')}. Add {where}=..."
        elif value is not None:
            yield from _range_problems(where, value, item)


def _range_problems(where: str, value: Any, item: Field[Any]) -> Iterator[str]:
    choices: tuple[str, ...] = item.metadata.get("choices", ())
    for one in value if isinstance(value, list) else [value]:
        if choices and one not in choices:
            known = value_instead(where, str(one))
            hint = f"; {known}" if known else f".{did_you_mean(str(one), choices)}"
            yield f"{where}: got '{one}', allowed: {', '.join(choices)}{hint}"
    if isinstance(value, str):
        yield from _text_problems(where, value, item)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    low, high, above = (item.metadata.get(key) for key in ("low", "high", "above"))
    if not math.isfinite(value):
        yield f"{where}: got {value}, allowed: finite numbers"
    elif (
        (low is not None and value < low)
        or (high is not None and value > high)
        or (above is not None and value <= above)
    ):
        bounds = [
            f"{name} {bound}" for name, bound in (("from", low), ("above", above), ("to", high)) if bound is not None
        ]
        yield f"{where}: got {value}, allowed: {' '.join(bounds)}"


def _text_problems(where: str, value: str, item: Field[Any]) -> Iterator[str]:
    pattern, shown = item.metadata.get("pattern"), short(repr(value)[1:-1])  # on one line, whatever it holds
    if pattern and not re.fullmatch(pattern, value):
        yield f"{where}: got '{shown}', allowed: {PATTERNS.get(pattern, 'letters, digits and . _ + -')}"
    if item.metadata.get("path") and (not value.strip() or CONTROL.search(value) or _too_long(value)):
        yield (f"{where}: got '{shown}', allowed: a path of names up to 255 bytes, without control characters")


def _too_long(path: str) -> bool:
    """Return whether no file system takes a path."""
    return len(os.fsencode(path)) > 4000 or any(len(os.fsencode(part)) > 255 for part in path.split("/"))


def _cross_checks(config: TrainConfig) -> Iterator[str]:
    data = config.dataset
    if data.source == "files" and not data.train:
        yield "dataset.train: not given; dataset=files needs a file, as in dataset.train=reviews.csv"
    if data.label_column == data.text_column and not data.label_columns:
        yield f"dataset.label_column: '{data.label_column}' is the column of the text too; name the one of the labels"
    if max(data.validation_size, data.test_size) <= 0.5 and data.validation_size + data.test_size >= 0.9:
        yield (
            f"dataset.validation_size: {data.validation_size} and test_size {data.test_size} leave too little to "
            "train on, allowed: less than 0.9 together"
        )
    if isinstance(config.method, LoraConfig) and config.method.init == "orthogonal" and config.method.r % 2:
        yield f"method.r: got {config.method.r}, allowed with method.init=orthogonal: even numbers"
    of_other_task = {name for task, names in CHOOSING_METRICS.items() if task != data.task for name in names}
    if config.training.metric in of_other_task - set(CHOOSING_METRICS.get(data.task, ())):
        allowed = ", ".join(CHOOSING_METRICS[data.task])
        yield f"training.metric: got '{config.training.metric}', allowed with dataset.task={data.task}: {allowed}"
    if data.label_columns and data.task != "multi_label":
        yield "dataset.label_columns: a column a label is for several labels a row; add dataset.task=multi_label"
    allowed_here = ("auto", *SCALINGS.get(data.task, ()))
    if config.decision.calibration in set(CALIBRATIONS) - set(allowed_here):
        yield (
            f"decision.calibration: got '{config.decision.calibration}', allowed with dataset.task={data.task}: "
            + ", ".join(allowed_here)
        )
    if (task := LOSS_TASKS.get(config.loss.kind, data.task)) != data.task:
        others = ", ".join(name for name in LOSSES if LOSS_TASKS.get(name, data.task) == data.task)
        yield f"loss: got '{config.loss.kind}', which is for dataset.task={task}, allowed with {data.task}: {others}"
    if isinstance(config.augment, EditsAugmentConfig) and not config.augment.edits:
        yield "augment.edits: got [], allowed: one or more of " + ", ".join(EDITS)
    yield from _training_problems(config.training)
    yield from extra_problems(config.training.extra)


def _check_problems(config: CheckConfig) -> Iterator[str]:
    if config.apply and not config.fix:
        yield "apply: allowed with fix, the new folder for the corrected copy; add fix=FOLDER"
    if config.apply and config.labels:
        yield "labels: got true, allowed without apply; give one after the other"


def _training_problems(training: TrainingConfig) -> Iterator[str]:
    last = 2**32 - training.seeds
    if training.seed > last and training.seeds > 1:
        yield f"training.seed: got {training.seed}, allowed with training.seeds={training.seeds}: up to {last}"
    if training.precision == "fp16" and training.device == "cpu":
        yield "training.precision: got 'fp16', allowed with training.device=cpu: auto, bf16, fp32"
    if training.compile and training.gradient_checkpointing:
        yield "training.compile: got true, allowed without training.gradient_checkpointing"
    if training.compile and training.mixup:
        yield f"training.compile: got true, allowed without training.mixup={training.mixup:g}"
    steps, between = training.max_steps, training.eval_steps
    if steps is not None and between is not None and between > steps:
        yield f"training.eval_steps: got {between}, allowed with training.max_steps={steps}: up to {steps}"
