"""`ftclf check`: look a data set over, print the table, write the page, and tell by the exit code how bad it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from ftclf.config import CheckConfig, TrainConfig
from ftclf.config.did_you_mean import pasteable
from ftclf.data import Data, load_data
from ftclf.data.check.duplicates import duplicates
from ftclf.data.check.finding import Finding, worst
from ftclf.data.check.fix import CHANGES, dropped_rows, write_fixed
from ftclf.data.check.groups import shared_groups
from ftclf.data.check.labels import labels
from ftclf.data.check.lengths import UNCUT, lengths
from ftclf.data.check.raw_rows import raw_rows
from ftclf.data.check.shortcuts import shortcuts
from ftclf.data.check.texts import texts
from ftclf.model.base_weights import Weights, find_weights
from ftclf.report.check_page import check_page, excerpt
from ftclf.report.check_table import findings_table, tally, tally_words
from ftclf.report.label_check import FineTuned, check_labels
from ftclf.report.relabelling import apply_corrections
from ftclf.storage.new_folder import new_check_folder, refuse_used
from ftclf.storage.run_folder import write_json, write_text
from ftclf.system.console import say
from ftclf.system.imports import quiet_libraries
from ftclf.system.progress_bar import phase
from ftclf.system.tables import show
from ftclf.system.text import counted, data_name
from ftclf.system.versions import versions

# Settings of check that train does not have.
OF_CHECK = {one.name for one in fields(CheckConfig)} - {one.name for one in fields(TrainConfig)}
PACKAGES = ("ftclf", "tokenizers", "transformers", "scikit-learn", "rapidfuzz", "cleanlab", "numpy")


def check_data(config: CheckConfig, words: list[str], fine_tuned: FineTuned) -> int:
    """Run every check and write what it found; return 1 with `strict` where one warns.

    `words` are the settings of the command line, for the page and for what to type next. `fine_tuned` makes the judge
    of labels that is trained.
    """
    start = time.perf_counter()
    output = Path(config.output).expanduser().absolute() if config.output else None
    if output is not None:
        refuse_used("output", output)
    if config.fix:
        refuse_used("fix", Path(config.fix).expanduser())
    if config.apply:
        as_given = [word for word in words if not _of_check(word)]
        return apply_corrections(load_data(config.dataset), config, as_given)
    weights = find_weights(config.model)
    data = load_data(config.dataset)
    name = data_name(data.name, config.dataset.train)
    with new_check_folder(output, name) as folder:
        checks = run_checks(data, config, weights)
        if config.labels:
            checks = chain(checks, check_labels(data, config, folder, fine_tuned))
        findings, seconds = _timed(checks, f"checking {name}")
        seconds["in all"] = round(time.perf_counter() - start, 3)
        rows = ", ".join(f"{len(split):,} {split_name}" for split_name, split in data.splits.items())
        show(findings_table(findings, f"{name}: {rows} rows, {counted(len(data.label_names), 'label')}"))
        about = [_typed("check", words), f"{datetime.now():%Y-%m-%d %H:%M}", f"{seconds['in all']:.1f} seconds"]
        write_json(folder / "check.json", _as_json(data, name, findings, seconds, about[0]))
        write_text(folder / "check.html", check_page(data, name, findings, about=about))
    page = folder / "check.html"
    shown = page.relative_to(Path.cwd()) if page.is_relative_to(Path.cwd()) else page
    say(f"{tally_words(tally(findings))}; {shown}{'' if config.fix else f'; next: {_next(findings, words)}'}")
    if config.fix:
        _fix(data, findings, config)
    return int(config.strict and worst(findings) in ("warning", "error"))


def run_checks(data: Data, config: CheckConfig, weights: Weights) -> Iterator[Finding]:
    """Yield what each check finds, in the order of the table."""
    yield from duplicates(data, config.near)
    if config.semantic:
        yield from _semantic(data, config)
    yield from shared_groups(data, config.dataset.group_column)
    yield from labels(data)
    yield from texts(data)
    yield from _lengths(data, config, weights)
    yield from shortcuts(data)


def _lengths(data: Data, config: CheckConfig, weights: Weights) -> Iterator[Finding]:
    """Yield what the tokens of the whole texts show."""
    quiet_libraries()
    from ftclf.model.network import load_tokenizer, longest_text, outline
    from ftclf.model.tokens import cached_tokens

    tokenizer = load_tokenizer(weights.folder)
    tokens = {name: cached_tokens(split, tokenizer, UNCUT)[0] for name, split in data.splits.items()}
    longest = longest_text(outline(weights.folder))
    yield from lengths(data, tokens, tokenizer, config.dataset.max_length, longest)


def _semantic(data: Data, config: CheckConfig) -> Iterator[Finding]:
    from ftclf.data.check.semantic import semantic_duplicates
    from ftclf.score.frozen_vectors import FrozenEncoder

    encoder = FrozenEncoder.of(config.model, config.dataset)
    vectors = {split: encoder.vectors(rows) for split, rows in data.splits.items()}
    yield from semantic_duplicates(data, vectors, config.similarity)


def _fix(data: Data, findings: list[Finding], config: CheckConfig) -> None:
    """Write the clean copy and say how to train on it."""
    folder = Path(str(config.fix)).expanduser()
    dropped = dropped_rows(data, findings)
    command = write_fixed(data, raw_rows(data, config.dataset), dropped, {}, folder)
    counts = ", ".join(f"{len(rows)} {split}" for split, rows in dropped.items() if split != "test")
    say(f"{folder}: without {counts} rows, test as it was; {CHANGES} lists what went; train on it by\n  {command}")


def _timed(findings: Iterator[Finding], what: str) -> tuple[list[Finding], dict[str, float]]:
    """Return the findings, and the seconds that each family of checks took."""
    done: list[Finding] = []
    seconds: dict[str, float] = {}
    last = time.perf_counter()
    with phase(what):
        for finding in findings:
            now = time.perf_counter()
            seconds[finding.check] = seconds.get(finding.check, 0.0) + now - last
            last = now
            done.append(finding)
    return done, {family: round(value, 3) for family, value in seconds.items()}


def _as_json(data: Data, name: str, findings: list[Finding], seconds: dict[str, float], typed: str) -> dict[str, Any]:
    counts = {split: rows.rows_per_label(len(data.label_names)) for split, rows in data.splits.items()}
    return {
        "dataset": name,
        "command": typed,
        "rows": {split: len(rows) for split, rows in data.splits.items()},
        "labels": {
            label: {split: int(rows[number]) for split, rows in counts.items()}
            for number, label in enumerate(data.label_names)
        },
        "verdicts": tally(findings),
        "worst": worst(findings),
        "findings": [_short(finding.as_json()) for finding in findings],
        "notes": data.notes,
        "seconds": seconds,
        "versions": versions(PACKAGES),
    }


def _short(finding: dict[str, Any]) -> dict[str, Any]:
    """Return a finding without the ends of very long texts."""
    return {**finding, "examples": [{**row, "text": excerpt(row["text"], row["why"])} for row in finding["examples"]]}


def _next(findings: list[Finding], words: list[str]) -> str:
    """Return what to type next: a clean copy where rows should be dropped, else training."""
    grave = [finding for finding in findings if finding.verdict in ("warning", "error")]
    if any(finding.drop and finding.count for finding in grave):
        again = [word for word in words if not word.lstrip("+").startswith("output=")]  # which holds this check
        return f"{_typed('check', again)} fix=clean"
    return _typed("train", [word for word in words if not _of_check(word)])


def _of_check(word: str) -> bool:
    return word.lstrip("+-").partition("=")[0].replace("-", "_") in OF_CHECK


def _typed(command: str, words: list[str]) -> str:
    return " ".join(map(pasteable, ["ftclf", command, *words]))
