"""`ftclf check apply=`: a copy of the data with the labels that a person has corrected, and how to see if it helps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ftclf.config import CheckConfig
from ftclf.config.did_you_mean import pasteable
from ftclf.data import Data
from ftclf.data.check.corrections import read_corrections, refuse_labels_gone
from ftclf.data.check.fix import write_fixed
from ftclf.data.check.raw_rows import raw_rows
from ftclf.system.console import say
from ftclf.system.text import counted

WHY = "label corrected by hand"


def apply_corrections(data: Data, config: CheckConfig, as_given: Sequence[str]) -> int:
    """Write the corrected copy and print the commands that compare it with the data as given; return 0.

    `as_given` are the words of the command line that `ftclf train` takes too.
    """
    assert config.apply is not None
    assert config.fix is not None
    folder = Path(config.fix).expanduser()
    relabelled = read_corrections(Path(config.apply).expanduser(), data)
    refuse_labels_gone(data, relabelled)
    changes = {split: {row: (names, WHY) for row, names in rows.items()} for split, rows in relabelled.items()}
    command = write_fixed(data, raw_rows(data, config.dataset), {}, changes, folder)
    counts = [counted(len(rows), f"{split} row") for split, rows in relabelled.items()]
    say(f"{folder}: a copy of {data.name}, {' and '.join(counts) or 'no row'} relabelled, test as it was")
    say("next, to see whether it helps:")
    of_model = [pasteable(word) for word in as_given if word.lstrip("+").startswith("model") and "=" in word]
    given, fixed = (f"runs/{data.name}-{name}" for name in ("as_given", "relabelled"))
    say(f"  {' '.join(map(pasteable, ['ftclf', 'train', *as_given, f'run_dir={given}']))}")
    say(f"  {' '.join([command, *of_model, pasteable(f'run_dir={fixed}')])}")
    say(f"  {' '.join(map(pasteable, ['ftclf', 'compare', given, fixed]))}")
    return 0
