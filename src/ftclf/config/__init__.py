"""Every setting as a typed dataclass with its range, and where the yaml files are. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
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
    VARIANTS,
    AugmentConfig,
    CappedSamplerConfig,
    CheckConfig,
    ContextualAugmentConfig,
    DatasetConfig,
    DecisionConfig,
    EditsAugmentConfig,
    EvalConfig,
    FullConfig,
    HeadConfig,
    LevelledConfig,
    LoraConfig,
    LossConfig,
    MethodConfig,
    ModelConfig,
    PinConfig,
    PredictConfig,
    RowsAugmentConfig,
    SamplerConfig,
    SentencesAugmentConfig,
    SynonymsAugmentConfig,
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
    "VARIANTS",
    "AugmentConfig",
    "CappedSamplerConfig",
    "CheckConfig",
    "ContextualAugmentConfig",
    "DatasetConfig",
    "DecisionConfig",
    "EditsAugmentConfig",
    "EvalConfig",
    "FullConfig",
    "HeadConfig",
    "LevelledConfig",
    "LoraConfig",
    "LossConfig",
    "MethodConfig",
    "ModelConfig",
    "PinConfig",
    "PredictConfig",
    "RowsAugmentConfig",
    "SamplerConfig",
    "SentencesAugmentConfig",
    "SynonymsAugmentConfig",
    "TfidfConfig",
    "TrainConfig",
    "TrainingConfig",
    "check",
    "choosing_metric",
    "config_folder",
    "every_variant",
    "restore",
    "train_config_from",
    "variant_from",
]

RETIRED = (
    ("together", False),
    ("label_smoothing", 0.0),
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
    rest = {name: value for name, value in raw.items() if name not in VARIANTS} if isinstance(raw, dict) else raw
    variants = {group: raw[group] for group in VARIANTS if group in raw} if isinstance(raw, dict) else {}
    if isinstance(rest, dict) and isinstance(training := rest.get("training"), dict):
        rest["training"] = {name: value for name, value in training.items() if (name, value) not in RETIRED}
        if smoothing := rest["training"].pop("label_smoothing", None):  # of earlier versions
            variants["loss"] = {"kind": "label_smoothing", "smoothing": smoothing}
    config = restore(TrainConfig, rest)
    return replace(config, **{group: variant_from(group, found) for group, found in variants.items()})


def every_variant() -> Iterator[tuple[str, type[Any]]]:
    """Yield the group and the dataclass of each variant."""
    return ((group, variant) for group, variants in VARIANTS.items() for variant in variants.values())


def variant_from(group: str, raw: Any) -> Any:
    """Build the config of a group with several variants from its json. Raises TypeError for anything else."""
    kind, variants = raw.get("kind") if isinstance(raw, dict) else None, VARIANTS[group]
    if kind not in variants:
        raise TypeError(f"{group}.kind is {kind!r}, none of {', '.join(variants)}")
    return restore(variants[kind], raw, group)
