"""`ftclf compare`: runs in tables, best first; what differs beyond chance; and one setting against a score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftclf.config import HEADLINES
from ftclf.config.did_you_mean import did_you_mean
from ftclf.config.differences import flatten, varying
from ftclf.config.renamed import new_name
from ftclf.config.settings import NO_MODEL
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
    shown_settings,
)
from ftclf.score.significance import ALPHA, ALPHA_ONE_SEED, MARGIN, Difference
from ftclf.score.wording import score_name
from ftclf.storage.csv_safety import write_lines
from ftclf.storage.run_folder import Run, find_runs, read_json
from ftclf.storage.run_paths import from_here, typed_path
from ftclf.system.console import BAD, GOOD, OPEN, printable
from ftclf.system.errors import ConfigError, RunError
from ftclf.system.tables import Column, Table, marked, show
from ftclf.system.text import counted

LEAST_SPARED = ("log_loss", "seconds", "weighted_f1", "pareto", "trained", "examples/s")  # left out last to first
HEADINGS = {"examples/s": "rows /s"}
VERDICTS = {"better": GOOD, "worse": BAD, "inconclusive": OPEN}


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
        _print_comparison(one, made)
    if csv_file is not None:
        _write_csv(csv_file, [row for one in found for row in leaderboard(one, from_here)])
    if flips_file is not None:
        _write_flips(flips_file, flips(runs[0], runs[1], from_here))
    if plot is not None and plot_file is not None:
        plot_runs(runs, plot, sort or HEADLINES[read_json(runs[0].manifest)["task"]][0], plot_file)


def compared(
    paths: Sequence[Path], sort: str | None, *, margin: float, flips: bool = False
) -> tuple[list[Run], list[Comparison]]:
    """Return the finished runs at the paths and their comparisons; rows that flip are asked of two runs alone."""
    if not 0 <= margin < 1:
        raise ConfigError(f"equal_within: got {margin:g}, allowed: a share of the score from 0 to 1, as in 0.01")
    runs = comparable(find_runs(list(paths)))
    if flips and len(runs) != 2:
        raise ConfigError(f"flips: rows flip between two runs, got {len(runs)}; name two run folders")
    _refuse_different_rows(paths, runs, flips=flips)
    return runs, compare_runs(runs, margin=margin, sort=sort, name=typed_path)


def plot_runs(runs: list[Run], setting: str, metric: str, file: Path) -> None:
    """Draw a numeric setting against the validation and test score of runs. Raises ConfigError if it is not one."""
    from ftclf.report.plots import plot_setting

    setting, settings = new_name(setting), [flatten(read_json(run.config)) for run in runs]
    if setting not in settings[0]:
        raise ConfigError(f"plot: no setting '{setting}'.{did_you_mean(setting, settings[0])}")
    values = [found.get(setting) for found in settings]
    if not all(isinstance(value, int | float) for value in values):
        raise ConfigError(f"plot: {setting} is no number in {values}")
    scores = [read_json(run.metrics) for run in runs]
    series = {split: [found[split][metric] for found in scores] for split in ("validation", "test")}
    bounds = {"test": [found["test"].get("intervals", {}).get(metric) for found in scores]}
    numbers = [float(value) for value in values]  # type: ignore[arg-type]
    plot_setting(file, setting, numbers, series, metric, bounds=bounds)
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
    """Refuse different test rows of runs that were named one by one or are compared row by row.

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


def _print_comparison(found: Comparison, made: int) -> None:
    """Print what is known of the runs on one set of test rows; `made` counts the comparisons over all sets."""
    print()
    show(leaderboard_table(found))
    if means := seed_means(found, typed_path):
        print()
        show(_seeds_table(means))
    if found.differences:
        print()
        show(_differences_table(found.differences, made))
    if len(found.runs) == 2:
        _print_settings(found)
    for run in found.left_out:
        print(printable(f"no differences for {group_name([run], typed_path)}: its predictions/test.parquet is missing"))


def leaderboard_table(found: Comparison) -> Table:
    """Return the table of the runs, the best on validation marked."""
    rows, settings = leaderboard(found, typed_path), shown_settings(found)
    validation = f"validation {found.sort}"
    names = [row["run"] for row in rows]
    best = [number for number, row in enumerate(rows) if row[validation] == rows[0][validation]]
    columns = [
        Column("", ["best" if number in best else "" for number in range(len(rows))]),
        Column("run", names, path=True),
    ]
    if len(rows) > 2:  # the settings of two runs are listed line by line
        columns.append(Column("settings", _short_settings(settings)))
    scores = [validation, *_scores_of(rows[0])]
    columns += [
        Column(score_name(name), [_cell(row[name], score=True) for row in rows], numeric=True, spare=_spare(name))
        for name in scores
    ]
    columns += [
        Column(HEADINGS.get(name, name), [_cell(row[name]) for row in rows], numeric=True, spare=_spare(name))
        for name in ("seconds", "trained", "examples/s")
    ]
    if len(rows) > 1:
        *others, last = front_points(found)
        note = f"Pareto: optimal in {score_name(found.sort)} on validation, {', '.join(others[1:])} and {last}"
        cells = [row["pareto"] for row in rows]
        columns.append(Column("Pareto", cells, numeric=True, spare=_spare("pareto"), note=note))
        columns = [column for column in columns if column.name != "settings" or any(column.cells)]
        for number in best:
            columns = marked(columns, number, GOOD)
    told = _in_common(rows)
    return Table(
        columns,
        f"{told}test scores, best on validation first",
        ("the names of runs are paths to paste: a shell completes the *",) if "*" in "".join(names) else (),
        all_columns="csv=FILE has all",
    )


