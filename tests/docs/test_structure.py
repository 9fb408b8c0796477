"""The shape of the project: rooms, packaged configs, the wheel. What the pages promise: test_docs.py."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from ftclf import __version__
from ftclf.cli.ls import GROUPS, list_groups
from ftclf.config import config_folder
from ftclf.config.settings import LOSS_TASKS

ROOT = Path(__file__).resolve().parents[2]

# Ground first: a room imports only from itself and from rooms before it.
ROOMS = (
    "system",
    "config",
    "storage",
    "data",
    "model",
    "fast",
    "score",
    "report",
    "checkpoint",
    "training",
    "cli",
)


def imports(path: Path) -> set[str]:
    """Return the ftclf modules and outside packages that a file imports, those inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def modules() -> list[Path]:
    return sorted((ROOT / "src" / "ftclf").rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT / "src" / "ftclf").parts[0]


def test_a_room_imports_only_from_rooms_before_it() -> None:
    against = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules()
        if room(path) in ROOMS
        for name in imports(path)
        if name.startswith("ftclf.") and ROOMS.index(name.split(".")[1]) > ROOMS.index(room(path))
    ]
    assert not against, "\n".join(against)


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions count; the package itself is left out, since it holds the version and the face."""
    names = {".".join(path.relative_to(ROOT / "src").with_suffix("").parts): path for path in modules()}
    names = {name.removesuffix(".__init__"): path for name, path in names.items() if name != "ftclf.__init__"}
    left = {name: {other for other in imports(path) & names.keys() if other != name} for name, path in names.items()}
    while ends := [name for name, others in left.items() if not others & left.keys()]:
        for name in ends:
            del left[name]
    assert not left, sorted(left)


def test_only_the_command_line_knows_hydra() -> None:
    for path in modules():
        known = {name.split(".")[0] for name in imports(path)}
        assert room(path) == "cli" or not known & {"hydra", "omegaconf"}, path


def test_what_checks_configs_and_reads_files_imports_no_torch() -> None:
    probe = (
        "import sys; import ftclf.cli.commands, ftclf.data, ftclf.storage.run_folder; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", probe]).returncode == 0


def test_pickles_and_remote_code_are_nowhere_asked_for() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in modules())
    assert not re.search(r"trust_remote_code\s*=\s*True|torch\.load|pickle\.load|use_safetensors\s*=\s*False", source)
    assert not re.search(r"_target_:", "".join(p.read_text() for p in config_folder().rglob("*.yaml")))


@pytest.mark.parametrize("group", GROUPS)
def test_every_packaged_option_composes_and_passes_the_checks(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    from ftclf.cli.compose import checked_jobs, parse, register

    register()
    for name, about in list_groups()[group]:
        words = [f"{group}={name}", *(["dataset.train=x.csv"] if name == "files" else [])]
        if LOSS_TASKS.get(name) == "multi_label" or name == "levelling_multi_label":
            words.append("dataset=go_emotions_multi_label")
        if (group, name) == ("augment", "rows"):
            words.append("augment.rows=x.jsonl")
        for swept in ([], ["-m"]):
            if (group == "sweep" or name == "dbpedia_14_distilbert_lora") and not swept:
                continue
            assert checked_jobs("train", parse([*swept, *words])), name
        assert about, f"{group}/{name}.yaml says nothing of itself"


def test_the_changelog_names_this_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.slow
def test_the_wheel_works_outside_the_repo(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--sdist",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(ROOT),
    ]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"ftclf/configs/train.yaml", "ftclf/py.typed"} <= set(names)
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as sdist:
        assert {"LICENSE", "scripts/lib.sh", "constraints.txt"} <= {name.partition("/")[2] for name in sdist.getnames()}
    assert not [name for name in names if name.startswith(("tests", "scripts"))]
    # An environment of its own that sees this one's packages, but another ftclf: no second installation of torch.
    venv.create(tmp_path / "env", with_pip=False)
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    outer = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "outer.pth").write_text(outer)
    python = tmp_path / "env" / "bin" / "python"
    shown = subprocess.run(
        [python, "-c", "import ftclf; print(ftclf.__file__)"], capture_output=True, text=True, cwd=tmp_path
    )
    assert str(site) in shown.stdout
    listed = subprocess.run([python, "-m", "ftclf", "ls"], capture_output=True, text=True, cwd=tmp_path)
    assert "go_emotions" in listed.stdout
    config = subprocess.run(
        [python, "-m", "ftclf", "train", "--cfg", "job"], capture_output=True, text=True, cwd=tmp_path
    )
    assert "name: bbc_news" in config.stdout
