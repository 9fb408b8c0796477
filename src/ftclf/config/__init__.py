"""Every setting as a typed dataclass with its range, and where the yaml files are. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ftclf.config.check import check
from ftclf.config.from_json import restore
from ftclf.config.settings import (
    CHOOSING_METRICS,
    HEADLINES,
    LOWER_IS_BETTER,
    METHODS,
    DatasetConfig,
    DecisionConfig,
    EvalConfig,
    FullConfig,
    HeadConfig,
    LoraConfig,
    MethodConfig,
    ModelConfig,
    PinConfig,
    PredictConfig,
    TfidfConfig,
    TrainConfig,
    TrainingConfig,
    choosing_metric,
)
from ftclf.system.errors import ConfigError

__all__ = [
    "CHOOSING_METRICS",
    "HEADLINES",
    "LOWER_IS_BETTER",
    "METHODS",
    "DatasetConfig",
    "DecisionConfig",
    "EvalConfig",
    "FullConfig",
    "HeadConfig",
    "LoraConfig",
    "MethodConfig",
    "ModelConfig",
    "PinConfig",
    "PredictConfig",
    "TfidfConfig",
    "TrainConfig",
    "TrainingConfig",
    "check",
    "choosing_metric",
    "config_folder",
    "method_config_from",
    "restore",
    "train_config_from",
]

RETIRED = (
    ("together", False),
)  # settings of training that earlier versions wrote, with the value that changed nothing


def config_folder() -> Path:
    """Return the folder of the packaged yaml files: inside the installed wheel, else at the top of the checkout."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "configs", here.parents[1] / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"configs: no train.yaml beside {here}; reinstall ftclf")


def train_config_from(raw: Any) -> TrainConfig:
    """Build the config that a run folder's config.json holds. Raises TypeError for anything else."""
    rest = {name: value for name, value in raw.items() if name != "method"} if isinstance(raw, dict) else raw
    if isinstance(rest, dict) and isinstance(training := rest.get("training"), dict):
        rest["training"] = {name: value for name, value in training.items() if (name, value) not in RETIRED}
    return replace(restore(TrainConfig, rest), method=method_config_from(raw.get("method")))


def method_config_from(raw: Any) -> MethodConfig:
    """Build a method's config from its json. Raises TypeError for anything else."""
    kind = raw.get("kind") if isinstance(raw, dict) else None
    if kind not in METHODS:
        raise TypeError(f"method.kind is {kind!r}, none of {', '.join(METHODS)}")
    return restore(METHODS[kind], raw, "method")
