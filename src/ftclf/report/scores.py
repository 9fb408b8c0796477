"""The scores of a run: its sentence, the table with baselines, the curves behind the probabilities."""

from __future__ import annotations

from typing import Any

from ftclf.config import CHOOSING_METRICS, HEADLINES
from ftclf.report.charts import Chart, Line, nice_axis, share_axis, step_axis
from ftclf.report.facts import kept_step
from ftclf.report.material import Material
from ftclf.score.baselines import against_strongest
from ftclf.score.wording import baseline_name, difference, score_name, verdict
from ftclf.system.text import count, counted, interval, number, opened, percent

Content = dict[str, Any]

FEW = 10  # rows: the share of a bin with fewer says little
CALIBRATIONS = {"temperature": "temperature scaling", "platt": "Platt scaling", "isotonic": "isotonic regression"}


def sentence(material: Material) -> str:
    """Return the report's first line: the first headline score, and how it does against the best baseline."""
    test, name = material.test, HEADLINES[material.task][0]
    score = scored(test, name)
    line = f"{opened(score_name(name))} {score['text']} {score['interval']}".strip()
    line += f" on {counted(test['rows'], 'test row')}"
    beside = against_strongest(material.metrics, material.task)
    return f"{line}; {beside}." if beside else f"{line}."


def scored(metrics: dict[str, Any], name: str) -> Content:
    """Return a score and its interval as a cell of a table."""
    value, found = metrics.get(name), metrics.get("intervals", {}).get(name)
    return {"value": value, "text": number(value), "bounds": found, "interval": interval(found)}


def score_table(material: Material) -> Content:
    """Return the headline scores of the run and of its baselines, and all scores of both splits."""
    names = HEADLINES[material.task]
    baselines = material.metrics.get("baselines", {})
    return {
        "names": [score_name(name) for name in names],
        "run": [scored(material.test, name) for name in names],
        "baselines": [
            {
                "name": opened(baseline_name(key)),
                "about": found.get("about"),
                "cells": [_baseline_score(found, name) for name in names],
            }
            for key, found in baselines.items()
        ],
        "all": _all_scores(material),
    }


def curves(material: Material) -> Content | None:
    """Return the training loss and the validation metrics that chose the checkpoint and are shown, by step."""
    given = material.config["training"]["metric"]
    metric = given or CHOOSING_METRICS[material.task][0]
    figures, once = [], []  # a chart of one point shows less than its number
    for key, label, dots in (
        ("loss", "training loss", False),
        (f"validation_{metric}", f"validation {score_name(metric)}", True),
        *([] if given else [("validation_log_loss", "validation log loss", True)]),
    ):
        points = [(row["step"], row[key]) for row in material.history if row.get(key) is not None]
        if len(points) == 1:
            once.append(f"{opened(label)} was measured once, after step {count(points[0][0])}: {number(points[0][1])}.")
        elif points:
            figures.append(_curve(points, label, dots=dots))
    about = {"metric": score_name(given or "log_loss"), "kept": kept_step(material), "once": once}
    return {"figures": figures, **about} if figures or once else None


def _curve(points: list[tuple[float, float]], label: str, *, dots: bool) -> Content:
    first, last = points[0], points[-1]
    low, high = min(y for _, y in points), max(y for _, y in points)
    about = (
        f"{opened(label)} by optimizer step: {number(first[1])} at step {count(first[0])}, "
        f"{number(last[1])} at step {count(last[0])}; lowest {number(low)}, highest {number(high)}."
    )
    x = step_axis("optimizer step", last[0])
    y = nice_axis(label, [y for _, y in points])
    return {"caption": about, "legend": [], "svg": Chart(x, y, [Line(label, points, dots=dots)], about).svg()}


def calibration(material: Material) -> Content | None:
    """Return the reliability of the probabilities, and what leaving rows unanswered would win."""
    found, selective = material.test.get("calibration"), material.test.get("selective")
    if not found and not selective:
        return None
    figures = [_reliability(found, several=material.several)] if found else []
    figures += [_coverage(selective, several=material.several)] if selective else []
    return {
        "figures": figures,
        "errors": _calibration_errors(found) if found else None,
        "abstain": selective.get("abstain") if selective else None,
    }


