"""The head of a folder that was trained for labels: kept where they are those of the data, told by their names."""

from __future__ import annotations

import copy
from typing import Any

from ftclf.system.errors import short


def named_labels(settings: Any) -> list[str]:
    """Return the label names of a model's settings, in the order of its output."""
    names = settings.id2label or {}
    return [str(names[index]) for index in sorted(names)]


def fit_output(network: Any, trained_for: list[str], missing: set[str], mismatched: set[str]) -> tuple[set[str], str]:
    """Let a network's output be one of the labels that its settings name, where its folder's was one of others.

    `missing` are the parameters that the folder did not have, `mismatched` those that it had in another size. Returns
    what begins anew besides them, and what became of the head in words: nothing where there was none, or it is kept.
    """
    names, base = named_labels(network.config), f"{network.base_model_prefix}."
    others = f"is for other labels ({short(', '.join(trained_for))}): its output begins anew"
    head = {name for name, _ in network.named_parameters() if not name.startswith(base)}
    if names == trained_for or head <= missing:
        return set(), ""
    if mismatched:
        return set(), others
    outputs = output_parameters(network)
    if outputs.keys() & missing:
        return set(), ""
    if sorted(names) == sorted(trained_for):
        _reorder(network, outputs, [trained_for.index(name) for name in names])
        return set(), "has these labels in another order: its output is put into the order of the data"
    _begin_anew(network, outputs)
    return set(outputs), others


def output_parameters(network: Any) -> dict[str, int]:
    """Return the parameters that have a row for each label, with the dimension of these rows."""
    import torch

    shapes = []
    for more in (0, 1):
        settings = copy.deepcopy(network.config)
        settings.num_labels += more
        with torch.device("meta"):
            shapes.append({name: one.shape for name, one in type(network)(settings).named_parameters()})
    fewer, larger = shapes
    unlike = {name: [a != b for a, b in zip(shape, larger[name], strict=True)] for name, shape in fewer.items()}
    return {name: dimensions.index(True) for name, dimensions in unlike.items() if any(dimensions)}


def _reorder(network: Any, outputs: dict[str, int], order: list[int]) -> None:
    import torch

    for name, dimension in outputs.items():
        parameter = network.get_parameter(name)
        parameter.data = parameter.data.index_select(dimension, torch.tensor(order))


def _begin_anew(network: Any, outputs: dict[str, int]) -> None:
    """Draw weights as transformers draws them for an output that a folder lacks."""
    import torch

    spread = getattr(network.config, "initializer_range", 0.02)
    with torch.no_grad():
        for name in outputs:
            parameter = network.get_parameter(name)
            parameter.normal_(0.0, spread) if parameter.ndim > 1 else parameter.zero_()
