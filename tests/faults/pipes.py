"""What stands at the other end of a pipe: texts that come slowly, end early or never, readers that go away."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from faults.world import Check, World

NAME = "pipes: texts that come line by line, no texts, half a line, no stdin, no stdout, a reader that goes away"
GOAL = "a line is answered within a second, and what cannot be read or written ends quietly or in one line"
SOON = 1.0  # seconds until a line is answered

Command = subprocess.Popen[bytes]


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    for number, way in enumerate((_by_lines, _half_a_line, _nothing, _no_stdin, _no_stdout, _reader_gone, _many_lines)):
        yield seed + number, lambda w=way: w(world.reference("full").folder)


def _started(folder: Path, *more: str, stdin: int | None = subprocess.PIPE, shell: str = "") -> Command:
    words = [sys.executable, "-m", "ftclf", "predict", str(folder), *more]
    if shell:
        words = ["bash", "-c", f'"$@" {shell}', "bash", *words]
    return subprocess.Popen(words, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _ended(command: Command, code: int, lines: int | None, *, content: bytes = b"") -> str:
    out, said = command.communicate(content, timeout=300)
    if command.returncode != code or b"Traceback" in said or said.count(b"\n") > 1:
        return f"ended with {command.returncode}: {said.decode()}"
    return f"answered {len(out.splitlines())} lines, not {lines}" if lines not in (None, len(out.splitlines())) else ""


def _by_lines(folder: Path) -> str:
    command = _started(folder)
    assert command.stdin
    assert command.stdout
    slowest = 0.0
    for number in range(5):
        start = time.perf_counter()
        command.stdin.write(b"goal match\n")
        command.stdin.flush()
        command.stdout.readline()
        slowest = max(slowest, time.perf_counter() - start if number else 0.0)  # the first waits for the imports
    wrong = _ended(command, 0, 0)
    return wrong or (f"an answer took {slowest:.1f} s" if slowest > SOON else "")


def _half_a_line(folder: Path) -> str:
    return _ended(_started(folder), 0, 2, content=b"goal match\nsoup")


def _nothing(folder: Path) -> str:
    return _ended(_started(folder), 0, 0)


def _no_stdin(folder: Path) -> str:
    return _ended(_started(folder, stdin=None, shell="<&-"), 2, 0)


def _no_stdout(folder: Path) -> str:
    return _ended(_started(folder, shell=">&-"), 2, 0, content=b"goal match\n")


def _reader_gone(folder: Path) -> str:
    command = _started(folder, shell="| head -n 1")
    return _ended(command, 0, 1, content=b"goal match\n" * 20_000)


def _many_lines(folder: Path) -> str:
    start = time.perf_counter()
    wrong = _ended(_started(folder), 0, 20_000, content=b"goal match\n" * 20_000)
    seconds = time.perf_counter() - start
    return wrong or (f"20,000 lines took {seconds:.0f} s" if seconds > 60 else "")
