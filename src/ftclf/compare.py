"""`ftclf compare`: one table over finished runs, best first; and one setting against a score."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from ftclf.config import CHOOSING_METRICS, HEADLINES, LOWER_IS_BETTER
from ftclf.console import printable
from ftclf.differences import flatten, varying
from ftclf.errors import ConfigError, did_you_mean
from ftclf.runs import Run, find_runs, read_json

SCORES = {name for names in [*HEADLINES.values(), *CHOOSING_METRICS.values()] for name in names}


def compare(
    paths: list[Path],
    sort: str | None = None,
    *,
    csv_file: Path | None = None,
    plot: str | None = None,
    plot_file: Path | None = None,
) -> None:
    """Print one table for each set of test rows, since scores on different rows do not compare.

    The best by validation comes first: a run that were chosen by its test score would promise more than it keeps.
    """
    runs = find_runs(paths)
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(read_json(run.manifest)["digests"]["test"], []).append(run)
    tables = [_table(group, sort, paths) for group in groups.values()]
    if len(tables) > 1:
        print(f"{len(tables)} different sets of test rows: a table for each, since their scores do not compare")
    for table in tables:
        _print_table(table)
    if csv_file is not None:
        _write_csv(csv_file, [row for table in tables for row in table])
    if plot is not None and plot_file is not None:
        plot_runs(runs, plot, sort or HEADLINES[read_json(runs[0].manifest)["task"]][0], plot_file)


def plot_runs(runs: list[Run], setting: str, metric: str, file: Path) -> None:
    """Draw a numeric setting against the validation and test score of runs. Raises ConfigError if it is not one."""
    from ftclf.plots import plot_setting

    settings = [flatten(read_json(run.config)) for run in runs]
    if setting not in settings[0]:
        raise ConfigError(f"--plot: no setting '{setting}'.{did_you_mean(setting, settings[0])}")
    values = [found.get(setting) for found in settings]
    if not all(isinstance(value, int | float) for value in values):
        raise ConfigError(f"--plot: {setting} is no number in {values}")
    scores = [read_json(run.metrics) for run in runs]
    series = {split: [found[split][metric] for found in scores] for split in ("validation", "test")}
    plot_setting(file, setting, [float(value) for value in values], series, metric)  # type: ignore[arg-type]
    print(f"plot: {file}")


def plot_if_one_setting_varies(runs: list[Run], metric: str, folder: Path) -> None:
    """Draw the plot of a sweep over one number; several or none: draw nothing."""
    settings = [flatten(read_json(run.config)) for run in runs]
    differing = varying(settings)
    numeric = [name for name in differing if all(isinstance(found.get(name), int | float) for found in settings)]
    if len(differing) == 1 and numeric and len(runs) > 1:
        plot_runs(runs, numeric[0], metric, folder / f"{numeric[0]}.png")


def _table(runs: list[Run], sort: str | None, paths: list[Path]) -> list[dict[str, Any]]:
    settings = [flatten(read_json(run.config)) for run in runs]
    shown = [name for name in varying(settings) if name not in ("dataset.name", "model.name", "method.kind")]
    task = read_json(runs[0].manifest)["task"]
    sort = sort or HEADLINES[task][0]
    known = read_json(runs[0].metrics)["test"]
    if not isinstance(known.get(sort), float):
        raise ConfigError(
            f"--sort: no score '{sort}', allowed: {', '.join(n for n in known if isinstance(known[n], float))}"
        )
    rows = []
    for run, found in zip(runs, settings, strict=True):
        manifest, metrics = read_json(run.manifest), read_json(run.metrics)
        row: dict[str, Any] = {
            "run": _short(run.folder, paths),
            "data": manifest["dataset"],
            "model": found["model.pin.alias"]
            if found["model.pin.name"] == found["model.name"]
            else found["model.name"],
            "method": found["method.kind"],
            **{name: found.get(name) for name in shown},
            "trained": f"{manifest['parameters']['share']:.1%}",
            f"validation {sort}": metrics["validation"][sort],
            **{name: metrics["test"][name] for name in dict.fromkeys([sort, *HEADLINES[task]])},
            "examples/s": manifest["examples_per_second"],
            "seconds": round(manifest["seconds"]["total"]),
        }
        rows.append(row)
    return sorted(rows, key=lambda row: row[f"validation {sort}"], reverse=sort not in LOWER_IS_BETTER)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title="test scores; best first on validation", title_justify="left")
    for name in rows[0]:
        numeric = isinstance(rows[0][name], int | float) and not isinstance(rows[0][name], bool)
        short = name.removeprefix("training.").removeprefix("method.") if name.count(".") == 1 else name
        table.add_column(Text(short), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        # Text, not markup: a label or folder name like x[/] stands for itself.
        table.add_row(*(Text(printable(_cell(name, value))) for name, value in row.items()))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if name in SCORES or name.startswith("validation ") else f"{value:g}"
    return "" if value is None else str(value)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def _short(folder: Path, paths: list[Path]) -> str:
    for path in paths:
        if folder != path and folder.is_relative_to(path):
            return str(folder.relative_to(path))
    return f"{folder.parent.name}/{folder.name}"
