"""Names of files and folders that lead elsewhere, or nowhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from faults.apart import one_line, run_apart
from faults.processes import run
from faults.world import Check, World
from ftclf.cli.quoting import quoted

# Of a run: it becomes a folder's name.
NAMES = ["..", ".", "", "/tmp", "../x", "a/b", "a\\b/..", "~", "~root", "-rf", ".hidden", "a\nb", "a\x00b", "x" * 300]
NAMES += ["a b", "a;b", "$HOME", "`id`", "con:", "a*", "\u202eabc", "a\x1b[31m", "...", "a|b", "%2e%2e%2f"]
# Of a folder or file to write.
PATHS = [
    "",
    " ",
    "a\x00b",
    "a\nb",
    "x" * 256,
    "a/" * 3000,
    "\x1b]0;x\x07",
    "/dev/null",
    "/dev/full",
    "/dev/zero",
    "in_the_way",
]
LINKED = ("config.json", "manifest.json", "log.txt", "history.jsonl", "metrics.json", "report.html", "checkpoint")
LINKED += ("predictions", "plots", "resumable", ".lock")


def checks(world: World) -> Iterator[Check]:
    folder = world.folder("hostile", "paths", "here")
    folder.mkdir(parents=True)
    (folder / "in_the_way").write_text("a file")
    base = ["train", "dataset=files", f"dataset.train={world.root / 'data.csv'}", "model.name=/nowhere"]
    checkpoint = f"checkpoint={world.reference('lora').folder}"
    lines = [[*base, f"name={quoted(name)}"] for name in NAMES]
    lines += [[*base, f"run_dir={quoted(path)}"] for path in PATHS]
    lines += [["eval", checkpoint, f"output={quoted(path)}"] for path in PATHS]
    lines += [["predict", checkpoint, "input=in_the_way.txt", f"output={quoted(path)}"] for path in PATHS]
    for ended, words in zip(run_apart(lines, folder), lines, strict=True):
        yield lambda e=ended, w=words: f"{w[0]} {w[-1]!r}: {problem}" if (problem := one_line(e)) else ""
    # The folder that a refused run would have made may be there for a moment, nothing else.
    left = [path for path in folder.parent.rglob("*") if path.name not in ("here", "in_the_way", "runs")]
    yield lambda: f"left {left}" if left else ""
    for name in LINKED:
        yield lambda n=name: _linked(world, n)


def _linked(world: World, name: str) -> str:
    """Let a name of an unfinished run's folder lead out of it, then go on with the run, and begin it again."""
    place = world.folder("hostile", "linked", name)
    target = place / "target"
    shutil.copytree(world.reference("lora").folder, place / "run")
    (place / "run" / "metrics.json").unlink()
    path = place / "run" / name
    if path.is_dir() or path.exists():
        path.rename(target)
    else:
        target.write_text("precious")
    path.symlink_to(target)
    before = _content(target)
    for more in (["training.keep_checkpoints=true"], ["overwrite=true"]):
        code, said = run(world.words("lora", place / "run", *more), place / "out")
        if _content(target) != before:
            return f"{name} {more}: what it leads to was changed ({code}: {said})"
        if code not in (2, 5) or said.count("\n") != 1:
            return f"{name} {more}: ended with {code}: {said}"
    return ""


def _content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    return {str(one): one.read_bytes() for one in files}
