"""README and docs: every command line is valid, every figure is that of results/, every file that is named exists."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ftclf.cli import main
from ftclf.cli.hydra_errors import setting_names
from ftclf.cli.options import OPTIONS, read_words

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "ftclf"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*.md")),
]
RUN = r"runs/[\w./-]*"  # what stands for a run in the pages


def blocks(text: str) -> Iterator[str]:
    """Yield the code of a page: what is between fences, and lines that four spaces indent."""
    yield from re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    yield from re.findall(
        r"(?:^ {4}.*\n?)+", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )


def command_lines(page: Path) -> list[str]:
    """Return the commands of ftclf that a page shows, without what a shell does with their output."""
    lines = [line.strip() for block in blocks(page.read_text(encoding="utf-8")) for line in block.splitlines()]
    inner = [re.sub(r'^eval "\$\((.*)\)".*', r"\1", line) for line in lines]
    bare = [re.sub(r"^(?:\w+=\S+ )*(?=ftclf )", "", line) for line in inner]
    return [line.partition(" #")[0].strip() for line in bare if line.startswith("ftclf ")]


EVERY = [(page, line) for page in PAGES for line in command_lines(page)]


class ParsedError(Exception):
    """Raised in place of a command's work, once its line was understood."""


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the pages name: files of rows, a folder of texts, folders of configs, the examples."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mails" / "spam").mkdir(parents=True)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "my_configs" / "dataset").mkdir(parents=True)
    yaml = next(block for block in blocks((ROOT / "docs" / "data.md").read_text()) if "text_column: review" in block)
    (tmp_path / "my_configs" / "dataset" / "reviews.yaml").write_text(re.sub(r"^ {4}", "", yaml, flags=re.MULTILINE))
    for name in ("tickets.csv", "reviews.csv", "rows.csv", "rows.jsonl", "texts.csv", "other.csv", "lines.txt"):
        (tmp_path / name).write_text("text,label\na,b\n")
    return tmp_path


@pytest.mark.parametrize(("page", "line"), EVERY, ids=[f"{page.name}-{line}" for page, line in EVERY])
def test_every_command_line_of_the_pages_is_valid(
    page: Path, line: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(re.sub(r" [|<>] ?\S.*", "", line))[1:]
    assert words[0] in main.COMMANDS or words[0].startswith("--"), line
    match words[0]:
        case "train" if any(word.startswith("resume=") for word in words):
            assert {word.partition("=")[0] for word in words[1:]} <= set(setting_names("train"))
        case "train" | "check" | "eval" | "predict":
            for run in re.findall(RUN, line):
                (workplace / run).mkdir(parents=True, exist_ok=True)
            compose(words[0], words[1:])
        case _:
            parse(words, monkeypatch)


def compose(command: str, words: list[str]) -> None:
    """Compose and check what a line of train, check, eval or predict asks for."""
    from ftclf.cli.compose import checked_jobs, only_shows, parse, register
    from ftclf.cli.typed_words import settled

    register()
    args = parse(settled(command, words)[0], command)
    assert only_shows(args) or checked_jobs(command, args)


def parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command's own parser read its line, and nothing else happen."""
    if words[0] in OPTIONS:
        read_words(words[0], words[1:])
        return
    whole = main.Parser.parse_args

    def stop(parser: main.Parser, words: list[str]) -> NoReturn:
        whole(parser, words)
        raise ParsedError

    monkeypatch.setattr(main.Parser, "parse_args", stop)
    with pytest.raises(ParsedError):
        main.COMMANDS[words[0]].run(words[1:])


def test_a_line_with_a_mistake_is_found(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftclf.system.errors import UserError

    for words in (["train", "training.epoch=3"], ["predict", "runs/x", "kept=[id]"]):
        with pytest.raises(UserError):
            compose(words[0], words[1:])
    with pytest.raises(UserError):
        parse(["compare", "runs/a", "sorted=accuracy"], monkeypatch)


def test_readme_and_docs_show_commands_and_scripts_that_exist() -> None:
    assert len([line for page, line in EVERY if page.name == "README.md"]) > 10
    for page in PAGES:
        for name in re.findall(
            r"(?:^ {4}|`)(scripts/\w+|examples/[\w.]+)", page.read_text(encoding="utf-8"), re.MULTILINE
        ):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_the_readme_fits_on_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


@pytest.mark.parametrize("script", ["results", "settings"])
def test_tables_of_the_pages_are_those_that_a_script_makes(script: str) -> None:
    """Scores come from results/, the settings page from the dataclasses."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / script, "--check"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        name, _, heading = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if heading:
            assert heading in headings(path), target


def headings(page: Path) -> set[str]:
    """Return the headings of a page as GitHub names them in links."""
    lines = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def test_architecture_names_files_that_exist_and_every_room_in_order() -> None:
    from test_structure import ROOMS

    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for name in re.findall(r"`((?:[a-z_]+/)+[\w.]+\.(?:py|jinja))`", text):
        assert (SOURCE / name).is_file() or (ROOT / name).is_file(), name
    assert tuple(re.findall(r"^\| `(\w+)` \| ", text, re.MULTILINE)) == ROOMS


def test_architecture_lists_what_imports_the_fast_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.partition("## The seam")[2].partition("\n## ")[0]
    importing = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if re.search(r"(?:from|import) ftclf\.fast", path.read_text(encoding="utf-8"))
        and path.relative_to(SOURCE).parts[0] != "fast"
    }
    assert set(re.findall(r"^\| `([\w/]+\.py)`", section, re.MULTILINE)) == importing


def private_names() -> set[str]:
    """Return the private names of other libraries that the source uses: those that ftclf itself does not define."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute) and owner(node) not in ("self", "cls")}
    modules = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    used |= {part for name in modules if name != "__future__" for part in name.split(".")}
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    inherited = {node.attr for node in nodes if isinstance(node, ast.Attribute) and owner(node) == "super()"}
    return {name for name in (used - own) | inherited if re.match(r"_[a-zA-Z]", name)}


def owner(node: ast.Attribute) -> Any:
    return ast.unparse(node.value)


def test_architecture_lists_every_private_name_of_other_libraries() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.partition("## Private names")[2].partition("\n## ")[0]
    listed = set(re.findall(r"`(_\w+)`", section))
    assert private_names() - listed == set()
    source = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    assert [name for name in listed if name not in source] == []
