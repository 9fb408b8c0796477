"""`ftclf check apply=`: a copy of the data with the labels that a person has corrected, and how to see if it helps."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ftclf.config import CheckConfig
from ftclf.data import Data
from ftclf.data.check.corrections import read_corrections
from ftclf.data.check.relabelled_copy import settings_of_copy, write_relabelled
from ftclf.system.console import say
from ftclf.system.text import counted


def apply_corrections(data: Data, config: CheckConfig, as_given: Sequence[str]) -> int:
    """Write the corrected copy and print the commands that compare it with the data as given; return 0.

    `as_given` are the words of the command line that `ftclf train` takes too.
    """
    assert config.apply is not None
    assert config.fix is not None
    folder = Path(config.fix).expanduser()
    relabelled = read_corrections(Path(config.apply).expanduser(), data)
    write_relabelled(data, relabelled, folder)
    counts = [counted(len(rows), f"{split} row") for split, rows in relabelled.items()]
    say(f"{folder}: a copy of {data.name}, {' and '.join(counts) or 'no row'} relabelled, test as it was")
    say("next, to see whether it helps:")
    of_model = [word for word in as_given if word.lstrip("+").startswith("model") and "=" in word]
    of_copy = [*settings_of_copy(data, config.dataset, folder), *of_model]
    runs = [f"runs/{data.name}-{name}" for name in ("as_given", "relabelled")]
    for words, run in ((as_given, runs[0]), (of_copy, runs[1])):
        say(f"  {shlex.join(['ftclf', 'train', *words, f'run_dir={run}'])}")
    say(f"  {shlex.join(['ftclf', 'compare', *runs])}")
    return 0
