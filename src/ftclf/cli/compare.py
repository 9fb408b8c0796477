"""`ftclf compare`: runs in tables, best first; what differs beyond chance; and one setting against a score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftclf.cli.console_tables import add_column, add_row, new_table, show_table
from ftclf.config import CHOOSING_METRICS, HEADLINES
from ftclf.config.did_you_mean import did_you_mean
from ftclf.config.differences import flatten, varying
from ftclf.report.leaderboard import (
    SEED,
    Comparison,
    by_test_rows,
    comparable,
    compare_runs,
    flips,
    front_points,
    group_name,
    leaderboard,
    seed_means,
    setting_differences,
)
from ftclf.score.significance import ALPHA, ALPHA_ONE_SEED, MARGIN, Difference
from ftclf.storage.csv_safety import write_lines
from ftclf.storage.run_folder import Run, find_runs, read_json
from ftclf.system.console import printable
from ftclf.system.errors import ConfigError, RunError
from ftclf.system.text import counted

if TYPE_CHECKING:
    from rich.table import Table

SCORES = {name for names in [*HEADLINES.values(), *CHOOSING_METRICS.values()] for name in names}


def compare(
    paths: list[Path],
    sort: str | None = None,
    *,
    csv_file: Path | None = None,
    plot: str | None = None,
    plot_file: Path | None = None,
    margin: float = MARGIN,
    flips_file: Path | None = None,
) -> None:
    """Print the tables of each set of test rows, since scores on different rows do not compare.

    The best by validation comes first: a run that were chosen by its test score would promise more than it keeps.
    """
    runs, found = compared(paths, sort, margin=margin, flips=flips_file is not None)
    if len(found) > 1:
        print(f"{len(found)} different sets of test rows: a table for each, since their scores do not compare")
    made = sum(len(one.differences) for one in found)
    for one in found:
        _print_comparison(one, paths, made)
    if csv_file is not None:
        _write_csv(csv_file, [row for one in found for row in leaderboard(one, paths)])
    if flips_file is not None:
        _write_flips(flips_file, flips(runs[0], runs[1], paths))
    if plot is not None and plot_file is not None:
        plot_runs(runs, plot, sort or HEADLINES[read_json(runs[0].manifest)["task"]][0], plot_file)


def compared(
    paths: Sequence[Path], sort: str | None, *, margin: float, flips: bool = False
) -> tuple[list[Run], list[Comparison]]:
    """Return the finished runs at the paths and their comparisons; rows that flip are asked of two runs alone."""
    if not 0 <= margin < 1:
        raise ConfigError(f"--equal-within: got {margin:g}, allowed: a share of the score from 0 to 1, as in 0.01")
    runs = comparable(find_runs(list(paths)))
    if flips and len(runs) != 2:
        raise ConfigError(f"--flips: rows flip between two runs, and {len(runs)} were found; name two run folders")
    _refuse_different_rows(paths, runs, flips=flips)
    return runs, compare_runs(runs, margin=margin, sort=sort, paths=paths)


def plot_runs(runs: list[Run], setting: str, metric: str, file: Path) -> None:
    """Draw a numeric setting against the validation and test score of runs. Raises ConfigError if it is not one."""
    from ftclf.report.plots import plot_setting

    settings = [flatten(read_json(run.config)) for run in runs]
    if setting not in settings[0]:
        raise ConfigError(f"--plot: no setting '{setting}'.{did_you_mean(setting, settings[0])}")
    values = [found.get(setting) for found in settings]
    if not all(isinstance(value, int | float) for value in values):
        raise ConfigError(f"--plot: {setting} is no number in {values}")
    scores = [read_json(run.metrics) for run in runs]
    series = {split: [found[split][metric] for found in scores] for split in ("validation", "test")}
    plot_setting(file, setting, [float(value) for value in values], series, metric)  # type: ignore[arg-type]
    print(printable(f"plot: {file}"))


def plot_if_one_setting_varies(runs: list[Run], metric: str, folder: Path) -> None:
    """Draw the plot of a sweep over one number; several or none: draw nothing."""
    settings = [flatten(read_json(run.config)) for run in runs]
    differing = varying(settings)
    numeric = [name for name in differing if all(isinstance(found.get(name), int | float) for found in settings)]
    if len(differing) == 1 and numeric and numeric != [SEED] and len(runs) > 1:
        plot_runs(runs, numeric[0], metric, folder / f"{numeric[0]}.png")


# ---- printing


def _refuse_different_rows(paths: Sequence[Path], runs: list[Run], *, flips: bool) -> None:
    """Refuse different test rows of runs that were named one by one or are to be told apart row by row.

    Folders of many runs get a table for each set of rows.
    """
    groups = by_test_rows(runs)
    if len(groups) < 2 or not (flips or all(Run(path).finished for path in paths)):
        return
    (first, (a, *_)), (second, (b, *_)), *_ = groups.items()
    raise RunError(
        f"{a.folder} and {b.folder} have different test rows (digests {first[:12]} and {second[:12]}): scores on "
        "different rows do not compare; ftclf eval scores a checkpoint on other data"
    )


def _print_comparison(found: Comparison, paths: Sequence[Path], made: int) -> None:
    """Print what is known of the runs on one set of test rows; `made` counts the comparisons over all sets."""
    show_table(_leaderboard_table(found, paths))
    if means := seed_means(found, paths):
        show_table(_seeds_table(means))
    if found.differences:
        show_table(_differences_table(found.differences, made))
    if len(found.runs) == 2:
        _print_settings(found, paths)
    for run in found.left_out:
        print(printable(f"no differences for {group_name([run], paths)}: it has no predictions/test.parquet any more"))


def _leaderboard_table(found: Comparison, paths: Sequence[Path]) -> Table:
    rows = leaderboard(found, paths)
    *others, last = front_points(found)
    names, same = _printed(rows)
    told = f"{', '.join(f'{name} {rows[0][name]}' for name in same)}; " if same else ""
    table = new_table(
        f"{told}test scores; best first on validation",
        f"* on the front of {', '.join(others)} and {last}: no other run is as good in all and better in one "
        f"({found.sort} on validation)",
    )
    for name in names:
        short = name.removeprefix("training.").removeprefix("method.") if name.count(".") == 1 else name
        value = rows[0][name]
        add_column(table, short, numeric=isinstance(value, int | float) and not isinstance(value, bool))
    for row in rows:
        add_row(table, [_cell(name, row[name]) for name in names])
    return table


def _printed(rows: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Return the columns that tell runs apart, so that the table fits on a screen, and those to be told once."""
    same = [name for name in ("data", "model", "method") if len({row[name] for row in rows}) == 1]
    kept: list[str] = []
    for name in rows[0]:
        values = [row[name] for row in rows]
        # A setting of one method alone that is the same wherever it is, and a rate that the method gives to training.
        told = name.startswith("method.") and len({repr(value) for value in values if value is not None}) < 2
        twin = name == "method.learning_rate" and values == [row.get("training.learning_rate") for row in rows]
        listed = len(rows) == 2 and "." in name  # the settings of two runs are listed line by line
        kept += [] if told or twin or listed or name in same else [name]
    return kept, same


