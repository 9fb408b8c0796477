"""docs/benchmarks.md: its tables are made from the results file; what stands around them is written by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from benchmark.record import FAILED, MEASURED, OPEN

SIDES = {
    "examples_per_second": "examples/s",
    "tokens_per_second": "tokens/s",
    "padding": "padding",
    "texts_per_second": "texts/s",
    "seconds": "seconds",
    "seconds_to_first_step": "seconds to first step",
    "peak_memory_mb": "peak MB",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
}
COMPARISONS = {"at least": "at least", "at most": "under", "no worse": "no worse than"}


def filled(text: str, results: dict[str, Any], others: Sequence[dict[str, Any]] = ()) -> str:
    """Return the page with its tables made new; `others` are results of other machines."""
    for name, lines in tables(results, others).items():
        start, end = f"<!-- bench: {name} -->", f"<!-- end: {name} -->"
        if start not in text or end not in text:
            raise ValueError(f"docs/benchmarks.md has no place for the table '{name}' ({start} ... {end})")
        before, _, rest = text.partition(start)
        table = "\n".join(lines)
        text = f"{before}{start}\n{table}\n{end}{rest.partition(end)[2]}"
    return text


def tables(results: dict[str, Any], others: Sequence[dict[str, Any]] = ()) -> dict[str, list[str]]:
    rows = results.get("rows", [])
    cpu = [row for row in rows if not row["name"].startswith("gpu_")]
    gpu = [row for one in (results, *others) for row in one.get("rows", []) if row["name"].startswith("gpu_")]
    every = (results, *others)
    others = [one for one in others if any(not row["name"].startswith("gpu_") for row in one["rows"])]
    return {
        "cpu": [*figures(cpu), "", provenance(cpu)],
        "others": [line for other in others for line in (*figures(other["rows"]), "", provenance(other["rows"]), "")],
        "gpu": [*figures(gpu), "", provenance(gpu)],
        "sides": sides([*cpu, *gpu]),
        "limit": [line for one in every for line in limit(one.get("rows", []))],
    }


def figures(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of figures and goals."""
    lines = ["| row | what | beside | measured | lowest to highest | goal | |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        cells = [f"`{row['name']}`", row["about"], row["peer"] or "", *measured(row), goal(row), mark(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def measured(row: dict[str, Any]) -> tuple[str, str]:
    """Return the figure and its spread, or why there is none."""
    if row["status"] != MEASURED:
        return {FAILED: "failed", OPEN: "open"}[row["status"]], escaped(row["reason"])
    value = row["ratio"] if row["value"] is None else row["value"]
    scatter = "95 % interval " if row["unit"] == "points" else ""
    between = f"{number(row['low'])} to {number(row['high'])}" if row["count"] > 1 else "measured once"
    return f"**{quantity(value, row['unit'])}**", f"{scatter}{between}"


def goal(row: dict[str, Any]) -> str:
    return "" if row["goal"] is None else f"{COMPARISONS[row['goal_kind']]} {row['goal']:g}{sign(row['unit'])}"


def mark(row: dict[str, Any]) -> str:
    return {True: "reached", False: "missed", None: ""}[row["reached"]]


def quantity(value: float, unit: str) -> str:
    return f"{number(value)}{sign(unit)}"


def sign(unit: str) -> str:
    return "×" if unit == "times" else f" {unit}"


def number(value: float) -> str:
    """Return three digits: 0.34, 4.1, 23.5, 1234."""
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def escaped(text: str) -> str:
    return re.sub(r"([|<>`*_])", r"\\\1", text)


def sides(rows: list[dict[str, Any]]) -> list[str]:
    """Return what each side did, for the rows that have two."""
    lines = [f"| row | side | {' | '.join(SIDES.values())} |", "|---|---|" + "---|" * len(SIDES)]
    for row in rows:
        for side in ("ours", "peer"):
            if found := row["details"].get(side):
                who = "" if side == "ours" else row["peer"]
                lines.append(
                    f"| `{row['name']}` | {who or 'ftclf'} | {' | '.join(cell(found, key) for key in SIDES)} |"
                )
    return lines


def cell(found: dict[str, Any], key: str) -> str:
    if key not in found:
        return ""
    if key == "padding":
        return f"{found[key]:.0%}"
    return f"{found[key]:.3f}" if key in ("accuracy", "macro_f1") else number(found[key])


def limit(rows: list[dict[str, Any]]) -> list[str]:
    """Return the measured rates of matrix products."""
    lines = []
    for row in rows:
        if rates := row["details"].get("gflop_per_second"):
            lines += [
                f"`{row['name']}` on {row['measured']['machine']}: "
                f"{row['details']['weights_every_token_meets'] / 1e6:.1f} M weights meet every token, "
                f"so that {row['details']['limit_tokens_per_second']:,} real tokens per second would be 100 %.",
                "",
                f"| GFLOP/s | {' | '.join(rates['fp32'])} |",
                "|---|" + "---|" * len(rates["fp32"]),
                *(
                    f"| {kind} | {' | '.join(f'{rate:,}' for rate in found.values())} |"
                    for kind, found in rates.items()
                ),
                "",
            ]
    return lines or ["Not measured yet."]


def provenance(rows: list[dict[str, Any]]) -> str:
    """Return where, when and of which commit the rows were measured."""
    places: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        if one := row["measured"]:
            where, when = f"{one['machine']}, {one['versions']}", f"{one['date'][:10]}, commit {one['git_commit']}"
            places.setdefault(where, {}).setdefault(when, []).append(f"`{row['name']}`")
    parts = [
        "\n".join([f"{place}:", "", *(f"* {when}: {', '.join(names)}" for when, names in sorted(found.items()))])
        for place, found in sorted(places.items())
    ]
    return "\n\n".join(parts) or "Nothing of this was measured yet."
