"""A run that broke off goes on to the same bits, or says why not; signals, locks, disks and divergence."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import TrainTiny, make_rows, tiny_words, write_csv
from ftclf.cli.exit_codes import attempt, guarded
from ftclf.cli.main import run
from ftclf.storage import durable
from ftclf.storage.run_folder import Run, read_json, write_text
from ftclf.system import signals
from ftclf.system.errors import ResourceError, RunError
from ftclf.training.resumable import newest_checkpoint
from ftclf.training.stoppable import ResumableTrainer
from ftclf.training.trainer import ClassifierTrainer, ProgressCallback

pytestmark = pytest.mark.usefixtures("no_pictures")

Words = Callable[..., list[str]]


@pytest.fixture
def words(tiny_models: dict[str, Path], reviews: Path, tmp_path: Path) -> Words:
    def make(*more: str, folder: str = "run") -> list[str]:
        return tiny_words(tiny_models["bert"], reviews, tmp_path / folder, "baselines=[]", *more)

    return make


@pytest.fixture(scope="module")
def wholes() -> dict[tuple[str, ...], Run]:
    """Runs that nothing broke off, by their settings."""
    return {}


@pytest.fixture
def whole(
    wholes: dict[tuple[str, ...], Run],
    tiny_models: dict[str, Path],
    reviews: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Run]:
    """Return a run that nothing broke off; each is trained once for all tests of this file, which only read it."""

    def trained(*settings: str) -> Run:
        if settings not in wholes:
            folder = tmp_path_factory.mktemp("whole") / "run"
            assert run(tiny_words(tiny_models["bert"], reviews, folder, "baselines=[]", *settings)) == 0
            wholes[settings] = Run(folder)
        return wholes[settings]

    return trained


def weights(run: Run) -> bytes:
    (path,) = run.checkpoint.glob("*model.safetensors")
    return path.read_bytes()


def logged(run: Run) -> list[str]:
    """Return every logged loss and score; the last line has seconds in it."""
    return [line for line in run.history.read_text().splitlines() if "train_runtime" not in line]


def same(first: Run, second: Run) -> bool:
    found = [(weights(one), one.metrics.read_bytes(), logged(one)) for one in (first, second)]
    return found[0] == found[1]


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, happens: Callable[[], None]) -> None:
    """Let something happen once, at the end of a step."""
    original, done = ProgressCallback.on_step_end, []

    def patched(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        original(self, args, state, control, **kwargs)
        if state.global_step == step and not done:
            done.append(step)
            happens()

    monkeypatch.setattr(ProgressCallback, "on_step_end", patched)


def interrupt() -> None:
    raise KeyboardInterrupt


# Six steps an epoch. Steps 6 and 12 end one: the evaluation that follows is broken off and made up for.
@pytest.mark.parametrize("step", [1, 6, 9, 12])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_signal_ends_a_run_after_its_step_and_the_same_command_gives_the_same_bits(
    whole: Callable[..., Run],
    words: Words,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    method: str,
    step: int,
) -> None:
    settings = (f"method={method}", "training.log_steps=4")
    expected, broken = whole(*settings), Run(tmp_path / "broken")
    at_step(monkeypatch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert run(words(*settings, folder="broken")) == 143
    assert f"stopped by SIGTERM after step {step}; go on with ftclf train resume=" in capsys.readouterr().err
    assert not broken.finished
    assert not broken.checkpoint.exists()
    assert (broken.resumable / f"checkpoint-{step}").is_dir()
    assert run(words(*settings, folder="broken")) == 0
    assert f"the run goes on after step {step}" in capsys.readouterr().out
    assert same(expected, broken)
    assert read_json(broken.manifest)["resumes"][0]["step"] == step


@pytest.mark.parametrize(
    "settings",
    [
        ("method=head", "training.batching=random", "training.accumulation=2", "training.eval_steps=2"),
        ("training.early_stopping=1", "training.eval_steps=2", "training.epochs=9"),
        ("training.average=0", "training.max_steps=8"),
    ],
    ids=["head", "early", "steps"],
)
def test_a_killed_run_goes_on_to_the_same_bits_from_its_last_checkpoint(
    train_tiny: TrainTiny, words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...]
) -> None:
    whole = train_tiny(*settings, "baselines=[]", folder="whole")
    at_step(monkeypatch, 3, interrupt)
    assert run(words(*settings, folder="broken")) == 130
    assert run(["train", f"resume={tmp_path / 'broken'}"]) == 0
    assert same(whole, Run(tmp_path / "broken"))


@pytest.mark.slow
def test_a_compiled_run_goes_on_to_the_same_bits(
    train_tiny: TrainTiny,
    words: Words,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quickly_compiled: list[Any],
) -> None:
    settings = ("method=full", "training.compile=true", "training.max_steps=4")
    whole = train_tiny(*settings, "baselines=[]", folder="whole")
    at_step(monkeypatch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert run(words(*settings, folder="broken")) == 143
    assert run(words(*settings, folder="broken")) == 0
    assert same(whole, Run(tmp_path / "broken"))
    assert len(quickly_compiled) == 3


def test_a_run_that_was_trained_but_not_evaluated_trains_no_step_more(
    train_tiny: TrainTiny, words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers would add a step to a run whose last one is in the middle of an epoch, or that stopped early."""
    settings = ("training.max_steps=8", "baselines=[]")
    whole = train_tiny(*settings, folder="whole")
    monkeypatch.setattr("ftclf.training.network_learner.save_checkpoint", lambda *_: interrupt())
    assert run(words(*settings, folder="broken")) == 130
    monkeypatch.undo()
    monkeypatch.setenv("FTCLF_CACHE", str(tmp_path / "cache"))
    assert run(words(*settings, folder="broken")) == 0
    assert same(whole, Run(tmp_path / "broken"))
    assert read_json(Run(tmp_path / "broken").manifest)["steps"] == 8


