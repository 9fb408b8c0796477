"""Pictures of a run: confusion matrix, training curves, one setting against a score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.score.confusion import SHOWN, Counts, as_counts, errors_of, worst_labels
from ftclf.system.console import one_line
from ftclf.system.text import counted, short_names

LONGEST_NAME = 28  # characters of a label


def plot_confusion(path: Path, counts: Counts | NDArray[np.int64], label_names: list[str], *, title: str) -> None:
    """Draw counts (left) and shares of each true label (right).

    Of more than SHOWN labels only the counts of those with the most confusions between one another.
    """
    counts = as_counts(counts)
    shown, heading = list(range(len(label_names))), title
    if len(shown) > SHOWN:
        shown = worst_labels(counts) or counts.diagonal().argsort()[::-1][:SHOWN].tolist()
        heading = f"{title}: {_what_is_shown(counts, shown)}"
    dense = counts[shown][:, shown].toarray()
    shares = dense / np.maximum(np.asarray(counts.sum(axis=1)).ravel()[shown], 1)[:, None]
    names = short_names([one_line(label_names[label]) for label in shown], LONGEST_NAME)
    panels: list[tuple[NDArray[Any], str, float, str]] = [(dense, "rows", 1, "%d")]
    if len(shown) == len(label_names):
        panels.append((shares, "share of the row", 0.005, "%.2f"))
    side = max(4.0, 0.42 * len(names) + 1.5) + 0.08 * max(0, max(map(len, names)) - 15)  # inches
    figure, axes = _figure(1, len(panels), (len(panels) * side + 1, side + 0.8))
    for axis, (numbers, what, least, form) in zip(axes, panels, strict=True):
        _draw_matrix(axis, numbers, shares, names, least=least, form=form)
        axis.set_title(f"{heading}: {what}" if len(panels) > 1 else heading, fontsize="medium")
    _save(figure, path)


def _what_is_shown(counts: Counts, shown: list[int]) -> str:
    """Return the part of the matrix that is drawn, in words."""
    errors = errors_of(counts)
    inside = int(errors[shown][:, shown].sum())
    return (
        f"{len(shown)} of {counts.shape[0]:,} labels: those with the most confusions between one another\n"
        f"({inside:,} of {counted(int(errors.sum()), 'error')}; colour: share of the true label's rows; "
        "all counts are in the csv file of this name)"
    )


def _draw_matrix(
    axis: Any, numbers: NDArray[Any], shares: NDArray[np.float64], names: list[str], *, least: float, form: str
) -> None:
    size = len(names)
    # imshow would blow the picture up in float64: 80 MB with 28 labels.
    axis.pcolormesh(range(size), range(size), shares, cmap="Blues", vmin=0, vmax=1)
    axis.set(aspect="equal", ylim=(size - 0.5, -0.5))
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
    """Draw the training loss and the validation metric over optimizer steps; no panel without values."""
    curves = [
        (name, [(row["step"], row[key]) for row in history if row.get(key) is not None], style)
        for name, key, style in (
            ("training loss", "loss", {"color": "#1f77b4"}),
            (f"validation {metric}", f"validation_{metric}", {"color": "#d95f02", "marker": "o"}),
        )
    ]
    drawn = [curve for curve in curves if curve[1]]
    if not drawn:
        return
    figure, axes = _figure(1, len(drawn), (5 * len(drawn), 4))
    for axis, (name, points, style) in zip(axes, drawn, strict=True):
        axis.plot(*zip(*points, strict=True), **(style if len(points) > 1 else {**style, "marker": "o"}))
        axis.set(xlabel="optimizer step", ylabel=name)
        _not_below_zero(axis, [value for _, value in points])
    _save(figure, path)


def plot_setting(
    path: Path,
    setting: str,
    values: list[float],
    series: dict[str, list[float]],
    metric: str,
    *,
    bounds: dict[str, list[list[float] | None]] | None = None,
) -> None:
    """Draw one setting of a sweep against a metric: for each split a line through the means, and the runs as points.

    `bounds` are the intervals of the scores.
    """
    figure, axes = _figure(1, 1, (6.5, 4.2))
    axis = axes[0]
    places = np.unique(values)
    for number, (name, scores) in enumerate(series.items()):
        means = [np.mean(np.array(scores)[np.array(values) == place]) for place in places]
        axis.plot(places, means, color=f"C{number}", label=name)
        errors = _errors(scores, (bounds or {}).get(name))
        axis.errorbar(values, scores, yerr=errors, fmt="o", color=f"C{number}", capsize=3, elinewidth=1)
    if min(values) > 0 and max(values) / min(values) >= 4:
        axis.set_xscale("log", base=2)
        axis.set_xticks(sorted(values), [f"{value:g}" for value in sorted(values)])
        axis.minorticks_off()
    axis.set(xlabel=setting, ylabel=metric)
    _not_below_zero(axis, [score for scores in series.values() for score in scores])
    if any(map(any, (bounds or {}).values())):
        axis.set_title("error bars: 95 % intervals on test", fontsize="small")
    axis.legend()
    _save(figure, path)


def _errors(scores: list[float], bounds: list[list[float] | None] | None) -> NDArray[np.float64] | None:
    """Return how far the intervals reach below and above the scores, shape (2, runs); without intervals nothing."""
    if not bounds or not any(bounds):
        return None
    ends = np.array([found or (score, score) for score, found in zip(scores, bounds, strict=True)])
    below, above = np.array(scores) - ends[:, 0], ends[:, 1] - np.array(scores)
    return np.array([below, above]).clip(min=0.0)


def _not_below_zero(axis: Any, values: list[float]) -> None:
    """Start the axis at 0 if the margin below the values would reach below 0."""
    if min(values) >= 0 > axis.get_ylim()[0]:
        axis.set_ylim(bottom=0)


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, np.atleast_1d(figure.subplots(rows, columns))


def _save(figure: Any, path: Path) -> None:
    figure.canvas.print_png(path)  # savefig would draw it twice
