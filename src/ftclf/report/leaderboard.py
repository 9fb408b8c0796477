"""What `ftclf compare` shows, computed and not printed: leaderboard, means over seeds, differences, rows that flip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, overload

import numpy as np

from ftclf.config import HEADLINES, LOWER_IS_BETTER, VARIANTS
from ftclf.config.differences import flatten, varying
from ftclf.config.effect import effective
from ftclf.score.predictions import probability_columns, read_predictions
from ftclf.score.significance import MARGIN, Difference, Outcome, Side, corrected, differences
from ftclf.storage.run_folder import Run, read_json
from ftclf.system.console import warn
from ftclf.system.errors import ConfigError, RunError
from ftclf.system.notebook import html_table, text_table
from ftclf.system.text import counted, data_name

# Scores that are shares and have draws: a margin of equality in points makes sense for them.
COMPARED = ("accuracy", "subset_accuracy", "macro_f1", "micro_f1", "weighted_f1")
SEED = "training.seed"
OF_DAMAGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # what reading such files ends in

Namer = Callable[[Path], str]  # what a run is called, by its folder


@dataclass(frozen=True)
class Comparison:
    """Finished runs on one set of test rows."""

    given: list[Run]  # as they came
    runs: list[Run]  # the best on validation first
    sort: str  # the score that says which is best
    groups: list[list[Run]]  # runs of one config under different seeds; the others alone
    differences: list[Difference]  # empty with one run, and with the seeds of one config alone
    left_out: list[Run]  # without predictions of the test rows: their differences are unknown


def comparable(runs: Sequence[Run]) -> list[Run]:
    """Return the runs whose files are such as a run writes; a warning says of each other one why it is left out.

    Raises RunError where none is left.
    """
    problems = {run: problem for run in runs if (problem := _problem(run))}
    if len(problems) == len(runs):
        run, problem = next(iter(problems.items()))
        others = f"; {counted(len(runs) - 1, 'other run')} cannot either" if len(runs) > 1 else ""
        raise RunError(f"{run.folder} cannot be compared: {problem}{others}")
    for run, problem in problems.items():
        warn(f"{run.folder} is left out: {problem}")
    return [run for run in runs if run not in problems]


def _problem(run: Run) -> str:
    """Return what is wrong with the files of a run that are compared, or nothing."""
    try:
        (alone,) = compare_runs([run])
        leaderboard(alone)
        manifest, metrics, settings = read_json(run.manifest), read_json(run.metrics), flatten(read_json(run.config))
        scores = [metrics[split][name] for split in ("validation", "test") for name in HEADLINES[manifest["task"]]]
        told = [*scores, settings[SEED], manifest["seconds"]["total"]]
        if not all(isinstance(value, int | float) for value in told) or not isinstance(
            manifest["digests"]["test"], str
        ):
            return "its files hold something else than a run writes"
        if not alone.left_out:
            _check_predictions(run)
    except (RunError, OSError, *OF_DAMAGE) as error:
        return " ".join(str(error).split()) if isinstance(error, RunError) else f"its files are damaged ({error!r:.80})"
    return ""


def _check_predictions(run: Run) -> None:
    """Look whether a run's predictions have the columns of its labels, without reading their rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = read_json(_label_file(run))["label_names"]
    try:
        columns = set(pq.read_schema(_test_predictions(run)).names)
    except (pa.ArrowException, OSError) as error:
        raise RunError(
            f"{_test_predictions(run)}: not the predictions that ftclf wrote; the file is damaged"
        ) from error
    if missing := {"row", "text", *probability_columns(names)} - columns:
        raise RunError(f"{_test_predictions(run)}: no column '{min(missing)}'; the file is damaged")


def compare_runs(
    runs: Sequence[Run], *, margin: float = MARGIN, sort: str | None = None, name: Namer | None = None
) -> list[Comparison]:
    """Compare runs, those on the same test rows with each other. Nothing is printed.

    Two are compared as they come, the second against the first; of more, each other one against the best on validation.
    The differences are of `sort` where it is accuracy or an F1, else of the task's first headline score; p-values are
    corrected for all comparisons of the call. `name` gives the runs their names. Raises RunError for damaged folders.
    """
    found = [_compared(group, sort, margin=margin, name=name) for group in by_test_rows(runs).values()]
    every = iter(corrected([one for comparison in found for one in comparison.differences]))
    return [replace(one, differences=[next(every) for _ in one.differences]) for one in found]


