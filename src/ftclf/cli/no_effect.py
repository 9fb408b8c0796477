"""Settings that a command line gives and that would change nothing: said, or refused where other rows would be read."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ftclf.config import CheckConfig, DatasetConfig, LoraConfig, TrainConfig
from ftclf.config.did_you_mean import pasteable
from ftclf.config.effect import is_for_network
from ftclf.config.settings import (
    BASELINES_OF_TFIDF,
    EDITS,
    EditsAugmentConfig,
    FocalLossConfig,
    WeightedLossConfig,
)

FILES = ("train", "validation", "test")
OF_FILES = (
    "columns",
    "separator",
    "quoting",
    "encoding",
    "text_column",
    "label_column",
    "label_file",
    "label_delimiter",
)
OF_SEVERAL = ("rule", "objective", "search", "beta", "k", "min_positives")


def refused(config: TrainConfig, given: Collection[str]) -> Iterator[str]:
    """Yield a line for each given setting of the data set that another one of it would overrule."""
    data = config.dataset
    if data.source != "auto" or not (data.folder or data.package or data.hub):
        return
    for name in FILES:
        if f"dataset.{name}" in given:
            yield (
                f"dataset.{name}: {data.name} comes from {_origin(data)} and not from a file; a file of your own is "
                f"dataset=files dataset.{name}=FILE, a copy in the layout of {data.name} dataset.source=files"
            )
    for name in OF_FILES:
        if data.package and f"dataset.{name}" in given:
            yield f"dataset.{name}: {data.name} is a package of texts; it is for dataset=files"


def ignored(config: TrainConfig, given: Collection[str]) -> Iterator[str]:
    """Yield a line for each given setting that others make useless."""
    data, decision, training = config.dataset, config.decision, config.training
    single = data.task == "single_label"
    cases = {
        **{f"decision.{name}": ("dataset.task=single_label", single) for name in OF_SEVERAL},
        "dataset.protocol": ("dataset.task=multi_label", not single),
        "dataset.label_column": ("dataset.label_columns", bool(data.label_columns)),
        "dataset.first_label_id": ("no dataset.label_file", not data.label_file),
        "dataset.validation_size": ("dataset.validation", bool(data.validation)),
        "dataset.test_size": ("dataset.test", bool(data.test)),
        "training.epochs": ("training.max_steps", training.max_steps is not None),
    }
    if not single:
        cases["decision.k"] = (f"decision.rule={decision.rule}", decision.rule != "top_k")
        for name in ("objective", "search", "beta"):
            cases[f"decision.{name}"] = (f"decision.rule={decision.rule}", decision.rule in ("top_k", "argmax"))
    loss, augment = config.loss, config.augment
    if isinstance(loss, WeightedLossConfig):
        cases["loss.effective_beta"] = (f"loss.scheme={loss.scheme}", loss.scheme != "effective")
    if isinstance(loss, FocalLossConfig):
        cases["loss.positive_share"] = ("dataset.task=single_label", single)
    if isinstance(augment, EditsAugmentConfig):
        only = pasteable(f"augment.edits=[{','.join(augment.edits)}]")
        cases |= {f"augment.{name}": (only, name not in augment.edits) for name in EDITS}
    if isinstance(config.method, LoraConfig):
        cases["method.targets"] = ("method.target_modules", bool(config.method.target_modules))
    for name, (reason, useless) in cases.items():
        if name in given and useless:
            yield f"{name} has no effect with {reason}"
    if not config.method.needs_network:
        yield from _for_networks(config, given)


def ignored_of_check(config: CheckConfig, given: Collection[str]) -> Iterator[str]:
    """Yield a line for each given setting of `ftclf check` that others make useless."""
    cases = {
        "judge": ("labels=false", not config.labels),
        "folds": ("labels=false", not config.labels),
        "similarity": ("semantic=false", not config.semantic),
        "output": ("apply", bool(config.apply)),
        "strict": ("apply", bool(config.apply)),
        "semantic": ("apply", bool(config.apply)),
        "near": ("apply", bool(config.apply)),
    }
    for name, (reason, useless) in cases.items():
        if name in given and useless:
            yield f"{name} has no effect with {reason}"


def _for_networks(config: TrainConfig, given: Collection[str]) -> Iterator[str]:
    """Yield a line for each given setting that a method without a network does not read."""
    method = f"method={config.method.kind}"
    for name in sorted(given):
        if is_for_network(name) or name == "method.learning_rate":
            yield f"{name} has no effect with {method}"
    for name in config.baselines if "baselines" in given else []:
        if name not in BASELINES_OF_TFIDF:
            yield f"baseline {name} is left out with {method}"


def _origin(data: DatasetConfig) -> str:
    places = {"FTCLF_DATA": data.folder, f"the package {data.package}": data.package, "the hub": data.hub}
    return " or ".join(place for place, is_named in places.items() if is_named)