def _scores_of(row: dict[str, Any]) -> list[str]:
    names = list(row)
    return names[names.index("trained") + 2 : names.index("examples/s")]


def _spare(name: str) -> int:
    return LEAST_SPARED.index(name) + 1 if name in LEAST_SPARED else 0


def _in_common(rows: list[dict[str, Any]]) -> str:
    """Return what all runs have of data, model and method, as the start of a title."""
    same = [rows[0][name] for name in ("data", "model", "method") if len({row[name] for row in rows}) == 1]
    same = [str(value) for value in same if value != NO_MODEL]
    return f"{', '.join(same)}: " if same else ""


def _short_settings(rows: list[dict[str, Any]]) -> list[str]:
    """Return the settings of each run as `r=8 alpha=32`, with the group's name where the last part is not enough."""
    last = [name.rpartition(".")[2] for name in rows[0]]
    names = {name: short if last.count(short) == 1 else name for name, short in zip(rows[0], last, strict=True)}
    return [
        " ".join(f"{names[name]}={_cell(value)}" for name, value in row.items() if value is not None) for row in rows
    ]


def _seeds_table(rows: list[dict[str, Any]]) -> Table:
    columns = [Column("run", [row["run"] for row in rows], path=True)]
    for name in list(rows[0])[1:]:
        cells = [row[name] for row in rows]
        shown = [f"{cell[0]:.3f} ± {cell[1]:.3f}" if isinstance(cell, tuple) else str(cell) for cell in cells]
        columns.append(Column(score_name(name), shown, numeric=True, spare=_spare(name)))
    return Table(columns, "mean over seeds", ("test scores, mean ± standard deviation; only the seed differs",))


def _differences_table(found: list[Difference], made: int) -> Table:
    """Return the table of differences; a column of McNemar's test where it is not about the score itself."""
    score = found[0].score
    points = [[100 * part for part in one.scores[score]] for one in found]
    own = any(one.p_value != one.mcnemar for one in found)
    verdicts = {number: VERDICTS.get(one.verdict, "") for number, one in enumerate(found)}
    columns = [
        Column("run", [one.a for one in found], path=True),
        Column("points", [f"{value:+.1f} [{low:+.1f}, {high:+.1f}]" for value, low, high in points], numeric=True),
        Column("McNemar p", [_p(one.mcnemar) for one in found], numeric=True, spare=3),
        *([Column("p", [_p(one.p_value) for one in found], numeric=True, spare=2)] if own else []),
        Column("corrected p", [_p(one.p_corrected) for one in found], numeric=True),
        Column("only this right", [str(one.only_a_right) for one in found], numeric=True, spare=1),
        Column("only that right", [str(one.only_b_right) for one in found], numeric=True, spare=1),
        Column("verdict", [one.verdict for one in found], styles=verdicts),
    ]
    return Table(columns, f"{score_name(score)}: differences from {found[0].b}", tuple(_notes(found, made)))


def _notes(found: list[Difference], made: int) -> list[str]:
    margin = 100 * found[0].margin
    lines = [f"95 % intervals of the same test rows; Holm's correction over {counted(made, 'comparison')}"]
    if any(one.one_seed for one in found):
        asked = f"p < {ALPHA_ONE_SEED} and {margin:g} points"
        lines.append(f"one seed per side: better or worse asks for {asked}, since seeds differ too")
    if not all(one.one_seed for one in found):
        lines.append(f"several seeds: the chance of rows and of seeds, p < {ALPHA}; right where most seeds are")
    lines.append(f"equal: the 90 % interval lies between -{margin:g} and +{margin:g} points")
    return lines


def _print_settings(found: Comparison) -> None:
    """Print a line for each setting that differs between two runs."""
    a, b = found.given
    changed = setting_differences(a, b)
    names = f"{group_name([a], typed_path)} and {group_name([b], typed_path)}"
    print(printable(f"settings that differ between {names}:" if changed else f"the settings of {names} are the same"))
    for name, first, second in changed:
        print(printable(f"  {name}: {_cell(first) or 'none'} and {_cell(second) or 'none'}"))


def _cell(value: Any, *, score: bool = False) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if score else f"{value:g}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
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
