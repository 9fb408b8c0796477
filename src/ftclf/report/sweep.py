"""Runs that differ in some settings: their short names, a plot of what was varied, and which pairs are inconclusive."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from ftclf.config import HEADLINES
from ftclf.config.differences import flatten
from ftclf.report.charts import Axis, Chart, DotPlot, Line, nice_axis, value_axis
from ftclf.report.leaderboard import (
    SEED,
    Comparison,
    badness,
    group_name,
    read_outcome,
    short_name,
    shown_settings,
)
from ftclf.report.material import Material
from ftclf.report.scores import Content
from ftclf.score.significance import ALPHA_ONE_SEED, Difference, Side, corrected, difference
from ftclf.score.wording import score_name
from ftclf.storage.run_folder import Run, read_json
from ftclf.system.text import interval, number, opened, short_names

MOST_PAIRED = 6  # configs: of more, each is compared with the best alone
MOST_DOTS = 40  # runs of a dot plot
LONGEST_NAME = 46  # characters over a dot
SEED_GAP = 0.012  # between the points of two seeds, as a share of the axis


# ---- names


def job_names(comparison: Comparison) -> dict[Run, str]:
    """Return the name of each run: the settings in which it differs, as `r=2 seed=1`; its folder where none differ."""
    rows = _telling_settings(comparison)
    names = {run: _named(row) for run, row in rows.items()}
    alike = {name for name in names.values() if not name or list(names.values()).count(name) > 1}
    return {
        run: f"{name} ({short_name(run.folder)})".strip() if name in alike and name else name or short_name(run.folder)
        for run, name in names.items()
    }


def config_names(comparison: Comparison) -> dict[str, str]:
    """Return for the name that a difference has of a config, or run, its name by settings.

    A difference names them by their paths, or by the last two parts of these.
    """
    rows, runs = _telling_settings(comparison), job_names(comparison)
    named = [([run], name) for run, name in runs.items()]
    for group in comparison.groups:
        if len(group) > 1:
            without_seed = _named({name: value for name, value in rows[group[0]].items() if name != SEED})
            named.append((group, f"{without_seed or short_name(group[0].folder)} ({len(group)} seeds)"))
    return {group_name(group, by): name for by in (short_name, str) for group, name in named}


def _telling_settings(comparison: Comparison) -> dict[Run, dict[str, Any]]:
    """Return the settings that tell the runs apart, without those that follow from them, as alpha may from the rank."""
    rows, kept = shown_settings(comparison), list[str]()
    for name in sorted(rows[0], key=lambda name: name == SEED):
        if _kinds(rows, [*kept, name]) > _kinds(rows, kept):
            kept.append(name)
    return {run: {name: row[name] for name in kept} for run, row in zip(comparison.runs, rows, strict=True)}


def _kinds(rows: list[dict[str, Any]], names: list[str]) -> int:
    return len({repr([row[name] for name in names]) for row in rows})


def _named(row: dict[str, Any]) -> str:
    """Return settings as `r=8 alpha=32`, with the group's name where the last part is not enough."""
    row = {name.removesuffix(".kind"): value for name, value in row.items()}
    last = [name.rpartition(".")[2] for name in row]
    short = {name: part if last.count(part) == 1 else name for name, part in zip(row, last, strict=True)}
    return " ".join(f"{short[name]}={_value(value)}" for name, value in row.items() if value is not None)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---- pairs


def pairs(comparison: Comparison) -> list[Difference]:
    """Return the differences of all pairs of configs: those from the best as they are, then the others.

    The p-values of the others are corrected for all pairs that are made.
    """
    sides = [group for group in comparison.groups if not set(group) & set(comparison.left_out)]
    if not comparison.differences or not 2 < len(sides) <= MOST_PAIRED:
        return comparison.differences
    sides.sort(key=lambda group: fmean(badness(run, comparison.sort) for run in group))
    best, score, margin = sides[0], comparison.differences[0].score, comparison.differences[0].margin
    read = [
        Side(group_name(group, str), tuple(read_outcome(run) for run in group)) for group in sides if group is not best
    ]
    others = [difference(b, a, score=score, margin=margin) for a, b in combinations(read, 2)]
    every = corrected([*comparison.differences, *others])
    return [*comparison.differences, *every[len(comparison.differences) :]]


def pair_sentences(comparison: Comparison) -> list[str]:
    """Return which pairs of configs are inconclusive, and which are equal for all practical purposes."""
    found, names = pairs(comparison), config_names(comparison)
    if not found:
        return []
    lists = {
        verdict: [one for one in found if one.verdict.startswith(verdict)] for verdict in ("inconclusive", "equal")
    }
    sentences = [
        f"{start}: {'; '.join(f'{names[one.b]} and {names[one.a]}' for one in listed)}."
        for start, listed in (
            ("Inconclusive pairs", lists["inconclusive"]),
            (f"Pairs that are equal within {_points(100 * found[0].margin)}", lists["equal"]),
        )
        if listed
    ]
    if not lists["inconclusive"]:
        sentences.insert(0, "No pair is inconclusive.")
    return sentences