def _seeds_table(rows: list[dict[str, Any]]) -> Table:
    table = new_table(
        "mean over seeds", "test scores, mean ± standard deviation of runs that differ in their seed alone"
    )
    for name in rows[0]:
        add_column(table, name, numeric=name != "run")
    for row in rows:
        cells = [f"{cell[0]:.4f} ± {cell[1]:.4f}" if isinstance(cell, tuple) else str(cell) for cell in row.values()]
        add_row(table, cells)
    return table


def _differences_table(found: list[Difference], made: int) -> Table:
    """Return the table of differences; a column of McNemar's test where it is not about the score itself."""
    score = found[0].score
    table = new_table(f"differences from {found[0].b}", _differences_caption(found, made))
    own = any(one.p_value != one.mcnemar for one in found)
    for name in ("run", f"{score}, points", "McNemar p", *(["p"] if own else []), "corrected p"):
        add_column(table, name, numeric=name != "run")
    for name in ("only it right", "only reference right"):
        add_column(table, name, numeric=True)
    add_column(table, "verdict")
    for one in found:
        value, low, high = (100 * part for part in one.scores[score])
        add_row(
            table,
            [
                one.a,
                f"{value:+.2f} [{low:+.2f}, {high:+.2f}]",
                _p(one.mcnemar),
                *([_p(one.p_value)] if own else []),
                _p(one.p_corrected),
                str(one.only_a_right),
                str(one.only_b_right),
                one.verdict,
            ],
        )
    return table


def _differences_caption(found: list[Difference], made: int) -> str:
    margin = 100 * found[0].margin
    lines = [f"95 % intervals of the same test rows; Holm's correction over {counted(made, 'comparison')}"]
    if any(one.one_seed for one in found):
        asked = f"p < {ALPHA_ONE_SEED} and {margin:g} points"
        lines.append(f"one seed a side: better or worse asks for {asked}, since seeds differ too")
    if not all(one.one_seed for one in found):
        lines.append(f"several seeds: the chance of rows and of seeds, p < {ALPHA}; right where most seeds are")
    lines.append(f"equal: the 90 % interval lies between -{margin:g} and +{margin:g} points")
    return "\n".join(lines)


def _print_settings(found: Comparison, paths: Sequence[Path]) -> None:
    """Print a line for each setting that differs between two runs."""
    a, b = found.given
    changed = setting_differences(a, b)
    names = f"{group_name([a], paths)} and {group_name([b], paths)}"
    print(printable(f"settings that differ between {names}:" if changed else f"the settings of {names} are the same"))
    for name, first, second in changed:
        print(printable(f"  {name}: {_cell(name, first) or 'none'} and {_cell(name, second) or 'none'}"))


def _cell(name: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if name in SCORES or name.startswith("validation ") else f"{value:g}"
    return "" if value is None else str(value)


def _p(value: float | None) -> str:
    return "" if value is None else "<0.0001" if value < 0.0001 else f"{value:.4f}"


# ---- files


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    _write_lines(path, [names, *([row.get(name) for name in names] for row in rows)])


def _write_flips(path: Path, lines: list[list[Any]]) -> None:
    _write_lines(path, lines)
    print(printable(f"flips: {counted(len(lines) - 1, 'row')} in {path}"))


def _write_lines(path: Path, lines: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        write_lines(file, lines)
