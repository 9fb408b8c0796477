"""What is installed is what was tried; the scripts make a .venv of it, say how far they are, and how to go on."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Private parts of these are used: a release that was not tried may train something else, or nothing.
CAPPED = ("torch", "transformers", "peft", "accelerate", "datasets")


def tried() -> dict[str, str]:
    """Return the releases that constraints.txt pins, by their names as package indexes normalise them."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition("==") for line in lines if not line.startswith("#")]
    return {_normal(name): release for name, _, release in pins}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def untried(requirements: list[str], installed: dict[str, str]) -> list[str]:
    """Return a line for each dependency that is newer or older than what was tried, or outside what is allowed."""
    lines = []
    for requirement in map(Requirement, requirements):
        name, pinned = requirement.name, tried()[_normal(requirement.name)]
        found = Version(installed[name])
        if found.public != pinned:
            side = "newer" if found > Version(pinned) else "older"
            lines.append(f"{name} {found} is installed, {side} than {pinned}, which was tried")
        if found.public not in requirement.specifier:
            lines.append(f"{name} {found} is installed, pyproject.toml allows {requirement.specifier}")
    return lines


def test_every_dependency_is_installed_in_the_release_that_was_tried() -> None:
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["offline"]]
    installed = {Requirement(one).name: version(Requirement(one).name) for one in wanted}
    assert untried(wanted, installed) == []


def test_a_newer_or_older_release_is_named() -> None:
    wanted = ["torch>=2.11,<2.14", "rich>=14"]
    assert untried(wanted, {"torch": f"{tried()['torch']}+cpu", "rich": tried()["rich"]}) == []
    assert untried(wanted, {"torch": "2.14.0", "rich": "14.0.0"}) == [
        "torch 2.14.0 is installed, newer than 2.13.0, which was tried",
        "torch 2.14.0 is installed, pyproject.toml allows <2.14,>=2.11",
        "rich 14.0.0 is installed, older than 15.0.0, which was tried",
    ]


def test_what_ftclf_leans_on_is_capped_at_the_minor_release_that_was_tried() -> None:
    requirements = {one.name: one.specifier for one in map(Requirement, PROJECT["dependencies"])}
    for name in CAPPED:
        major, minor = Version(tried()[name]).release[:2]
        assert f"{major}.{minor}" in requirements[name]
        assert f"{major}.{minor + 1}" not in requirements[name], name
    assert "2.9.1" not in requirements["torch"]  # weights_only had a hole
    for lacking in ("5.20.0", "5.22.2"):
        assert lacking not in requirements["transformers"]
    assert all(one.specifier for one in map(Requirement, PROJECT["dependencies"]))


def test_torchs_own_triton_is_the_one_that_is_pinned() -> None:
    """The build of torch that needs one asks for exactly this: another pin could not be installed beside it."""
    assert (tried()["torch"], tried()["triton"]) == ("2.13.0", "3.7.1")


# A Python and a uv that install nothing: they write down what they were told.
STUB = """#!/usr/bin/env bash
echo "${0##*/} $*" >> "$STUB_LOG"
case "$*" in
  *"-c import sys"*) exit 0 ;;
  --version) echo Python 3.11.0 ;;
  "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp "$0" .venv/bin/pip ;;
  "venv "*) mkdir -p .venv/bin; cp "$STUBS/mypython" .venv/bin/python ;;
  *--dry-run*) exit "$STUB_PROBE" ;;
  "-m pip --version") [ -x .venv/bin/pip ] ;;
  *"install"*"--editable"*) echo WARNING: no; echo Collecting torch; sleep 1.3; exit "${STUB_FAILS:-0}" ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the scripts beside stubs of python and uv."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "stubs").mkdir()
    for name in ("scripts/lib.sh", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"))
    for name in ("mypython", "uv"):
        (tmp_path / "stubs" / name).write_text(STUB)
        (tmp_path / "stubs" / name).chmod(0o755)
    monkeypatch.setenv("PYTHON", str(tmp_path / "stubs" / "mypython"))
    monkeypatch.setenv("STUBS", str(tmp_path / "stubs"))
    monkeypatch.setenv("STUB_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("STUB_PROBE", "0")
    monkeypatch.setenv("NEWS_EVERY", "1")
    return tmp_path


def ensure(clone: Path, kind: str, *, uv: bool) -> tuple[int, str, str]:
    """Make the environment; return the exit code, what was printed, and what python and uv were told."""
    (clone / "log").write_text("")
    path = f"{clone / 'stubs'}:/usr/bin:/bin" if uv else "/usr/bin:/bin"
    script = f"source scripts/lib.sh; ensure_venv {kind}"
    environment = os.environ | {"PATH": path}
    done = subprocess.run(["bash", "-c", script], cwd=clone, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr, (clone / "log").read_text()


def test_training_alone_needs_none_of_the_developers_tools_which_come_into_the_same_environment(clone: Path) -> None:
    code, shown, told = ensure(clone, "train", uv=False)
    assert (code, "--editable .[offline]\n" in told, "dev" in told) == (0, True, False)
    assert "making .venv with Python 3.11.0 and pip" in shown
    assert re.search(r"^installing: 1 s, \d+ MB, Collecting torch$", shown, re.MULTILINE)
    assert re.search(r"^installed: \d+ MB in \.venv$", shown, re.MULTILINE)
    assert ensure(clone, "train", uv=False) == (0, "", "")
    _, _, told = ensure(clone, "dev", uv=False)
    assert "--editable .[offline,joblib,dev]\n" in told
    assert "-m venv" not in told
    assert ensure(clone, "dev", uv=False) == ensure(clone, "train", uv=False) == (0, "", "")
    (clone / "constraints.txt").write_text("# other\n")
    assert "--editable .[offline]\n" in ensure(clone, "train", uv=False)[2]


def test_uv_is_used_where_it_is_and_finds_torch(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, shown, told = ensure(clone, "train", uv=True)
    assert "making .venv with Python 3.11.0 and uv" in shown
    assert "uv pip install --python .venv/bin/python --torch-backend auto --constraint constraints.txt" in told
    assert "-m pip install" not in told
    assert "ensurepip" in ensure(clone, "dev", uv=False)[2]  # uv is gone, and left no pip


def test_pip_goes_on_where_uv_finds_no_torch(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_PROBE", "1")
    _, shown, told = ensure(clone, "train", uv=True)
    assert "uv finds no build of torch==2.13.0 for this machine: pip goes on" in shown
    assert "-m pip install" in told


def test_an_installation_that_fails_shows_why_and_is_tried_again(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_FAILS", "1")
    code, shown, _ = ensure(clone, "train", uv=False)
    assert (code, shown.endswith("WARNING: no\nCollecting torch\n")) == (1, True)
    monkeypatch.setenv("STUB_FAILS", "0")
    assert ensure(clone, "train", uv=False)[0] == 0


def test_the_quickstart_ends_with_how_to_go_on() -> None:
    text = (ROOT / "scripts" / "quickstart").read_text(encoding="utf-8")
    last = text.partition("ftclf train")[2]
    assert all(word in last for word in ("source .venv/bin/activate", "ftclf train tickets.csv", "pipx install ."))
