"""Bad and strange files: each is refused in one line, or read as docs/data.md says. `scripts/faults` tries more."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.bad_inputs import CASES, problem
from faults.inputs import Case
from faults.mutations import check
from ftclf.runs import Run


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_an_input_is_refused_in_one_line_or_read_as_documented(case: Case, trained: Run, tmp_path: Path) -> None:
    case.write(tmp_path / "files")
    assert not problem(case, tmp_path / "files", trained.folder)


@pytest.mark.parametrize("seed", range(40))
def test_a_mutated_file_is_read_as_an_independent_reader_reads_it(seed: int, tmp_path: Path) -> None:
    assert not check(seed, tmp_path / "files")
