"""What README, docs and messages tell people to type works in bash and zsh as it stands."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftclf.cli.hydra_errors import SCHEMAS, settings_of
from ftclf.config.did_you_mean import NAMES, SWITCHES, pasteable

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "examples").glob("*.md"))
COMMAND = r"(?:ftclf|scripts/\w+|eval|source|pip|pipx|uv|python|FTCLF_\w+=\S+)(?= |$)"
CHANGED = set("[]?*{}()<>|;&`!~$")  # what a shell does not leave as it is, outside quotes
SETTINGS = {name for command in SCHEMAS for name in settings_of(command)}


def command_lines() -> Iterator[tuple[str, str]]:
    """Yield every command that a page shows, indented or as code in a line, with the page's name."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for line in re.findall(rf"^    ({COMMAND}.*)$", text, re.MULTILINE):
            yield page.name, line
        for code in re.findall(r"`([^`]+)`", re.sub(r"^    .*$", "", text, flags=re.MULTILINE)):
            name = code.strip("'").partition("=")[0]
            if re.match(COMMAND, code) or ("=" in code and name in SETTINGS):
                yield page.name, " ".join(code.split())


ARGUMENT = r"(?: (?:[A-Z]+\b|\.|--?\w[\w-]*|'?[\w.]+=\S+|<[^>]*>))"


def advice() -> Iterator[tuple[str, str]]:
    """Yield every setting with a value, and every command, that a text in the source holds, with the module's name.

    The tables of `did_you_mean`, and what `typed_words` hands to Hydra, are quoted when they are used: see
    test_habits.py. Usage lines of `help` have [ ] for what may be left out.
    """
    for path in sorted((ROOT / "src" / "ftclf").rglob("*.py")):
        if path.name in ("did_you_mean.py", "help.py", "typed_words.py"):
            continue
        for text in _texts(ast.parse(path.read_text(encoding="utf-8"))):
            for quote, word in re.findall(r"(^|[^\w.])((?:[a-z_]+\.)?[a-z_]+=\S+)", text):
                if word.partition("=")[0] in SETTINGS and not word.startswith("name="):
                    yield path.name, f"'{word.split(chr(39))[0]}'" if quote == "'" else word.rstrip('.,;:)"`')
            for command in re.findall(rf"\bftclf (?:train|eval|predict|merge|ls|compare|report){ARGUMENT}+", text):
                yield path.name, command.rstrip(".,;:)")


def _texts(tree: ast.AST) -> Iterator[str]:
    """Yield the texts of a module, VALUE for what is filled in, without docstrings and what is quoted when used."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("pasteable", "shlex.join"):
            skipped |= {id(part) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
            yield "".join(part.value if isinstance(part, ast.Constant) else "VALUE" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def changed_by_a_shell(line: str) -> str:
    """Return the characters of a line that bash or zsh would not take as they stand."""
    bare = re.sub(r"'[^']*'|\"(?:\$\([^()]*\)|[^\"$`\\!])*\"", "", line)
    bare = re.sub(r" (?:[<>|]|>&-|2>&1)(?= |$)", "", bare)
    comment = re.search(r"(?:^| )#(.*)", bare)
    quotes = set("\"'") & set(comment[1] if comment else bare)
    return "".join(sorted((CHANGED & set(bare)) | quotes))


def test_what_a_shell_would_change_is_seen() -> None:
    for line in ("ftclf predict r keep=[id]", "ftclf ls # is it?", "ftclf x={a,b}", "x=*.csv", "a=$HOME", "ls # it's"):
        assert changed_by_a_shell(line), line
    for line in ("ftclf predict r 'keep=[id]'", 'eval "$(ftclf completion zsh)"', "ftclf predict r < a > b  # b, c"):
        assert not changed_by_a_shell(line), line


def test_commands_of_readme_and_docs_hold_nothing_that_a_shell_changes() -> None:
    lines = list(command_lines())
    assert len(lines) > 40
    assert [line for line in lines if changed_by_a_shell(line[1])] == []


def test_what_messages_tell_to_type_holds_nothing_that_a_shell_changes() -> None:
    lines = list(advice())
    assert len(lines) > 40
    assert [line for line in lines if changed_by_a_shell(line[1])] == []


def test_zsh_takes_every_command_and_advice_also_where_a_hash_begins_no_comment(tmp_path: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    (tmp_path / "lines.txt").write_text("a\n")
    lines = [re.sub(r" #(?= )", " '#'", line) for _, line in [*command_lines(), *advice()]]
    harmless = "".join(f"true {line} && print taken\n" for line in lines)
    script = f"setopt no_err_exit\nftclf() {{ true }}\nsource() {{ true }}\n{harmless}"
    done = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stderr, done.stdout.count("taken")) == ("", len(lines))


NASTY = [
    *"[]?*{}()<>|;&`!~$#'\"\\= ",
    "a,b",
    "don't",
    "a(1).csv",
    "a&b.csv",
    "Übung.csv",
    "$HOME",
    "`x`",
    "!!",
    "*",
    "~",
]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_word_that_is_quoted_for_pasting_comes_back_from_a_shell(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    words = [f"run_dir={part}x{part}" for part in NASTY] + NASTY
    script = "".join(f"printf '%s\\n' {pasteable(word)}\n" for word in words)
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines() == words
    assert all(shlex.split(pasteable(word)) == [word] for word in words)


def test_no_name_of_another_tool_hides_one_of_ftclfs_own() -> None:
    for command, names in NAMES.items():
        own = settings_of(command)
        assert not set(names) & set(own)
    assert not set(SWITCHES) & set(settings_of("train"))
