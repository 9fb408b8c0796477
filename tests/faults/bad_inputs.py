"""Bad inputs, one by one: each is refused in one line, or read as documented."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from faults import inputs_formats as formats
from faults import inputs_labels as labels
from faults import inputs_splits as splits
from faults.inputs import Case, refused
from faults.processes import Trial, in_this_process, run
from faults.world import Check, World
from ftclf.cli.main import run as command

NAME = "bad inputs: csv, tsv, json, jsonl, parquet, labels, splits"
GOAL = "exit 2 and one line with file, row and column, in 5 s, nothing written; or the documented rows"
LIMIT = 5.0  # seconds
NOBODY = 65534

CASES = [
    *formats.FILES,
    *formats.ENCODINGS,
    *formats.SEPARATED,
    *formats.OBJECTS,
    *formats.PARQUET,
    *labels.LABELS,
    *splits.SPLITS,
    *splits.SOURCES,
    *splits.SCORED,
]
FORBIDDEN = refused("a file that may not be read", "d.csv", "text,label\na,x\n", "you may not read it")


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    for number, case in enumerate(CASES):
        yield seed, lambda number=number, case=case: _try(world, number, case)
    yield seed, lambda: _forbidden(world)


def _try(world: World, number: int, case: Case) -> str:
    folder = world.folder("bad_inputs", number)
    case.write(folder)
    return problem(case, folder, world.reference("lora").folder)


def problem(case: Case, folder: Path, checkpoint: Path) -> str:
    """Return what is wrong with what comes of a case whose files stand in a folder, or nothing."""
    if case.rows:
        return case.wrong_rows(folder)
    before = contents(folder)
    trial = Trial(case.command(folder, checkpoint), folder.with_suffix(".out"))
    if (code := trial.wait()) is None or trial.seconds > LIMIT:
        trial.kill()
        return f"{case.name}: it took {trial.seconds:.1f} s, or did not end"
    written = "" if contents(folder) == before else f"{case.name}: files were written"
    return case.wrong_line(code, trial.said()) or written


def _forbidden(world: World) -> str:
    folder = world.folder("bad_inputs", "forbidden")
    FORBIDDEN.write(folder)
    (folder / "d.csv").chmod(0)
    world.root.chmod(0o711)
    folder.chmod(0o777)
    words = FORBIDDEN.command(folder, folder)
    code, said = run(words, folder.with_suffix(".out"), become_nobody, words)
    return FORBIDDEN.wrong_line(code, said)


def become_nobody(words: list[str]) -> None:
    """Give up the rights of root, who may read everything. Runs in the trial, before the command.

    Python itself may lie where others cannot read: what the command imports is imported before, by its own refusal of
    the file's one class.
    """
    if os.geteuid() == 0:
        in_this_process(lambda: command(words))
        os.seteuid(NOBODY)


def contents(folder: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*") if not path.is_char_device()
    }
