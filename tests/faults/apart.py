"""Many command lines in one fresh process that has imported nothing heavy: what each ends with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROGRAM = """
import contextlib, io, json, sys, time
from ftclf.cli.main import run
for words in json.load(sys.stdin):
    out, err, start = io.StringIO(), io.StringIO(), time.perf_counter()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(words)
    seconds = time.perf_counter() - start
    print(json.dumps([code, out.getvalue(), err.getvalue(), "torch" in sys.modules, seconds]), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """What a command line ended with."""

    code: int
    out: str
    said: str  # on stderr
    torch: bool  # whether it had been imported by then
    seconds: float


LIMIT = 900.0  # seconds until a process counts as hanging


def run_apart(lines: list[list[str]], folder: Path, **environment: str) -> list[Ended]:
    """Run command lines one after the other in a folder, in one new process. Raises TimeoutExpired where it hangs."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env={**os.environ, **environment},
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    found = [Ended(*json.loads(line)) for line in done.stdout.splitlines()]
    if len(found) != len(lines):
        raise RuntimeError(f"the process ended with {done.returncode} in {lines[len(found)]}: {done.stderr[-500:]}")
    return found


def one_line(ended: Ended, code: int = 2) -> str:
    """Return what is wrong with the end of a command that was to be refused, or nothing."""
    if ended.code != code or ended.said.count("\n") != 1 or "Traceback" in ended.said or "a bug in" in ended.said:
        return f"ended with {ended.code}: {ended.said}"
    if any(not char.isprintable() for char in ended.said[:-1]):
        return f"control characters reached the terminal: {ended.said!r}"
    return "torch was imported" if ended.torch else ""
