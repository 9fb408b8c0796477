"""Small parts: dropout, progress, atomic files, plots, the machine."""

from __future__ import annotations

import functools
import json
import math
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from ftclf.fast.cpu.dropout import ByteDropout, use_byte_dropout
from ftclf.model.compute import bf16_is_fast, choose_attention, choose_device, container_quota, usable_cores
from ftclf.report.plots import plot_confusion, plot_history, plot_setting
from ftclf.storage.run_folder import append_json_line, read_json, write_json, write_text
from ftclf.system import progress_bar
from ftclf.system.console import clock, printable
from ftclf.system.errors import ConfigError
from ftclf.system.progress_bar import TrainingPhase


def test_byte_dropout_keeps_the_mean_and_the_rate() -> None:
    torch.manual_seed(0)
    layer = ByteDropout(0.1)
    out = layer(torch.ones(400, 1001))
    assert out.mean().item() == pytest.approx(1, abs=0.005)
    assert (out == 0).float().mean().item() == pytest.approx(26 / 256, abs=0.003)
    assert sorted(out.unique().tolist()) == pytest.approx([0, 256 / 230])


def test_byte_dropout_does_nothing_in_evaluation_and_follows_the_seed() -> None:
    layer, x = ByteDropout(0.5), torch.ones(7)
    torch.manual_seed(3)
    first = layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(ByteDropout(0.0)(x), x)


def test_byte_dropout_lets_gradients_through_what_it_kept() -> None:
    x = torch.ones(64, requires_grad=True)
    out = ByteDropout(0.5)(x)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, out.detach())


def test_every_dropout_of_a_network_is_replaced_but_not_its_state() -> None:
    network = torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.ModuleDict({"inner": torch.nn.Dropout(0.1)})).eval()
    use_byte_dropout(network)
    assert not any(isinstance(module, torch.nn.Dropout) for module in network.modules())
    assert not any(module.training for module in network.modules())


def test_attention_kernels_follow_the_lengths_and_the_device() -> None:
    short, long = np.full(10, 20), np.full(10, 256)
    assert [choose_attention(short, "cpu"), choose_attention(long, "cpu"), choose_attention(short, "cuda")] == [
        "eager",
        "sdpa",
        "sdpa",
    ]


def test_the_machine_is_asked_not_assumed() -> None:
    assert isinstance(bf16_is_fast("cpu"), bool)
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    assert choose_device("cpu") == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no cuda on this machine, allowed: auto"):
            choose_device("cuda")


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/", {"cpu.max": "200000 100000"}, 2.0),  # a container of its own
        ("0::/a/b", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 1.5),  # the group above limits
        ("0::/a", {"a/cpu.max": "max 100000"}, None),
        ("0::/gone/below", {"cpu.max": "50000 100000"}, 0.5),  # the host's path, seen from inside
        (
            "4:cpu,cpuacct:/a",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "300000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"},
            3,
        ),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("2:memory:/a", {"memory/a/cpu.max": "100000 100000"}, None),
        ("", {}, None),
        ("nonsense", {}, None),
        ("0::/", {"cpu.max": "nonsense"}, None),
    ],
)
def test_cores_are_counted_within_the_quota_of_the_container(
    own: str, files: dict[str, str], cores: float | None, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(f"{content}\n")
    (tmp_path / "own").write_text(f"{own}\n")
    assert container_quota(tmp_path / "cgroup", tmp_path / "own") == cores
    assert container_quota(tmp_path / "cgroup", tmp_path / "missing") is None


def test_json_is_written_whole_and_nan_becomes_null(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_json(path, {"x": math.nan, "y": [math.inf, 1.5], "z": "ü"})
    assert read_json(path) == {"x": None, "y": [None, 1.5], "z": "ü"}
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})
    assert read_json(path)["z"] == "ü"
    append_json_line(tmp_path / "l.jsonl", {"a": math.nan})
    assert json.loads((tmp_path / "l.jsonl").read_text()) == {"a": None}


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_progress_prints_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    training = TrainingPhase(100, 32, soon=0.05)
    training.reach(10, 1.234)
    time.sleep(0.2)
    training.after = 65.0
    time.sleep(0.2)
    training.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("step 10/100: loss 1.234, ")
    assert lines[0].endswith(" left")
    assert lines[-1].endswith(" left, then 1:05 for evaluation and baselines")


def test_a_phase_that_is_one_long_call_says_that_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_bar, "Phase", functools.partial(progress_bar.Phase, soon=0.05))
    with progress_bar.phase("reading"):
        time.sleep(0.2)
        with progress_bar.phase("tokenising", 40):
            progress_bar.advance(10)
            time.sleep(0.2)
        progress_bar.advance(7)
        time.sleep(0.2)
    said = capsys.readouterr().out
    assert "reading: 0:00" in said
    assert "tokenising: 10/40, 0:0" in said
    within = said[said.index("tokenising") : said.rindex("tokenising")]
    assert "reading" not in within
    assert "reading: 7 done, 0:0" in said
    time.sleep(0.1)
    assert not capsys.readouterr().out
    progress_bar.advance()  # of none


def test_times_and_control_characters_are_readable() -> None:
    assert (clock(65), clock(7387)) == ("1:05", "2:03:07")
    assert printable("a\x1b[31mb") == "a\\x1b[31mb"


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux and glibc")
def test_memory_that_steps_kept_goes_back_before_something_else_comes() -> None:
    probe = """
import resource
from ftclf.system.memory import hand_back_memory, keep_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() // 2**20
keep_memory()
step = [b"x" * 2**20 for _ in range(100)]
last, held = step.pop(), resident()
step.clear()
kept = resident()
hand_back_memory(collect=False)
print(held - kept, kept - resident())
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, env=environment)
    freed, handed_back = map(int, done.stdout.split())
    assert freed < 10
    assert handed_back > 90


def test_a_picture_of_a_confusion_matrix_is_not_blown_up_in_memory(tmp_path: Path) -> None:
    counts = np.eye(28, dtype=np.int64) * 3
    plot_confusion(tmp_path / "c.png", counts, ["a"] * 28, title="the first brings modules and fonts")
    tracemalloc.start()
    plot_confusion(tmp_path / "c.png", counts, ["a"] * 28, title="test")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6


def test_plots_are_written(tmp_path: Path) -> None:
    names = [f"label {i}" for i in range(28)]
    plot_confusion(tmp_path / "c.png", np.eye(28, dtype=np.int64) * 3, names, title="test")
    history = [{"step": 1, "loss": 2.0}, {"step": 2, "validation_accuracy": 0.5}]
    plot_history(tmp_path / "h.png", history, "accuracy")
    plot_setting(tmp_path / "s.png", "method.r", [4, 8, 32], {"test": [0.1, 0.2, 0.3]}, "accuracy")
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("c.png", "h.png", "s.png"))