@pytest.fixture(scope="module")
def broken_off(
    tiny_models: dict[str, Path], reviews: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Path]:
    """Return the folder of a run with three checkpoints that was killed after its last step."""
    folder = tmp_path_factory.mktemp("killed") / "run"

    def trained() -> Path:
        if not folder.exists():
            command = tiny_words(tiny_models["bert"], reviews, folder, "baselines=[]", "training.epochs=3")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("ftclf.training.network_learner.save_checkpoint", lambda *_: interrupt())
                assert run([*command, "method=full"]) == 130
        return folder

    return trained


@pytest.fixture
def killed(broken_off: Callable[[], Path], tmp_path: Path) -> Run:
    """A copy of that run, which a test may damage or go on with."""
    return Run(Path(shutil.copytree(broken_off(), tmp_path / "run")))


def test_seconds_and_examples_a_second_are_those_of_all_processes(killed: Run, words: Words) -> None:
    before = read_json(killed.resumable / "checkpoint-18" / "progress.json")
    assert 0 < before["seconds_aside"] < before["seconds"]
    assert run(words("training.epochs=3", "method=full")) == 0
    manifest = read_json(killed.manifest)
    seconds, examples = manifest["seconds"], 3 * manifest["rows"]["train"]
    assert seconds["total"] > seconds["training"] > before["seconds"]
    most = examples / (before["seconds"] - before["seconds_aside"])
    assert examples / seconds["training"] < manifest["examples_per_second"] < most * 1.01


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "average.safetensors", "trainer_state.json"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(
    killed: Run, whole: Callable[..., Run], words: Words, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (killed.resumable / "checkpoint-18" / name).unlink()
    capsys.readouterr()
    assert run(words("training.epochs=3", "method=full")) == 0
    captured = capsys.readouterr()
    assert f"warning: checkpoint-18 is passed over: {name} is missing" in captured.err
    assert "goes on after step 12" in captured.out
    assert same(whole("training.epochs=3", "method=full"), killed)


def test_a_checkpoint_whose_best_one_is_damaged_or_that_is_of_another_run_or_step_is_passed_over(
    killed: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = read_json(killed.manifest)["id"]
    newest = newest_checkpoint(killed, run_id)
    assert newest is not None
    assert newest.name == "checkpoint-18"
    assert newest_checkpoint(killed, "another") is None
    assert "it was written by another run" in capsys.readouterr().err
    best = read_json(newest / "progress.json")["best_step"]
    shutil.copytree(newest, killed.resumable / "checkpoint-19")
    (killed.resumable / f"checkpoint-{best}" / "model.safetensors").write_bytes(b"")
    found = newest_checkpoint(killed, run_id)
    error = capsys.readouterr().err
    assert "checkpoint-19 is passed over: it was written after step 18" in error
    assert "model.safetensors has 0 bytes" in error
    assert found is None or best == 18


def test_without_a_whole_checkpoint_the_run_begins_again(
    killed: Run, words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in killed.resumable.glob("checkpoint-*/files.json"):
        path.write_text("{")
    capsys.readouterr()
    assert run(words("training.epochs=3", "method=full")) == 0
    captured = capsys.readouterr()
    assert "files.json is damaged" in captured.err
    assert "it begins again at its first step" in captured.err
    assert not list(killed.resumable.glob("*"))


def test_a_damaged_manifest_and_weights_in_no_safetensors_are_refused(
    killed: Run, words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = killed.resumable / "checkpoint-18"
    (newest / "model.safetensors").rename(newest / "pytorch_model.bin")
    durable.seal(newest)
    assert run(words("training.epochs=3", "method=full")) == 3
    assert "it has no weights in safetensors, and no other is opened" in capsys.readouterr().err
    killed.manifest.write_text("{}")
    assert run(words("training.epochs=3", "method=full")) == 2
    assert "manifest.json is of another version or damaged" in capsys.readouterr().err


def test_a_best_checkpoint_that_is_damaged_while_the_run_goes_on_is_not_loaded(
    words: Words, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = ClassifierTrainer._load_best_model

    def damaged(self: Any) -> None:
        (Path(self.state.best_model_checkpoint) / "optimizer.pt").unlink()
        original(self)

    monkeypatch.setattr(ClassifierTrainer, "_load_best_model", damaged)
    assert run(words()) == 3
    assert "optimizer.pt is missing; give the same command again" in capsys.readouterr().err


@pytest.mark.parametrize(("before", "expected"), [(True, "logits are not finite"), (False, "weights are not finite")])
def test_weights_that_are_not_finite_are_neither_scored_nor_kept(
    words: Words,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    before: bool,
    expected: str,
) -> None:
    original = ClassifierTrainer.evaluate

    def evaluate(self: Any, *args: Any, **kwargs: Any) -> Any:
        if before:
            self.network.classifier.bias.data.fill_(float("nan"))
        scores = original(self, *args, **kwargs)
        self.network.classifier.bias.data.fill_(float("nan"))
        return scores

    monkeypatch.setattr(ClassifierTrainer, "evaluate", evaluate)
    assert run(words("method=full", "training.average=0")) == 4
    assert f"{expected} after step 6" in capsys.readouterr().err
    assert not list((tmp_path / "run" / "resumable").glob("*"))


def test_a_state_that_the_run_did_not_write_is_refused_though_its_hash_is_right(
    killed: Run, words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = killed.resumable / "checkpoint-18"
    state = read_json(newest / "trainer_state.json")
    control = {"TrainerControl": {"args": {"should_save": 1}, "attributes": {"x": 1}}}
    for changes in (
        {"global_step": 12},
        {"best_global_step": "18"},
        {"best_metric": "high"},
        {"epoch": None},
        {"log_history": {}},
        {"stateful_callbacks": control},
        {"surprise": 1},
        None,
    ):
        (newest / "trainer_state.json").write_text("[]" if changes is None else json.dumps({**state, **changes}))
        durable.seal(newest)
        capsys.readouterr()
        assert run(words("training.epochs=3", "method=full")) == 3, changes
        error = capsys.readouterr().err
        assert "a file in it is not what this run wrote; begin again with overwrite=true" in error
        assert error.count("\n") == 1


@pytest.mark.parametrize("harm", ["a pickle", "a name fewer", "another shape"])
def test_a_mean_that_the_run_did_not_write_is_refused_though_its_hash_is_right(
    killed: Run, words: Words, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    newest = killed.resumable / "checkpoint-18"
    path = newest / "average.safetensors"
    means = load_file(path)
    first = next(iter(means))
    if harm == "a pickle":
        path.write_bytes(pickle.dumps("a mean"))
    elif harm == "a name fewer":
        save_file({name: mean for name, mean in means.items() if name != first}, path)
    else:
        save_file({**means, first: means[first][:1]}, path)
    durable.seal(newest)
    capsys.readouterr()
    assert run(words("training.epochs=3", "method=full")) == 3
    error = capsys.readouterr().err
    assert "a file in it is not what this run wrote; begin again with overwrite=true" in error
    assert error.count("\n") == 1


def test_other_conditions_are_refused_with_old_and_new_and_can_be_permitted(
    killed: Run, words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in killed.folder.rglob("*") if path.is_file()}
    changed = ["training.epochs=4", "training.learning_rate=1e-3"]
    for command in (words("method=full", *changed), ["train", f"resume={killed.folder}", *changed]):
        capsys.readouterr()
        assert run(command) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "training.epochs was 3.0, now it is 4.0" in error
        assert "training.learning_rate was 0.005, now it is 0.001" in error
        assert "resume_allow=[training.epochs,training.learning_rate]" in error
    assert run(["train", f"resume={killed.folder}", "resume_allow=[training.sed]"]) == 2
    assert "Did you mean 'training.seed'?" in capsys.readouterr().err
    assert run(["train", f"resume={killed.folder}", "dataset=bbc_news"]) == 2
    assert "dataset was files, now it is bbc_news" in capsys.readouterr().err
    assert run(["train", f"resume={killed.folder}", "training.epochs=abc"]) == 2
    assert "training.epochs: got 'abc', allowed: a number" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in killed.folder.rglob("*") if path.is_file()} == before
    allow = "resume_allow=[training.epochs,training.learning_rate]"
    assert run(["train", f"resume={killed.folder}", *changed, allow]) == 0
    (resume,) = read_json(killed.manifest)["resumes"]
    assert resume["changes"]["training.epochs"] == {"before": 3.0, "now": 4.0}
    assert read_json(killed.manifest)["steps"] == 24
    assert read_json(killed.config)["training"]["epochs"] == 4


def test_other_rows_are_refused(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_csv(tmp_path / "d.csv", make_rows(120))
    at_step(monkeypatch, 2, interrupt)
    assert run(words(f"dataset.train={data}")) == 130
    write_csv(data, make_rows(120, seed=1))
    assert run(words(f"dataset.train={data}")) == 2
    assert "digests.train was " in capsys.readouterr().err
    write_csv(data, [(text, label.upper()) for text, label in make_rows(120)])
    assert run(words(f"dataset.train={data}")) == 2
    assert "label_names was ['food', 'space', 'sport'], now it is ['FOOD'," in capsys.readouterr().err


def test_weights_of_another_network_are_refused_even_where_the_change_is_permitted(
    killed: Run, words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    allow = "method,training.learning_rate"
    assert run(words("training.epochs=3", "method=lora", f"resume_allow=[{allow}]")) == 3
    assert "the weights are of another network" in capsys.readouterr().err


def test_a_permitted_change_of_early_stopping_counts(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("method=full", "training.learning_rate=1e-12", "training.epochs=4")  # nothing improves after epoch 1
    at_step(monkeypatch, 7, interrupt)
    assert run(words(*settings, "training.early_stopping=1")) == 130
    assert run(words(*settings, "training.early_stopping=3", "resume_allow=[training.early_stopping]")) == 0
    (history,) = tmp_path.rglob("history.jsonl")
    assert [json.loads(line)["step"] for line in history.read_text().splitlines()][-1] == 24


def test_no_token_stands_in_a_file_or_a_line(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "hf_" + "s3cret" * 6
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"):
        monkeypatch.setenv(name, secret)
    assert run(words(f"training.extra.hub_token={secret}")) == 2
    at_step(monkeypatch, 7, interrupt)
    for code in (130, 0):
        assert run(words("method=full", "training.log_steps=1")) == code
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not [path for path in files if secret.encode() in path.read_bytes()]
        assert bool(list(tmp_path.rglob("optimizer.pt"))) == (code == 130)
    said = capsys.readouterr()
    assert secret not in said.out + said.err


def test_a_folder_is_locked_while_a_process_works_in_it_and_no_longer(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    lock = (folder / ".lock").open("w")
    lock.write("4711")
    lock.flush()
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert run(words("training.max_steps=1")) == 2
    assert f"another process (4711) works in {folder}" in capsys.readouterr().err
    lock.close()  # as the kernel does when a process dies: the file stays
    assert run(words("training.max_steps=1")) == 0
    assert not (folder / ".lock").exists()


@pytest.mark.parametrize("place", ["loss", "gradient"])
@pytest.mark.parametrize("clipped", [True, False])
def test_a_number_that_is_not_finite_ends_the_run_in_its_step_with_exit_code_4(
    whole: Callable[..., Run],
    words: Words,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    clipped: bool,
) -> None:
    settings = ("method=full", "training.log_steps=1", *(() if clipped else ("training.max_grad_norm=0",)))
    owner: Any = ResumableTrainer if place == "loss" else ClassifierTrainer
    original = owner.training_step

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = original(self, *args, **kwargs)
        if self.state.global_step == 8:
            if place == "loss":
                return loss * float("nan")
            next(weight for weight in self.network.parameters() if weight.grad is not None).grad[0] = float("inf")
        return loss

    monkeypatch.setattr(owner, "training_step", broken)
    assert run(words(*settings)) == 4
    error = capsys.readouterr().err
    assert f"the {place}" in error
    assert "in step 9" in error
    diverged = Run(tmp_path / "run")
    assert not diverged.finished
    assert "in step 9" in read_json(diverged.failure)["reason"]
    assert "diverged" in diverged.report.read_text(encoding="utf-8")
    assert [path.name for path in diverged.resumable.iterdir()] == ["checkpoint-6"]
    assert [json.loads(line)["step"] for line in diverged.history.read_text().splitlines()][-1] == 8
    monkeypatch.undo()
    monkeypatch.setenv("FTCLF_CACHE", str(tmp_path / "cache"))
    assert run(words(*settings)) == 0
    assert not diverged.failure.exists()
    assert same(whole(*settings), diverged)


def test_a_disk_without_room_is_named_before_anything_is_written(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=200_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert run(words("method=full")) == 5
    error = capsys.readouterr().err
    assert f"run_dir: {tmp_path / 'run'} has 200.0 kB free, the run needs " in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_full_disk_leaves_the_older_checkpoint_and_the_run_goes_on_when_there_is_room(
    whole: Callable[..., Run],
    words: Words,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    original = ClassifierTrainer._save_optimizer_and_scheduler

    def full(self: Any, folder: str) -> None:
        original(self, folder)
        if self.state.global_step == 12:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 190080 vs 189972")

    monkeypatch.setattr(ClassifierTrainer, "_save_optimizer_and_scheduler", full)
    assert run(words()) == 5
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{tmp_path / 'run' / 'resumable' / 'checkpoint-12'}: No space left on device (it needs " in error
    broken = Run(tmp_path / "run")
    assert [path.name for path in broken.resumable.iterdir()] == ["checkpoint-6"]
    monkeypatch.undo()
    monkeypatch.setenv("FTCLF_CACHE", str(tmp_path / "cache"))
    assert run(words()) == 0
    assert same(whole(), broken)


def test_a_folder_that_cannot_be_made_is_one_line(words: Words, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words(folder="/proc/nothing")) == 5
    error = capsys.readouterr().err
    assert error.startswith("error: /proc/nothing")
    assert error.count("\n") == 1


def test_memory_that_runs_out_says_what_to_lower(
    words: Words, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_much(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(ClassifierTrainer, "training_step", too_much)
    assert run(words()) == 5
    assert "error: out of memory; lower training.batch_size" in capsys.readouterr().err


NO_NETWORK = """
import os, signal, sys

def look(event, _):
    if event.startswith("socket."):
        os.write(2, event.encode())
        os._exit(99)

sys.addaudithook(look)
from ftclf.cli.main import run
from ftclf.training.trainer import ProgressCallback

def end_of_step(self, args, state, control, **_):
    if state.global_step == 2:
        os.kill(os.getpid(), signal.SIGTERM)

whole, ProgressCallback.on_step_end = ProgressCallback.on_step_end, end_of_step
first = run(sys.argv[1:])
ProgressCallback.on_step_end = whole
sys.exit(f"{first} {run(sys.argv[1:])}")
"""


@pytest.mark.slow
def test_neither_a_run_nor_one_that_goes_on_opens_a_socket(words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT")  # the real one would be asked
    command = [sys.executable, "-c", NO_NETWORK, *words("training.max_steps=4")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "the run goes on after step 2" in done.stdout
    assert done.stderr.endswith("\n143 0\n")


# ---- the parts


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with durable.whole_folder(folder) as beside:
        (beside / "a").write_text("first")
        assert not folder.exists()
    assert durable.damage(folder) is None

    def fail() -> None:
        with durable.whole_folder(folder, needed=2_000_000) as beside:
            (beside / "a").write_text("second")
            raise OSError(28, "No space left on device")

    with pytest.raises(ResourceError, match=r"No space left on device \(it needs 2.0 MB, .* are free\)"):
        fail()
    assert (folder / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    (folder / "mine").write_text("a file of the user's is no damage")
    assert durable.damage(folder) is None
    (folder / "a").write_text("fir5t")
    assert durable.damage(folder) == "a holds other bytes than were written"


def test_a_second_signal_ends_at_once() -> None:
    child = os.fork()
    if not child:
        with signals.stoppable(), signals.stop_later():
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGINT)
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130


def test_a_signal_within_a_callback_that_can_raise_nothing_is_obeyed_right_after_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Thing:
        pass

    def stopped_within() -> None:
        with signals.stoppable():
            thing = Thing()
            _watched = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
            del thing
            time.sleep(signals.GRACE / 2)

    began, hook = time.monotonic(), sys.unraisablehook
    with pytest.raises(signals.Stopped):
        stopped_within()
    assert time.monotonic() - began < signals.GRACE / 4
    assert capsys.readouterr().err == ""
    assert sys.unraisablehook is hook


def test_a_signal_waits_where_it_is_told_to_and_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    told: list[int] = []

    def work() -> None:
        with signals.stoppable(), signals.stop_later(told.append):
            os.kill(os.getpid(), signal.SIGTERM)
            told.append(0)  # reached

    with pytest.raises(signals.Stopped) as caught:
        work()
    assert told == [signal.SIGTERM, 0]
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def unrenderable(*_: Any) -> None:
    raise KeyError("rows")


def test_a_finished_run_whose_report_cannot_be_written_is_finished(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = Run(tmp_path / "run")
    monkeypatch.setattr("ftclf.report.page.render", unrenderable)
    assert run(words("training.max_steps=2")) == 0
    again = f"once that is mended: ftclf report {done.folder}"
    assert f"warning: {done.report} could not be written (KeyError: 'rows'); {again}" in capsys.readouterr().err
    assert done.finished
    assert not done.resumable.exists()
    monkeypatch.undo()
    assert run(again.partition(": ftclf ")[2].split()) == 0
    assert done.report.is_file()


def test_a_diverged_run_whose_report_cannot_be_written_still_says_that_it_diverged(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ResumableTrainer, "training_step", lambda *_: torch.tensor(float("nan")))
    monkeypatch.setattr("ftclf.report.page._rendered", unrenderable)
    assert run(words()) == 4
    error = capsys.readouterr().err
    assert "report.html could not be written (KeyError: 'rows')\n" in error
    assert "error: training: the loss is nan in step 1" in error


def test_a_damaged_config_of_a_run_is_one_line(killed: Run, words: Words, capsys: pytest.CaptureFixture[str]) -> None:
    killed.config.write_text('{"dataset": 1}')
    assert run(words()) == 2
    assert "is of another version or damaged" in capsys.readouterr().err
    killed.config.write_text("{")
    with pytest.raises(RunError):
        read_json(killed.config)


def test_an_error_that_a_signal_led_to_is_the_signal(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        with suppress(BaseException):  # as matplotlib's C++ does
            os.kill(os.getpid(), signal.SIGINT)
        raise KeyError("what is missing since the signal came")

    def tried() -> int:
        return int(attempt(work, failures.append) or 0)

    failures: list[Exception] = []
    for one in (work, tried):
        assert guarded(one) == 130
        assert capsys.readouterr().err == "stopped by SIGINT\n"
    assert not failures


def test_a_signal_in_the_middle_of_a_write_waits_for_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = tempfile.mkstemp

    def signalled(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGTERM)
        return made

    monkeypatch.setattr(tempfile, "mkstemp", signalled)
    with pytest.raises(signals.Stopped), signals.stoppable():
        write_text(tmp_path / "a.txt", "whole")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


def test_a_cache_that_cannot_be_written_is_one_line(
    words: Words, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FTCLF_CACHE", "/proc/nothing")
    assert run(words()) == 5
    error = capsys.readouterr().err
    assert error.startswith("error: FTCLF_CACHE: cannot write to /proc/nothing: ")
    assert error.count("\n") == 1


def full(*_: Any, **__: Any) -> None:
    raise OSError("4096 requested and 0 written")  # numpy's words, without a number


@pytest.mark.parametrize(
    "place", ["ftclf.data.cache.np.save", "ftclf.model.tokens.np.save", "ftclf.score.baselines.np.savez"]
)
def test_a_cache_that_is_full_is_one_line(
    words: Words, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, place: str
) -> None:
    monkeypatch.setenv("FTCLF_CACHE", str(tmp_path / "small"))
    monkeypatch.setattr(place, full)
    assert run(words("training.max_steps=1", "baselines=[tfidf]")) == 5
    error = capsys.readouterr().err
    assert f"FTCLF_CACHE: cannot write to {tmp_path / 'small'}: no space left on device?; make room" in error
    assert error.count("\n") == 1
    assert not list((tmp_path / "small").rglob(".*"))


@pytest.mark.slow
def test_a_finished_run_goes_on_with_more_epochs_in_a_folder_of_its_own(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("full", "lora"):
        first, second = Run(tmp_path / method), Run(tmp_path / f"{method}-more")
        assert run(words(f"method={method}", "training.epochs=1", folder=method)) == 0
        before = weights(first)
        assert run(["train", f"resume={first.folder}", "training.epochs=1"]) == 0  # as many as it has
        assert "finished" in capsys.readouterr().out
        assert run(["train", f"resume={first.folder}", "training.epochs=0.5"]) == 2
        assert "training.epochs: got 0.5, allowed: above 1, which" in capsys.readouterr().err
        assert run(["train", f"resume={first.folder}", "training.epochs=3", f"run_dir={second.folder}"]) == 0
        assert "its weights are trained for 2 more epochs, in a new run" in capsys.readouterr().out
        assert weights(first) == before  # nothing is overwritten
        manifest = read_json(second.manifest)
        earlier = read_json(first.manifest)
        assert manifest["started_from"] == {"run": earlier["id"], "epochs": 1, "steps": earlier["steps"]}
        assert manifest["steps"] == 2 * earlier["steps"]
        # What the first run was allowed to replace is no permission for this one.
        config = read_json(first.config)
        write_text(first.config, json.dumps({**config, "overwrite": True}))
        kept = weights(second)
        assert run(["train", f"resume={first.folder}", "training.epochs=4", f"run_dir={second.folder}"]) == 2
        assert "holds a finished run with other settings" in capsys.readouterr().err
        assert weights(second) == kept
        # Once more, beside it, and from there it is counted on.
        assert run(["train", f"resume={second.folder}", "training.epochs=4"]) == 0
        (third,) = tmp_path.glob("20*")
        assert read_json(Run(third).manifest)["started_from"]["epochs"] == 3
        shutil.rmtree(third)


@pytest.mark.slow
def test_a_run_is_trained_further_from_wherever_it_lies(
    tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "else where"
    home.mkdir()
    elsewhere.mkdir()
    write_csv(home / "rows.csv", make_rows(120))
    shutil.copytree(tiny_models["bert"], home / "weights")
    monkeypatch.chdir(home)
    words = ["dataset=files", "dataset.train=rows.csv", "model.name=./weights", "method=lora", "baselines=[]"]
    words += ["training.max_steps=3", "training.precision=fp32", "run_dir=first"]
    assert run(["train", *words]) == 0
    for wrong in ("training.max_steps=null", "training.max_steps=3", "training.max_steps=2"):
        code = run(["train", "resume=first", wrong])
        assert code == (0 if wrong.endswith("=3") else 2)
        assert "a bug in" not in capsys.readouterr().err
    assert run(["train", "resume=first", "training.max_steps=5"]) == 0  # beside it
    assert "its weights are trained for 2 more steps, in a new run" in capsys.readouterr().out
    shutil.move(home / "first", elsewhere / "moved")
    (second,) = home.glob("20*")
    assert read_json(Run(second).manifest)["steps"] == 2
    monkeypatch.chdir(elsewhere)  # where no relative path of the first run leads
    assert run(["train", f"resume={second}", "training.epochs=2", "run_dir=third"]) == 0
    manifest = read_json(Run(Path("third")).manifest)
    assert manifest["started_from"]["steps"] == 5
    assert manifest["started_from"]["epochs"] == pytest.approx(5 / 3)
