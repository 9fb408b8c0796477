"""Pictures of a run: confusion matrix, training curves, one setting against a score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.console import one_line

LONGEST_NAME = 40  # characters of a label


def plot_confusion(path: Path, counts: NDArray[np.int64], label_names: list[str], *, title: str) -> None:
    """Draw counts (left) and shares of each true label (right); readable with 28 labels."""
    size = len(label_names)
    names = [one_line(name)[:LONGEST_NAME] for name in label_names]
    side = max(4.0, 0.42 * size + 1.5) + 0.08 * max(0, max(map(len, names)) - 15)  # inches
    figure, axes = _figure(1, 2, (2 * side + 1, side + 0.8))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for axis, numbers, heading, least, form in (
        (axes[0], counts, "rows", 1, "%d"),
        (axes[1], shares, "share of the row", 0.005, "%.2f"),
    ):
        # imshow would blow the picture up in float64: 80 MB with 28 labels.
        axis.pcolormesh(range(size), range(size), shares, cmap="Blues", vmin=0, vmax=1)
        axis.set(aspect="equal", ylim=(size - 0.5, -0.5))
        axis.set_title(f"{title}: {heading}")
        axis.set_xticks(range(size), names, rotation=90 if size > 6 else 30, parse_math=False)
        axis.set_yticks(range(size), names, parse_math=False)
        axis.set_xlabel("predicted")
        axis.set_ylabel("true")
        places: dict[tuple[str, bool], list[tuple[int, int]]] = {}
        for row, column in zip(*np.nonzero(numbers >= least), strict=True):
            shown = (form % numbers[row, column]).removeprefix("0"), bool(shares[row, column] > 0.5)
            places.setdefault(shown, []).append((column, row))
        for (number, dark), where in places.items():
            _write(axis, number, where, 7 if size > 12 else 10, "white" if dark else "#222222")
    _save(figure, path)


def _write(axis: Any, text: str, places: list[tuple[int, int]], points: int, color: str) -> None:
    """Write a text centred at some places at once: one by one, those of 28 labels take half a second."""
    from matplotlib.collections import PathCollection
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    outline = TextPath((0, 0), text, size=points)
    bounds = outline.get_extents()
    centred = Affine2D().translate(-(bounds.x0 + bounds.x1) / 2, -(bounds.y0 + bounds.y1) / 2)
    drawn = PathCollection([centred.transform_path(outline)], offsets=places, offset_transform=axis.transData)
    drawn.set(facecolor=color, linewidth=0, in_layout=False, transform=Affine2D().scale(axis.figure.dpi / 72))
    axis.add_collection(drawn, autolim=False)


def plot_history(path: Path, history: list[dict[str, Any]], metric: str) -> None:
    """Draw the training loss and the validation metric over optimizer steps."""
    figure, (left, right) = _figure(1, 2, (10, 4))
    losses = [(row["step"], row["loss"]) for row in history if "loss" in row]
    scores = [(row["step"], row[f"validation_{metric}"]) for row in history if f"validation_{metric}" in row]
    if losses:
        left.plot(*zip(*losses, strict=True), color="#1f77b4")
    if scores:
        right.plot(*zip(*scores, strict=True), color="#d95f02", marker="o")
    left.set(xlabel="optimizer step", ylabel="training loss")
    right.set(xlabel="optimizer step", ylabel=f"validation {metric}")
    _save(figure, path)


def plot_setting(path: Path, setting: str, values: list[float], series: dict[str, list[float]], metric: str) -> None:
    """Draw one setting of a sweep against a metric, a line for each split."""
    figure, axes = _figure(1, 1, (6.5, 4.2))
    axis = axes[0]
    order = np.argsort(values)
    for name, scores in series.items():
        axis.plot(np.array(values)[order], np.array(scores)[order], marker="o", label=name)
    if min(values) > 0 and max(values) / min(values) >= 4:
        axis.set_xscale("log", base=2)
        axis.set_xticks(sorted(values), [f"{value:g}" for value in sorted(values)])
        axis.minorticks_off()
    axis.set(xlabel=setting, ylabel=metric)
    axis.legend()
    _save(figure, path)


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, np.atleast_1d(figure.subplots(rows, columns))


def _save(figure: Any, path: Path) -> None:
    figure.canvas.print_png(path)  # savefig would draw it twice
