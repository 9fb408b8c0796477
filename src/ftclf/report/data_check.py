"""`ftclf check`: look a data set over, print the table, write the page, and tell by the exit code how bad it is."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path

from ftclf.config import CheckConfig
from ftclf.data import Data, load_data
from ftclf.data.check.corrections import read_corrections
from ftclf.data.check.duplicates import duplicates
from ftclf.data.check.finding import Finding, worst
from ftclf.data.check.relabelled_copy import settings_of_copy, write_relabelled
from ftclf.report.label_check import FineTuned, check_labels
from ftclf.system.console import say
from ftclf.system.errors import ConfigError, ResourceError
from ftclf.system.text import counted

# Settings that `ftclf train` does not have.
OF_CHECK = {item.name for item in fields(CheckConfig)} - {"dataset", "model"}


def check_data(config: CheckConfig, typed: Sequence[str] = (), fine_tuned: FineTuned | None = None) -> int:
    """Run every check; return 1 with `strict` where one warns.

    `typed` are the words of the command line, and `fine_tuned` makes the judge of labels that is trained.
    """
    data = load_data(config.dataset)
    if config.apply:
        apply_corrections(data, config, typed)
        return 0
    findings = list(run_checks(data, config))
    if config.labels:
        findings += check_labels(data, config, new_output(config), fine_tuned)
    for finding in findings:
        say(f"{finding.verdict}: {finding.title}: {finding.count} of {finding.of}; {finding.advice}")
    return int(config.strict and worst(findings) in ("warning", "error"))


def run_checks(data: Data, config: CheckConfig) -> Iterator[Finding]:
    """Yield what each check finds, in the order of the table."""
    yield from duplicates(data, config.near)


def new_output(config: CheckConfig) -> Path:
    """Make the folder for what a check writes: `output`, else checks/NAME/TIME."""
    time = datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    folder = Path(config.output).expanduser() if config.output else Path("checks", config.dataset.name, time)
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise ConfigError(f"output: {folder} exists; name a new folder") from error
    except OSError as error:
        raise ResourceError(f"output: cannot make {folder}: {error.strerror}; name another folder") from error
    return folder


def apply_corrections(data: Data, config: CheckConfig, typed: Sequence[str]) -> None:
    """Write a copy of the data with the labels of an edited csv, and say how to find out whether it helps."""
    assert config.apply is not None
    assert config.fix is not None
    folder = Path(config.fix).expanduser()
    relabelled = read_corrections(Path(config.apply).expanduser(), data)
    write_relabelled(data, relabelled, folder)
    changed = {split: len(rows) for split, rows in relabelled.items()}
    rows = ", ".join(f"{counted(count, 'row')} of {split}" for split, count in changed.items()) or "no row"
    say(f"{folder}: a copy of {data.name}, {rows} relabelled; test is as it was")
    say("Whether it helps, after training on both:")
    runs = [f"runs/{data.name}-{name}" for name in ("as_given", "relabelled")]
    as_given = [word for word in typed if word.lstrip("+").partition("=")[0] not in OF_CHECK]
    of_model = [word for word in as_given if word.lstrip("+").startswith("model") and "=" in word]
    of_copy = [*settings_of_copy(data, config.dataset, folder), *of_model]
    for words, run in ((as_given, runs[0]), (of_copy, runs[1])):
        say(f"  {shlex.join(['ftclf', 'train', *words, f'run_dir={run}'])}")
    say(f"  {shlex.join(['ftclf', 'compare', *runs])}")
