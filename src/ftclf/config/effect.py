"""Settings that change nothing for a method that trains no network."""

from __future__ import annotations

from typing import Any

from ftclf.config.settings import METHODS

EFFECTIVE = ("training.seed", "training.seeds", "training.threads")  # of the groups training and model
OF_DATA = ("dataset.max_length", "dataset.default_epochs")  # settings of the data that are about tokens and steps
SHOWN = ("model.name", "model.pin.name", "model.pin.alias")  # what tables name a model by


def is_for_network(name: str) -> bool:
    """Return whether a setting, or a whole group of them, has an effect on networks alone."""
    if name in OF_DATA or name == "start_from":
        return True
    return name.partition(".")[0] in ("model", "loss", "sampler", "augment", "training") and name not in EFFECTIVE


def has_effect(name: str, settings: dict[str, Any]) -> bool:
    """Return whether a setting had an effect in the run of these flat settings; the name of a model always has."""
    method = METHODS.get(str(settings.get("method.kind")))
    if method is None or method.needs_network or name in SHOWN:
        return True
    return not is_for_network(name) and name != "method.learning_rate"


def effective(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the flat settings of a run that had an effect."""
    return {name: value for name, value in settings.items() if has_effect(name, settings)}
