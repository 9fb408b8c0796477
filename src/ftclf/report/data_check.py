"""`ftclf check`: look a data set over, print the table, write the page, and tell by the exit code how bad it is."""

from __future__ import annotations

from collections.abc import Iterator

from ftclf.config import CheckConfig
from ftclf.data import Data, load_data
from ftclf.data.check.duplicates import duplicates
from ftclf.data.check.finding import Finding, worst
from ftclf.system.console import say


def check_data(config: CheckConfig) -> int:
    """Run every check; return 1 with `strict` where one warns."""
    data = load_data(config.dataset)
    findings = list(run_checks(data, config))
    for finding in findings:
        say(f"{finding.verdict}: {finding.title}: {finding.count} of {finding.of}; {finding.advice}")
    return int(config.strict and worst(findings) in ("warning", "error"))


def run_checks(data: Data, config: CheckConfig) -> Iterator[Finding]:
    """Yield what each check finds, in the order of the table."""
    yield from duplicates(data, config.near)
