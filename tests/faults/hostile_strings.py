"""Script strings wherever a user's own text can stand: they must be shown, and mean nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from faults.apart import one_line, run_apart
from faults.processes import run
from faults.world import Check, World
from ftclf.cli.quoting import quoted

STRINGS = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><b>x",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<svg/onload=alert(1)>",
    "<svg><animate onbegin=alert(1) attributeName=x>",
    "<math><mi xlink:href=javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href=javascript:alert(1)>x</a>",
    "<!-- comment",
    "]]><![CDATA[<b>",
    "--><b>",
    "<base href=//evil>",
    "<meta http-equiv=refresh content=0;url=//evil>",
    "<form action=//evil><input>",
    "&lt;i&gt;&amp;&#60;b&#62;",
    "<plaintext>",
    "javascript:alert(1)",
    "{{7*7}}",
    "{% raw %}{% endraw %}{{ self.__class__ }}",
    "${oc.env:HOME}",
    "${7*7}",
    "#{7*7} <%= 7*7 %>",
    "$(id) `id`",
    "[red]x[/red]",
    "[/]",
    "[link=http://evil]x[/link]",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b]8;;http://evil\x1b\\x\x1b]8;;\x1b\\",
    "\x9b31mred",
    "a\x08\x08b",
    "\u202egnp.exe",
    "\u2066a\u2069b\u200f",
    "=HYPERLINK(0)",
    "[x](javascript:alert(1))",
    "![x](http://evil/x.png)",
    "| a | b |",
    "# head **bold** ~~x~~",
    "$\\mathrm{x}$ \\input{/etc/passwd}",
    "%s %n %d {0.__class__}",
    "'; DROP TABLE x; --",
]
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
MARKUP = re.compile(r"(?<!\\)(<[a-z/!](?!his folder)|!?\[[^\]]*\]\()")
WORDS = ("goal", "match", "soup", "bread", "moon", "rocket", "team", "oven", "star", "salt", "ball", "comet")


def checks(world: World, *, long: bool) -> Iterator[Check]:
    yield lambda: _in_a_run(world)
    folder = world.folder("hostile", "strings", "words")
    base = ["train", "dataset=files", "dataset.train=no"]
    lines = []
    for number, text in enumerate(STRINGS):
        settings = ("name", "dataset.train", "model.name", "dataset.text_column", "dataset.label_column")
        places = [[*base, f"{setting}={quoted(text)}"] for setting in settings]
        places += [[*base, text], ["compare", text], ["report", text], [text]]
        lines += places if long else [places[number % len(places)]]
    for ended, words in zip(run_apart(lines, folder), lines, strict=True):
        yield lambda e=ended, w=words: f"{w}: {problem}" if (problem := one_line(e)) else ""


class Page(HTMLParser):
    """Every element of a page with the names of its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[str]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, sorted(name for name, _ in attrs)))

    def handle_comment(self, data: str) -> None:
        self.found.append(("a comment", [data]))


def _in_a_run(world: World) -> str:
    """Train on the strings as texts, labels, names of columns, files and data; all that it writes is looked at."""
    pages = {}
    for kind, strings in (("harmless", [f"x{number}" for number in range(len(STRINGS))]), ("hostile", STRINGS)):
        folder = world.folder("hostile", "strings", kind)
        file = "data.jsonl" if kind == "harmless" else "<img src=x>\u202e [red]${x}.jsonl"
        words = _data(folder, file, strings)
        code, said = run([*words, f"run_dir={folder / 'run'}"], folder / "said")
        if code or CONTROL.search(said + (folder / "said.out").read_text()):
            return f"training on {kind} strings ended with {code}: {said!r}"
        pages[kind] = Page((folder / "run" / "report.html").read_text(encoding="utf-8")).found
        for number, more in enumerate((["compare"], ["report"])):
            code, said = run([*more, str(folder / "run")], folder / f"again{number}")
            if code or CONTROL.search(said + (folder / f"again{number}.out").read_text()):
                return f"{more} ended with {code}, or control characters reached the terminal: {said!r}"
        if kind == "hostile" and (problem := _looked_at(folder / "run")):
            return problem
    # Scores differ, and so do curves: but no kind of element and no attribute may be there of the strings' making.
    more = {str(one) for one in pages["hostile"]} - {str(one) for one in pages["harmless"]}
    return f"markup: {more}" if more else ""


def _data(folder: Path, file: str, strings: list[str]) -> list[str]:
    folder.mkdir(parents=True)
    column = strings[0]
    rows = [{column: f"{text} {word}", strings[1]: text, strings[2]: text} for text in strings for word in WORDS]
    (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [
        "train",
        "dataset=files",
        f"dataset.train={quoted(str(folder / file))}",
        f"dataset.name={quoted(strings[3])}",
        f"dataset.about={quoted(strings[4])}",
        f"dataset.terms={quoted(strings[5])}",
        f"dataset.text_column={quoted(column)}",
        f"dataset.label_column={quoted(strings[1])}",
        f"dataset.slice_columns=[{quoted(strings[2])}]",
        f"model.name={folder.parents[2] / 'models' / 'bert'}",
        "training.max_steps=2",
        "training.precision=fp32",
        "training.threads=1",
        "baselines=[majority]",
    ]


def _looked_at(run_folder: Path) -> str:
    card = (run_folder / "checkpoint" / "README.md").read_text(encoding="utf-8")
    if found := CONTROL.search(card) or MARKUP.search(card):
        return f"the model card holds {card[found.start() - 20 : found.end() + 20]!r}"
    if "/root" in (run_folder / "config.json").read_text() and "oc.env" not in (run_folder / "config.json").read_text():
        return "an interpolation was resolved"
    return ""
