"""`ftclf check`: look a data set over, print the table, write the page, and tell by the exit code how bad it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ftclf.config import CheckConfig
from ftclf.data import Data, load_data
from ftclf.data.check.duplicates import duplicates
from ftclf.data.check.finding import Finding, worst
from ftclf.data.check.fix import CHANGES, dropped_rows, refuse_used_folder, write_fixed
from ftclf.data.check.groups import shared_groups
from ftclf.data.check.labels import labels
from ftclf.data.check.raw_rows import raw_rows
from ftclf.system.console import say


def check_data(config: CheckConfig) -> int:
    """Run every check; return 1 with `strict` where one warns."""
    if config.fix:
        refuse_used_folder(Path(config.fix).expanduser())
    data = load_data(config.dataset)
    findings = list(run_checks(data, config))
    for finding in findings:
        say(f"{finding.verdict}: {finding.title}: {finding.count} of {finding.of}; {finding.advice}")
    if config.fix:
        _fix(data, findings, config)
    return int(config.strict and worst(findings) in ("warning", "error"))


def _fix(data: Data, findings: list[Finding], config: CheckConfig) -> None:
    """Write the clean copy and say how to train on it."""
    folder = Path(str(config.fix)).expanduser()
    dropped = dropped_rows(data, findings)
    command = write_fixed(data, raw_rows(data, config.dataset), dropped, {}, folder)
    counts = ", ".join(f"{len(rows)} {split}" for split, rows in dropped.items() if split != "test")
    say(f"{folder}: without {counts} rows, test as it was; {CHANGES} lists what went; train on it by\n  {command}")


def run_checks(data: Data, config: CheckConfig) -> Iterator[Finding]:
    """Yield what each check finds, in the order of the table."""
    yield from duplicates(data, config.near)
    if config.semantic:
        yield from _semantic(data, config)
    yield from shared_groups(data, config.dataset.group_column)
    yield from labels(data)


def _semantic(data: Data, config: CheckConfig) -> Iterator[Finding]:
    from ftclf.score.frozen_vectors import FrozenEncoder
    from ftclf.score.semantic_duplicates import semantic_duplicates

    encoder = FrozenEncoder.of(config.model, config.dataset)
    vectors = {split: encoder.vectors(rows) for split, rows in data.splits.items()}
    yield from semantic_duplicates(data, vectors, config.similarity)
