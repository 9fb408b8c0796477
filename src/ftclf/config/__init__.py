"""Every setting as a typed dataclass with its range, and where the yaml files are. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftclf.config.check import check
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
    TrainConfig,
    TrainingConfig,
    choosing_metric,
)
from ftclf.errors import ConfigError

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
    "TrainConfig",
    "TrainingConfig",
    "check",
    "choosing_metric",
    "config_folder",
    "model_config_from",
    "train_config_from",
]


def config_folder() -> Path:
    """Return the folder of the packaged yaml files: inside the installed wheel, else at the top of the checkout."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "configs", here.parents[1] / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"configs: no train.yaml beside {here}; reinstall ftclf")


def train_config_from(raw: dict[str, Any]) -> TrainConfig:
    """Build the config that a run folder's config.json holds. Raises TypeError or KeyError for anything else."""
    method = METHODS[raw["method"]["kind"]](**raw["method"])
    nested = {
        "dataset": DatasetConfig(**raw["dataset"]),
        "model": model_config_from(raw["model"]),
        "method": method,
        "training": TrainingConfig(**raw["training"]),
        "decision": DecisionConfig(**raw["decision"]),
    }
    return TrainConfig(**{**raw, **nested})


def model_config_from(raw: dict[str, Any]) -> ModelConfig:
    """Build a model's config from its json."""
    return ModelConfig(**{**raw, "pin": PinConfig(**raw["pin"])})
