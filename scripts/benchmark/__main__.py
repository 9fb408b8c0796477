"""How fast ftclf is beside the ways in which people fine-tune these models today.

scripts/bench                        the short form, a few minutes: the main comparisons, once, with few steps
scripts/bench --full                 every row, several rounds: most of an hour on a quiet machine
scripts/bench --only lora,padded     some rows, as thoroughly as --full
scripts/bench --json FILE            also write the rows to FILE, after each one; rows that are not measured stay
scripts/bench --docs                 write docs/benchmarks.md from results/bench*.json, and measure nothing
scripts/bench --device cuda          the rows for a GPU
scripts/bench --weights FOLDER       train these weights instead of the default model's

A row that cannot be measured says why, and the others go on; the exit code is 1 then. Goals that are missed are shown
and fail nothing.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmark import page, record
from benchmark.bench import ROOT, Bench
from benchmark.material import SEED
from benchmark.plan import ORDER, TASKS, Task
from benchmark.process import FailedError, run
from benchmark.record import FAILED, OPEN, Row, missing

RESULTS, PAGE = ROOT / "results" / "bench.json", ROOT / "docs" / "benchmarks.md"
ROUNDS = 3


def main(words: list[str]) -> int:
    options = parsed(words)
    if options.docs:
        write_page()
        return 0
    command = shlex.join(["scripts/bench", *words])
    head = described(command)
    print(f"{head['machine']['processor']}, {head['machine']['cores']} cores, ftclf {head['git_commit']}", flush=True)
    rows: list[Row] = []

    def keep(found: list[Row]) -> None:
        rows.extend(found)
        for one in found:
            print(line(one), flush=True)
        if options.json:
            content = record.merged(record.read(options.json), head, rows, ORDER)
            record.write(options.json, content)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C does: no process and no folder is left
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ftclf-bench-") as folder:
        rounds = options.rounds or (ROUNDS if options.thorough else 1)
        bench = Bench(Path(folder), options.device, rounds, not options.thorough, say, options.weights)
        for task in chosen(options):
            keep(measured(task, bench, measured_where(head)))
    print(f"{time.monotonic() - start:.0f} seconds")
    if options.json and options.json.resolve().parent == RESULTS.parent:
        write_page()
    return int(any(one.status == FAILED for one in rows))


def parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(task.name for task in TASKS)
    parser.add_argument("--full", action="store_true", help="every row, several rounds")
    parser.add_argument("--only", metavar="NAMES", help=names)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to this file")
    parser.add_argument("--docs", action="store_true", help="write docs/benchmarks.md and measure nothing")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where both sides compute")
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="train these weights, not the default model's")
    parser.add_argument("--rounds", type=int, help=f"times that each pair is run; {ROUNDS}, or 1 in the short form")
    options = parser.parse_args(words)
    options.names = options.only.split(",") if options.only else None
    if unknown := set(options.names or ()) - {task.name for task in TASKS}:
        parser.error(f"--only: no row {', '.join(sorted(unknown))}, allowed: {names}")
    options.thorough = options.full or options.names is not None
    if options.json and options.json.resolve().parent == RESULTS.parent and not options.thorough:
        parser.error(f"--json: the short form is too short for {RESULTS.name}; add --full or --only")
    return options


def chosen(options: argparse.Namespace) -> list[Task]:
    if options.names:
        return [task for task in TASKS if task.name in options.names]
    return [task for task in TASKS if task.short or options.full or options.device == "cuda" == task.device]


def measured(task: Task, bench: Bench, where: dict[str, Any]) -> list[Row]:
    """Measure the rows of a task; whatever goes wrong becomes the reason why there is no figure."""
    if task.device != bench.device:
        reason = f"needs --device {task.device}"
        return [missing(spec, OPEN, reason) for spec in task.specs]
    print(f"  {task.name}", flush=True)
    try:
        figures = task.measure(bench)
    except FailedError as error:
        reason = str(error)
    except Exception as error:  # a row of the benchmark itself that is wrong: the others go on
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    else:
        return [record.row(spec, figure, where) for spec, figure in zip(task.specs, figures, strict=True)]
    return [missing(spec, FAILED, reason, where) for spec in task.specs]


def described(command: str) -> dict[str, Any]:
    """Return what the figures depend on, asked for in another process: torch would make this one large."""
    probe = "import json; from ftclf.model.compute import describe_machine as d; print(json.dumps(d()))"
    from ftclf import __version__
    from ftclf.system.versions import git_commit, versions

    return {
        "command": command,
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "git_commit": git_commit(),
        "seed": SEED,
        "machine": run([sys.executable, "-c", probe], {}).answer,
        "versions": {"ftclf": __version__, **versions()},
    }


def measured_where(head: dict[str, Any]) -> dict[str, Any]:
    """Return the origin of one row: a file may hold rows of several invocations."""
    machine = head["machine"]
    name = machine["accelerator"] or f"{machine['processor']}, {machine['cores']} cores"
    versions = ", ".join(f"{package} {head['versions'][package]}" for package in ("python", "torch", "transformers"))
    return {"machine": name, "versions": versions, **{key: head[key] for key in ("date", "git_commit", "command")}}


def line(row: Row) -> str:
    if row.status != record.MEASURED:
        return f"{row.name:<20} {row.status}: {row.reason}"
    value = row.ratio if row.value is None else row.value
    assert value is not None
    spread = f"[{row.low:g}, {row.high:g}]" if row.count > 1 else ""
    wanted = "" if row.goal is None else f"{row.goal_kind} {row.goal:g}: {'reached' if row.reached else 'MISSED'}"
    shown = f"{value:g} {row.unit} {spread}"
    return f"{row.name:<20} {shown:<34} {wanted:<26} {row.about}{f' / {row.peer}' if row.peer else ''}"


def write_page() -> None:
    others = [record.read(path) for path in sorted(RESULTS.parent.glob("bench-*.json"))]
    PAGE.write_text(page.filled(PAGE.read_text(encoding="utf-8"), record.read(RESULTS), others), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
