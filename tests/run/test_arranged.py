"""Errors that have to be arranged: a disk, a signal, a library or another process at the wrong moment of a command."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from transformers import Trainer

from conftest import make_rows, tiny_words, write_csv
from ftclf.cli.main import run
from ftclf.storage.run_folder import Run
from ftclf.system.signals import asked
from ftclf.training.trainer import ProgressCallback

Words = Callable[..., list[str]]


@pytest.fixture
def words(tiny_models: dict[str, Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Words:
    """Give the words of a short run that has a cache of its own."""
    monkeypatch.setenv("FTCLF_CACHE", str(tmp_path / "cache"))

    def make(*more: str) -> list[str]:
        short = ("baselines=[]", "training.max_steps=2")
        return tiny_words(tiny_models["bert"], reviews, tmp_path / "run", *short, *more)

    return make


@pytest.fixture
def ends(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str], int, str], None]:
    """Check that a command ends with this exit code and one line that holds this text."""

    def check(command: list[str], code: int, expected: str) -> None:
        capsys.readouterr()
        assert run(command) == code
        said = capsys.readouterr().err
        assert expected in said
        assert said.count("\n") == 1

    return check


Ends = Callable[[list[str], int, str], None]


# ---- files


def test_a_file_in_the_place_of_a_cached_folder_is_one_line(words: Words, ends: Ends, tmp_path: Path) -> None:
    assert run(words()) == 0
    for kept in (tmp_path / "cache" / "data").iterdir():
        kept.rename(kept.with_name("elsewhere"))
        kept.write_text("")
    ends(words("overwrite=true"), 5, f"FTCLF_CACHE: cannot write to {tmp_path / 'cache'}: Not a directory; make room")


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Let the system refuse larger files, as it does where a quota is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_while_texts_are_written_to_it_is_one_line(
    words: Words, ends: Ends, tmp_path: Path
) -> None:
    data = write_csv(tmp_path / "large.csv", [(f"{text} {'word ' * 50}", label) for text, label in make_rows(2000)])
    with files_no_larger_than(100_000):
        ends(words(f"dataset.train={data}"), 5, f"FTCLF_CACHE: cannot write to {tmp_path / 'cache'}: File too large; ")


def test_a_file_that_may_not_be_read_is_one_line(
    words: Words, ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_csv(tmp_path / "data.csv", make_rows(60))
    data.chmod(0)
    if os.access(data, os.R_OK):  # root may read all
        original = Path.open

        def refused(self: Path, *args: Any, **kwargs: Any) -> Any:
            if self == data:
                raise PermissionError(13, "Permission denied", str(self))
            return original(self, *args, **kwargs)

        monkeypatch.setattr(Path, "open", refused)
    ends(words(f"dataset.train={data}"), 2, f"{data}: you may not read it; give yourself the right, as with chmod u+r")


def test_a_file_that_changes_while_it_is_read_is_one_line(
    words: Words, ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftclf.data import load

    data, original = write_csv(tmp_path / "data.csv", make_rows(60)), load._make

    def changing(config: Any) -> Any:
        made = original(config)
        write_csv(data, make_rows(60, seed=1))
        return made

    monkeypatch.setattr(load, "_make", changing)
    ends(words(f"dataset.train={data}"), 2, "dataset.train: the files of files changed while they were read; start")


# ---- libraries and the machine


def test_a_device_that_is_not_there_is_one_line(words: Words, ends: Ends) -> None:
    missing = "cuda" if sys.platform == "darwin" else "mps"
    ends(words(f"training.device={missing}"), 2, f"training.device: no {missing} on this machine, allowed: auto, ")


def test_a_setting_that_a_launcher_does_not_know_is_one_line(words: Words, ends: Ends) -> None:
    ends([*words("-m", "+hydra.launcher.nonsense=1")], 2, "hydra.launcher")


def test_hidden_labels_of_a_data_set_of_the_hub_are_one_line(
    words: Words, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    features = datasets.Features({"content": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])})
    hidden = datasets.Dataset.from_dict({"content": ["a"], "label": [-1]}, features=features)
    monkeypatch.setattr("ftclf.data.sources.reach_hub", lambda *_, **__: False)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: {"train": hidden})
    command = [word for word in words() if not word.startswith("dataset")]
    ends([*command, "dataset=dbpedia_14", "dataset.source=hub"], 2, "row 1: label -1, allowed: 0 to 1; its labels are")


def test_layers_that_are_not_known_by_name_are_one_line(
    words: Words, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules["ftclf.model.architectures"].ARCHITECTURES, "bert")
    ends(words("method.targets=attention"), 2, "method.targets: 'attention' is not known for bert; use all_linear or")


def test_memory_that_runs_out_while_a_run_is_taken_up_says_nothing_of_its_files(
    words: Words, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried")

    signal_at_step(monkeypatch, 1)
    assert run(words()) == 143
    monkeypatch.setattr(Trainer, "_load_optimizer_and_scheduler", full)
    ends(words(), 5, "out of memory; lower training.batch_size")


# ---- signals


def signal_at_step(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Send SIGTERM once, at the end of a step."""
    original, sent = ProgressCallback.on_step_end, []

    def patched(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        original(self, args, state, control, **kwargs)
        if state.global_step == step and not sent:
            sent.append(step)
            os.kill(os.getpid(), signal.SIGTERM)
            while asked() is None:  # in a thread of its own this one is faster than the main one, which obeys
                time.sleep(0.001)

    monkeypatch.setattr(ProgressCallback, "on_step_end", patched)


@pytest.mark.parametrize("fails", [True, False])
def test_a_signal_in_the_middle_of_a_write_is_what_a_command_ends_with(
    trained: Run, ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    original, page = tempfile.mkstemp, tmp_path / "page.html"

    def signalled(*args: Any, **kwargs: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        if fails:
            raise OSError(28, "No space left on device")
        return original(*args, **kwargs)

    monkeypatch.setattr(tempfile, "mkstemp", signalled)
    ends(["report", str(trained.folder), "--output", str(page)], 143, "stopped by SIGTERM")
    assert [path.name for path in tmp_path.iterdir()] == ([] if fails else ["page.html"])


def test_a_signal_that_a_library_swallows_is_what_a_run_ends_with_though_its_page_only_warns(
    words: Words, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    def render(*_: Any) -> str:
        with suppress(BaseException):  # as matplotlib's C++ does
            os.kill(os.getpid(), signal.SIGTERM)
        raise KeyError("what is missing since the signal came")

    monkeypatch.setattr("ftclf.report.page.render", render)
    ends(words(), 143, "stopped by SIGTERM")
