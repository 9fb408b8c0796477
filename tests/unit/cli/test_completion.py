"""Tab completion in the real shells, where they are installed, and what all of them ask ftclf for."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ftclf.cli.completion import OPTIONS, SCRIPTS, candidates
from ftclf.cli.main import COMMANDS, run

# What stands on the line, and what a tab makes of it in `typed_folder`.
COMPLETED = [
    ("ftclf tra", "ftclf train"),
    ("ftclf train dataset=dbp", "ftclf train dataset=dbpedia_14"),
    ("ftclf train training.ba", "ftclf train training.batch"),
    ("ftclf train training.device=cu", "ftclf train training.device=cuda"),
    ("ftclf train dataset.train=tick", "ftclf train dataset.train=tickets.csv"),
    ("ftclf train method.rsl", "ftclf train method.rslora="),
    ("ftclf train -m method=full,lo", "ftclf train -m method=full,lora"),
    ("ftclf train tick", "ftclf train tickets.csv"),
    ("ftclf eval my", r"ftclf eval my\ runs/"),
    (r"ftclf eval my\ runs/ spl", r"ftclf eval my\ runs/ split="),
    (r"ftclf eval my\ runs/ split=va", r"ftclf eval my\ runs/ split=validation"),
    (r"ftclf predict run/ input=a\ f", r"ftclf predict run/ input=a\ file.txt"),
    ("ftclf ls met", "ftclf ls method"),
    ("ftclf compare so", "ftclf compare sort="),
    ("ftclf completion fi", "ftclf completion fish"),
]
SHOW = """show() { printf 'B''EGIN'; printf '<%s>' "$@"; printf 'E''ND'; }"""


@pytest.fixture
def typed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my runs").mkdir()
    (tmp_path / "tickets.csv").write_text("text,label\n")
    (tmp_path / "a file.txt").write_text("a")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    return tmp_path


def after_a_tab(shell: list[str], setup: list[str], lines: list[str]) -> list[list[str]]:
    """Type lines into an interactive shell, a tab behind each, and return the words that it then sees."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(shell[0], shell)

    def answer(keys: str) -> list[str]:
        os.write(terminal, keys.encode())
        seen, end = "", time.monotonic() + 20
        while time.monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                seen += os.read(terminal, 65536).decode(errors="replace")
            if shown := re.search(r"BEGIN(.*?)END", seen, re.DOTALL):
                return re.findall(r"<(.*?)>", shown[1])
        raise AssertionError(f"{shell[0]} after {keys!r}: {seen!r}")

    try:
        answer("\n".join([*setup, SHOW, "show ready", ""]))
        return [answer(f"{line}\t\x01show \n") for line in lines]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        os.waitpid(pid, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "setup"),
    [
        (["bash", "--norc", "--noprofile", "-i"], ['eval "$(ftclf completion bash)"']),
        (["zsh", "-f", "-i"], ["bindkey -e", 'eval "$(ftclf completion zsh)"']),
    ],
    ids=["bash", "zsh"],
)
def test_a_tab_completes_commands_settings_values_and_paths(
    shell: list[str], setup: list[str], typed_folder: Path
) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed")
    expected = [shlex.split(line) for _, line in COMPLETED]
    assert after_a_tab(shell, setup, [line for line, _ in COMPLETED]) == expected


def common_start(words: list[str]) -> str:
    """Return what all words begin with."""
    return next((words[0][:size] for size in range(len(words[0]), 0, -1) if all_start(words, words[0][:size])), "")


def all_start(words: list[str], start: str) -> bool:
    return all(word.startswith(start) for word in words)


@pytest.mark.slow
def test_a_tab_completes_in_fish_too(typed_folder: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    asked = "\n".join(f"complete -C {shlex.quote(line)}; echo END" for line, _ in COMPLETED)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"ftclf completion fish | source\n{asked}"], capture_output=True, text=True
    )
    assert done.stderr == ""
    for (line, expected), offered in zip(COMPLETED, done.stdout.split("END\n")[:-1], strict=True):
        words = [one.partition("\t")[0] for one in offered.splitlines()]
        assert common_start(words) == shlex.split(expected)[-1], (line, words)


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_completion_script_asks_ftclf_and_is_one_that_its_shell_can_read(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "ftclf completion --candidates" in script
    assert all(script.count(left) == script.count(right) for left, right in ("{}", "()", "[]"))
    if shutil.which(shell) is not None:
        assert subprocess.run([shell, "-n"], input=script, capture_output=True, text=True).stderr == ""


def test_candidates_are_answered_without_hydra_or_torch_and_at_once() -> None:
    probe = """
import sys, time
start = time.perf_counter()
from ftclf.cli.main import run
run(["completion", "--candidates", "train", "dataset=db"])
print(time.perf_counter() - start < 0.5, {"hydra", "omegaconf", "numpy", "torch"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.stdout == "dataset=dbpedia_14\nTrue set()\n", done.stderr


def test_every_command_can_be_completed_and_data_sets_of_the_users_own_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(OPTIONS) == list(COMMANDS)
    assert [one for one in candidates([""]) if not one.startswith("-")] == list(COMMANDS)
    for command in COMMANDS:
        assert "--help" in candidates([command, "--"])
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine.yaml").write_text("name: mine\n")
    assert candidates(["train", "--config-dir", str(tmp_path), "dataset=mi"]) == ["dataset=mine"]
    monkeypatch.chdir(tmp_path)
    assert candidates(["train", "--config-dir", "da"]) == ["dataset/"]
    assert candidates(["eval", "nowhere/x"]) == candidates(["nothing", ""]) == candidates(["predict", "no=x"]) == []