def _calibration_errors(found: Content) -> Content:
    """Return how far confidence is from being right, before calibration too if there was one."""
    keys = ["{}_before", "{}"] if found["method"] in CALIBRATIONS else ["{}"]
    rows = [
        {"name": title, "numbers": [number(found.get(key.format(name)), 4) for key in keys]}
        for name, title in (("ece", "ECE"), ("brier", "Brier score"))
    ]
    return {
        "names": ["before", "after"] if len(keys) > 1 else ["as it is"],
        "method": CALIBRATIONS.get(found["method"], "no calibration"),
        "rows": rows,
        "chance": number(found.get("ece_by_chance"), 4) if "ece_by_chance" in found else "",
    }


def _reliability(found: Content, *, several: bool) -> Content:
    calibrated = found["method"] in CALIBRATIONS
    kinds = [("after calibration" if calibrated else "as it is", "bins", "main")]
    kinds = [("before calibration", "bins_before", "other"), *kinds] if calibrated else kinds
    drawn = [(name, found[key], kind) for name, key, kind in kinds if found.get(key)]
    lines = [_reliability_line(bins, name, kind) for name, bins, kind in drawn]
    bins = "; ".join(
        f"{number(row['confidence'], 2)}: {number(row['accuracy'], 2)} of {count(row['count'])}"
        for row in found["bins"]
    )
    before = f"{number(found.get('ece_before'), 4)} before calibration, " if calibrated else ""
    about = f"Reliability. ECE {before}{number(found['ece'], 4)} as it is. Share right at each mean confidence: {bins}"
    chart = Chart(share_axis("confidence"), share_axis("share right"), lines, about, diagonal=True)
    caption = "Reliability: on the dotted diagonal, confidence is the share that is right."
    if few := "; ".join(words for name, bins, _ in drawn if (words := _few_bins(bins, name))):
        caption += f" Hollow: bins of fewer than {FEW} {'probabilities' if several else 'rows'} ({few})."
    return {"caption": caption, "svg": chart.svg(), "legend": [(line.kind, line.name) for line in lines]}


def _reliability_line(bins: list[Content], name: str, kind: str) -> Line:
    """Return the bins as points; bins of few rows are hollow."""
    points = [(row["confidence"], row["accuracy"], row["count"] < FEW) for row in bins]
    sure, few = ([(x, y) for x, y, is_few in points if is_few == wanted] for wanted in (False, True))
    return Line(name, sure, kind, hollow=few)


def _few_bins(bins: list[Content], name: str) -> str:
    """Return the rows of each bin that has few, in words; nothing if there is no such bin."""
    few = [f"{count(row['count'])} at {number(row['confidence'], 2)}" for row in bins if row["count"] < FEW]
    return f"{name} {', '.join(few)}" if few else ""


def _coverage(found: Content, *, several: bool) -> Content:
    points = [(row["coverage"], row["risk"]) for row in found["curve"]]
    wrong = "not exactly right" if several else "wrong"
    kept = ", ".join(
        f"{percent(row['risk'])} at {percent(row['coverage'])}"
        for row in found["curve"][:: max(1, len(points) // 10)] + found["curve"][-1:]
    )
    about = f"Risk and coverage. Share of the answered rows that are {wrong}, by the share that is answered: {kept}"
    abstain = found.get("abstain")
    marked = {f"below {number(abstain['below'], 2)}: no answer": abstain["coverage"]} if abstain else {}
    y = nice_axis(f"share {wrong}", [0.0, *(risk for _, risk in points)])
    chart = Chart(share_axis("share of rows answered"), y, [Line("risk", points, dots=False)], about, marked=marked)
    caption = f"Risk and coverage: the most confident rows are answered first. AURC {number(found['aurc'])}."
    return {"caption": caption, "svg": chart.svg(), "legend": []}


def _baseline_score(found: dict[str, Any], name: str) -> Content:
    gained = found.get("difference", {}).get(name)
    cell = scored({**found.get("scores", {}), "intervals": found.get("intervals", {})}, name)
    return cell | (
        {"difference": difference(gained, name, unit=""), "verdict": verdict(gained, name)} if gained else {}
    )


def _all_scores(material: Material) -> list[Content]:
    names = [name for name, value in material.test.items() if isinstance(value, float)]
    return [
        {"name": score_name(name), "cells": [scored(material.metrics[split], name) for split in ("validation", "test")]}
        for name in names
    ]
