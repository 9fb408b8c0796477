"""All problems of a config at once, each as one line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from ftclf.config.settings import CALIBRATIONS, CHOOSING_METRICS, REQUIRED, LoraConfig, TrainConfig
from ftclf.errors import ConfigError, did_you_mean


def check(config: Any) -> None:
    """Raise one ConfigError that holds a line for every setting that is missing or out of its range."""
    problems = [*_problems(config, "")]
    if isinstance(config, TrainConfig):
        problems += _cross_checks(config)
    if problems:
        raise ConfigError("\n".join(problems))


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
            yield f"{where}: got '{one}', allowed: {', '.join(choices)}.{did_you_mean(str(one), choices)}"
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


def _cross_checks(config: TrainConfig) -> Iterator[str]:
    data = config.dataset
    if data.source == "files" and not data.train:
        yield "dataset.train: not given; dataset=files needs a file, as in dataset.train=reviews.csv"
    if data.label_column == data.text_column and not data.label_columns:
        yield f"dataset.label_column: '{data.label_column}' is the column of the text too; name the one of the labels"
    if data.validation_size + data.test_size >= 0.9:
        yield (
            f"dataset.validation_size: {data.validation_size} and test_size {data.test_size} leave too little to "
            "train on, allowed: less than 0.9 together"
        )
    if config.name is not None and not re.fullmatch(r"[\w.+-]{1,100}", config.name):
        yield f"name: got '{config.name}', allowed: letters, digits and . _ + - (it becomes a folder name)"
    if isinstance(config.method, LoraConfig) and config.method.init == "orthogonal" and config.method.r % 2:
        yield f"method.r: got {config.method.r}, allowed with method.init=orthogonal: even numbers"
    of_other_task = {name for task, names in CHOOSING_METRICS.items() if task != data.task for name in names}
    if config.training.metric in of_other_task - set(CHOOSING_METRICS.get(data.task, ())):
        allowed = ", ".join(CHOOSING_METRICS[data.task])
        yield f"training.metric: got '{config.training.metric}', allowed with dataset.task={data.task}: {allowed}"
    if data.label_columns and data.task != "multi_label":
        yield "dataset.label_columns: a column a label is for several labels a row; add dataset.task=multi_label"
    allowed_here = (
        ("auto", "none", "temperature") if data.task == "single_label" else ("auto", "none", "platt", "isotonic")
    )
    if config.decision.calibration in set(CALIBRATIONS) - set(allowed_here):
        yield (
            f"decision.calibration: got '{config.decision.calibration}', allowed with dataset.task={data.task}: "
            + ", ".join(allowed_here)
        )
    if data.task == "multi_label" and config.training.label_smoothing:
        yield "training.label_smoothing: it is for one label a row; leave it 0 with dataset.task=multi_label"
    reserved = sorted(set(config.training.extra) & RESERVED_ARGUMENTS)
    for key in reserved:
        yield f"training.extra.{key}: ftclf sets it itself; use the setting of its own, or leave it out"


# Fields of TrainingArguments that ftclf's own settings or its promises depend on.
RESERVED_ARGUMENTS = {
    "output_dir",
    "num_train_epochs",
    "max_steps",
    "learning_rate",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "seed",
    "bf16",
    "fp16",
    "use_cpu",
    "report_to",
    "remove_unused_columns",
    "load_best_model_at_end",
    "metric_for_best_model",
    "greater_is_better",
    "eval_strategy",
    "save_strategy",
    "eval_steps",
    "eval_delay",
    "save_steps",
    "save_total_limit",
    "save_only_model",
    "ignore_data_skip",
    "optim",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "logging_steps",
    "data_seed",
    "dataloader_drop_last",
    "dataloader_num_workers",
    "resume_from_checkpoint",
    "trust_remote_code",
    "push_to_hub",
    "logging_nan_inf_filter",
    "train_sampling_strategy",
    "label_smoothing_factor",
}