def by_test_rows(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs by the digest of their test rows."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(read_json(run.manifest)["digests"]["test"], []).append(run)
    return groups


def _compared(runs: list[Run], sort: str | None, *, margin: float, name: Namer | None) -> Comparison:
    headline = HEADLINES[read_json(runs[0].manifest)["task"]][0]
    sort = sort or headline
    _check_sort(runs[0], sort)
    whole = [run for run in runs if _test_predictions(run).is_file() and _label_file(run).is_file()]
    # Two runs are compared even where they are seeds of one config: that is what was asked.
    sides = [[run] for run in whole] if len(runs) == 2 else by_config(whole)
    score = sort if sort in COMPARED else headline
    return Comparison(
        given=runs,
        runs=sorted(runs, key=lambda run: badness(run, sort)),
        sort=sort,
        groups=by_config(runs),
        differences=_differences(sides, score, sort=sort, margin=margin, name=name),
        left_out=[run for run in runs if run not in whole],
    )


def _check_sort(run: Run, sort: str) -> None:
    known = read_json(run.metrics)["test"]
    if not isinstance(known.get(sort), float):
        allowed = ", ".join(name for name in known if isinstance(known[name], float))
        raise ConfigError(f"sort: no score '{sort}', allowed: {allowed}")


def _differences(
    groups: list[list[Run]], score: str, *, sort: str, margin: float, name: Namer | None
) -> list[Difference]:
    if len(groups) < 2:
        return []
    if len(groups) > 2:
        groups = sorted(groups, key=lambda group: fmean(badness(run, sort) for run in group))
    sides = [Side(group_name(group, name), tuple(read_outcome(run) for run in group)) for group in groups]
    try:
        return differences(sides, sides[0], score=score, margin=margin)
    except ValueError as error:
        raise RunError(f"{error}, though their digests are the same: predictions/test.parquet was changed") from error


def badness(run: Run, score: str) -> float:
    """Return a score on validation, turned so that lower is better."""
    value = float(read_json(run.metrics)["validation"][score])
    return value if score in LOWER_IS_BETTER else -value


def by_config(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the runs in groups whose configs differ in the seed alone; a seed that comes again opens another group."""
    groups: list[list[Run]] = []
    settings = {run: flatten(read_json(run.config)) for run in runs}
    data = {run: read_json(run.manifest)["digests"] for run in runs}
    for run in runs:
        for group in groups:
            same = varying([settings[group[0]], settings[run]]) == [SEED] and data[group[0]] == data[run]
            if same and settings[run][SEED] not in [settings[other][SEED] for other in group]:
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def read_outcome(run: Run) -> Outcome:
    """Read what a run did on its test rows. Raises RunError for a file that is missing or not what ftclf wrote."""
    import pyarrow as pa

    names: list[str] = read_json(_label_file(run))["label_names"]
    path = _test_predictions(run)
    try:
        predictions = read_predictions(path, names)
    except (pa.ArrowException, KeyError, OSError) as error:
        raise RunError(f"{path}: not the predictions that ftclf wrote ({error}); the file is damaged") from error
    return Outcome(predictions.chosen, predictions.targets, predictions.losses)


def _test_predictions(run: Run) -> Path:
    return run.predictions / "test.parquet"


def _label_file(run: Run) -> Path:
    return run.checkpoint / "ftclf.json"


# ---- tables, one dictionary a row


def leaderboard(comparison: Comparison, name: Namer | None = None) -> list[dict[str, Any]]:
    """Return a row for each run, the best on validation first."""
    settings = [effective(flatten(read_json(run.config))) for run in comparison.runs]
    named = ("dataset.name", "model.name", "method.kind")
    shown = [name for name in varying(settings) if name not in named and not name.endswith(".about")]
    optimal = ["yes" if first else "" for first in on_front(front_points(comparison))]
    sort = comparison.sort
    rows = []
    for run, found, star in zip(comparison.runs, settings, optimal, strict=True):
        manifest, metrics = read_json(run.manifest), read_json(run.metrics)
        pinned = found["model.pin.name"] == found["model.name"]
        row: dict[str, Any] = {
            "run": (name or short_name)(run.folder),
            "data": data_name(manifest["dataset"], found.get("dataset.train")),
            "model": found["model.pin.alias"] if pinned else found["model.name"],
            "method": found["method.kind"],
            **{name: found.get(name) for name in shown},
            "trained": f"{manifest['parameters']['share']:.1%}",
            f"validation {sort}": metrics["validation"][sort],
            **{name: metrics["test"][name] for name in dict.fromkeys([sort, *HEADLINES[manifest["task"]]])},
            "examples/s": manifest["examples_per_second"],
            "seconds": round(manifest["seconds"]["total"]),
            "pareto": star,
        }
        rows.append(row)
    return rows


def front_points(comparison: Comparison) -> dict[str, list[float]]:
    """Return what a good run has little of, by name: error on validation, weights, seconds, time of a text."""
    manifests = [read_json(run.manifest) for run in comparison.runs]
    points = {
        comparison.sort: [badness(run, comparison.sort) for run in comparison.runs],
        "trained weights": [float(one["parameters"]["trainable"]) for one in manifests],
        "seconds": [float(one["seconds"]["total"]) for one in manifests],
    }
    times = [one.get("milliseconds_per_text") for one in manifests]
    if all(isinstance(time, int | float) for time in times):  # runs of before it was measured have none
        points["latency"] = [float(time) for time in times]
    return points


def on_front(points: dict[str, list[float]]) -> list[bool]:
    """Return which columns of values, lower is better, no other beats: as good in all and better in one."""
    values = np.array(list(points.values())).T
    return [not bool(((values <= one).all(axis=1) & (values < one).any(axis=1)).any()) for one in values]


def seed_means(comparison: Comparison, name: Namer | None = None) -> list[dict[str, Any]]:
    """Return a row for each config with several seeds: test scores as (mean, standard deviation), best first."""
    rows = []
    order = sorted(comparison.groups, key=lambda group: fmean(badness(run, comparison.sort) for run in group))
    for group in order:
        if len(group) < 2:
            continue
        scores = [read_json(run.metrics)["test"] for run in group]
        names = dict.fromkeys([comparison.sort, *HEADLINES[read_json(group[0].manifest)["task"]]])
        row: dict[str, Any] = {"run": (name or short_name)(group[0].folder), "seeds": len(group)}
        for score in names:
            values = [one[score] for one in scores]
            row[score] = (fmean(values), stdev(values))
        rows.append(row)
    return rows


def shown_settings(comparison: Comparison) -> list[dict[str, Any]]:
    """Return what differs between the settings of the runs, best run first: data, model, method, and single settings.

    A setting that every run with it has in common is left out, as is a rate that is the method's own.
    """
    rows = leaderboard(comparison)
    names = [name for name in rows[0] if name in ("data", "model", "method") or "." in name]
    kept = []
    for name in names:
        values = [row[name] for row in rows]
        given = {repr(value) for value in values if value is not None}
        twin = name == "method.learning_rate" and values == [row.get("training.learning_rate") for row in rows]
        if (
            len({repr(value) for value in values}) > 1
            and not twin
            and not (name.partition(".")[0] in VARIANTS and not name.endswith(".kind") and len(given) < 2)
        ):
            kept.append(name)
    return [{name: row[name] for name in kept} for row in rows]


def setting_differences(a: Run, b: Run) -> list[tuple[str, Any, Any]]:
    """Return the settings that differ between two runs: name, value of the first, value of the second."""
    first, second = (effective(flatten(read_json(run.config))) for run in (a, b))
    return [(name, first.get(name), second.get(name)) for name in varying([first, second])]


def flips(a: Run, b: Run, name: Namer | None = None) -> list[list[Any]]:
    """Return the test rows that one of two runs alone got right, after a line of column names."""
    import pyarrow.parquet as pq

    first, second = read_outcome(a), read_outcome(b)
    truth = "labels" if "labels" in pq.read_schema(_test_predictions(a)).names else "label"
    names = ["row", "text", truth, "predicted"]
    tables = [pq.read_table(_test_predictions(run), columns=names) for run in (a, b)]
    columns = [tables[0]["row"], tables[0]["text"], tables[0][truth], *(one["predicted"] for one in tables)]
    runs = [(name or short_name)(run.folder) for run in (a, b)]
    lines: list[list[Any]] = [["row", "text", truth, *(f"{name} predicted" for name in runs), "right"]]
    for row in np.flatnonzero(first.right != second.right):
        cells = [column[int(row)].as_py() for column in columns]
        cells = ["; ".join(cell) if isinstance(cell, list) else cell for cell in cells]
        lines.append([*cells, runs[0] if first.right[row] else runs[1]])
    return lines


def group_name(group: Sequence[Run], name: Namer | None = None) -> str:
    """Return the name of a run, or that of the first of several seeds with their number."""
    first = (name or short_name)(group[0].folder)
    return first if len(group) == 1 else f"{first} ({len(group)} seeds)"


def short_name(folder: Path) -> str:
    """Return the last two parts of a run's folder, which name no user."""
    return f"{folder.parent.name}/{folder.name}"


# ---- for Python


@dataclass(frozen=True, repr=False)
class Leaderboard(Sequence[dict[str, Any]]):
    """Runs, best first on validation: a row of settings and scores for each; a comparison for each set of test rows."""

    comparisons: list[Comparison]
    name: Namer | None = None  # of a run folder

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        return [row for one in self.comparisons for row in leaderboard(one, self.name)]

    @property
    def differences(self) -> list[Difference]:
        """What is known of the difference between two runs on the same test rows: interval, p-value, verdict."""
        return [difference for one in self.comparisons for difference in one.differences]

    @property
    def seed_means(self) -> list[dict[str, Any]]:
        """A row for each config with several seeds: test scores as (mean, standard deviation)."""
        return [row for one in self.comparisons for row in seed_means(one, self.name)]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, place: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        return self.rows[place]

    def __repr__(self) -> str:
        return "\n\n".join(text_table(*table) for table in self._tables())

    def _repr_html_(self) -> str:
        """Return a table for each set of test rows, and one of differences, for a notebook."""
        return "".join(html_table(*table) for table in self._tables())

    def _tables(self) -> Iterator[tuple[list[str], list[list[str]]]]:
        for one in self.comparisons:
            rows = leaderboard(one, self.name)
            yield list(rows[0]), [[_shown(value) for value in row.values()] for row in rows]
            if one.differences:
                yield (
                    ["run", f"{one.differences[0].score}, points from {one.differences[0].b}", "verdict"],
                    [[each.a, _points(each), each.verdict] for each in one.differences],
                )


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _points(one: Difference) -> str:
    value, low, high = (100 * part for part in one.scores[one.score])
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"