def asked_of_one_seed(comparison: Comparison) -> str:
    """Return what a verdict asks for where a config has one seed; nothing where all have several."""
    margins = [100 * one.margin for one in comparison.differences if one.one_seed]
    if not margins:
        return ""
    return (
        f"With one seed per config, better or worse needs p < {ALPHA_ONE_SEED} and {_points(margins[0])}, since "
        "two seeds of one config differ too; equal: the 90 % interval lies within that margin."
    )


def _points(points: float) -> str:
    """Return `1 point`, `2 points`."""
    return f"{points:g} point{'' if points == 1 else 's'}"


# ---- plot


def plot(comparison: Comparison, materials: Sequence[Material]) -> Content | None:
    """Return the figure of a sweep: a line over the number that was varied, else a dot for each run."""
    if len(materials) < 2:
        return None
    name = HEADLINES[materials[0].task][0]
    by_run = {material.run: material for material in materials}
    if setting := varied_number(comparison):
        return _line(comparison, by_run, setting, name)
    return _dots(comparison, by_run, name)


def varied_number(comparison: Comparison) -> str:
    """Return the numeric setting that alone tells the configs apart; '' where there is none."""
    rows = _telling_settings(comparison)
    names = [name for name in rows[comparison.runs[0]] if name != SEED]
    if len(names) != 1:
        return ""
    values = [row[names[0]] for row in rows.values()]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return names[0] if numeric else ""


def _line(comparison: Comparison, by_run: dict[Run, Material], setting: str, name: str) -> Content:
    values = {run: float(flatten(read_json(run.config))[setting]) for run in by_run}
    x = value_axis(setting, sorted(set(values.values())))
    lines = [_series(comparison, by_run, values, (x, split, name)) for split in ("validation", "test")]
    y = nice_axis(
        score_name(name), [end for line in lines for _, *ends in (*line.points, *line.bounds) for end in ends]
    )
    order = sorted(by_run, key=lambda run: values[run])
    about = f"{opened(score_name(name))} on test by {setting}: " + "; ".join(
        f"{values[run]:g}: {_score(by_run[run], name)}" for run in order
    )
    legend = [("main", "test, with 95 % intervals"), ("other", "validation")]
    return {"caption": f"{about}.", "legend": legend, "svg": Chart(x.axis, y, lines, about).svg()}


def _series(
    comparison: Comparison, by_run: dict[Run, Material], values: dict[Run, float], what: tuple[Any, str, str]
) -> Line:
    """Return the line through the means over seeds, with the points and intervals of single runs on test."""
    x, split, name = what
    means, bounds, single = [], [], []
    for group in sorted(comparison.groups, key=lambda group: values[group[0]]):
        place = x.place(values[group[0]])
        scores = [by_run[run].metrics[split][name] for run in group]
        means.append((place, fmean(scores)))
        for number_, (run, score) in enumerate(zip(group, scores, strict=True)):
            shifted = place + (number_ - (len(group) - 1) / 2) * SEED_GAP * (x.axis.high - x.axis.low)
            found = by_run[run].metrics[split].get("intervals", {}).get(name)
            bounds += [(shifted, *found)] if found and split == "test" else []
            single += [(shifted, score)] if len(group) > 1 and split == "test" else []
    return Line(split, means, "main" if split == "test" else "other", bounds=bounds, hollow=single)


def _dots(comparison: Comparison, by_run: dict[Run, Material], name: str) -> Content:
    names, runs = job_names(comparison), comparison.runs[:MOST_DOTS]
    short = short_names([names[run] for run in runs], LONGEST_NAME)
    rows = [
        (text, by_run[run].test[name], by_run[run].test.get("intervals", {}).get(name))
        for text, run in zip(short, runs, strict=True)
    ]
    ends = [end for _, value, bounds in rows for end in (value, *(bounds or ()))]
    about = f"{opened(score_name(name))} on test, best on validation first: " + "; ".join(
        f"{names[run]}: {_score(by_run[run], name)}" for run in runs
    )
    x: Axis = nice_axis(score_name(name), ends)
    more = f"; the first {len(runs)} of {len(comparison.runs)} runs" if len(runs) < len(comparison.runs) else ""
    caption = f"{opened(score_name(name))} on test with 95 % intervals, best on validation first{more}."
    return {"caption": caption, "legend": [], "svg": DotPlot(x, rows, about).svg()}


def _score(material: Material, name: str) -> str:
    found = material.test.get("intervals", {}).get(name)
    return f"{number(material.test[name])} {interval(found)}".strip()
