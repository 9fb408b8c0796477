"""Jobs of a sweep run side by side in processes: each gives what it gives alone, and none harms another."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from conftest import tiny_words
from ftclf.cli import sweep_plan
from ftclf.cli.main import run
from ftclf.cli.sweep_plan import LEAST, planned
from ftclf.config import LoraConfig, TrainConfig
from ftclf.storage.cache import missing, new_entry
from ftclf.storage.run_folder import Run, read_json, write_json
from ftclf.system.containers import free_in_container

ADAPTER = "adapter_model.safetensors"
Sweep = Callable[..., list[str]]


@pytest.fixture
def sweep(tiny_models: dict[str, Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Give the words of a sweep over two ranks on a machine of two cores, with memory for both."""
    monkeypatch.setattr(sweep_plan, "usable_cores", lambda: 2)
    free(monkeypatch, 8 * LEAST)

    def make(*words: str) -> list[str]:
        first, *rest = tiny_words(tiny_models["bert"], reviews, tmp_path / "sweep", "baselines=[]", *words)
        return [first, "-m", "method.r=2,4", *rest]

    return make


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(sweep_plan, "free_memory", lambda: count)
    monkeypatch.setattr("ftclf.cli.sweep_jobs.free_memory", lambda: count)


def alone(sweep_words: list[str], rank: int, folder: Path, *words: str) -> bytes:
    """Return the weights of one of the jobs, trained as a run of its own."""
    first, _, _, *rest = sweep_words
    given = [word for word in rest if not word.startswith("run_dir=")]
    assert run([first, *given, f"method.r={rank}", f"run_dir={folder}", *words]) == 0
    return (folder / "checkpoint" / ADAPTER).read_bytes()


def weights(folder: Path) -> list[bytes]:
    return [(folder / "sweep" / job / "checkpoint" / ADAPTER).read_bytes() for job in "01"]


@pytest.mark.slow
def test_jobs_side_by_side_give_the_bits_of_runs_alone_with_as_many_threads(
    sweep: Sweep, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # what it forks would print to an earlier test
    assert run(sweep()) == 0
    lines = capfd.readouterr().out.splitlines()
    assert "2 at a time, 1 thread each; jobs=1 trains one after the other" in lines
    said = "\n".join(lines)
    assert said.index("job 1: method.r=4") < min(said.index(f"job {job} is done, validation accuracy") for job in "01")
    own = lines[lines.index("job 1: method.r=4") + 1 : next(place for place, line in enumerate(lines) if not line)]
    assert len(own) > 10
    assert all(re.match("job [01][: ]", line) for line in own)
    assert [read_json(Run(tmp_path / "sweep" / job).config)["training"]["threads"] for job in "01"] == [1, 1]
    assert read_json(Run(tmp_path / "sweep" / "1").manifest)["command"].endswith(" training.threads=1")
    assert weights(tmp_path) == [alone(sweep(), rank, tmp_path / str(rank), "training.threads=1") for rank in (2, 4)]


def test_jobs_run_one_after_the_other_where_that_is_asked_for(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(sweep("jobs=1", "training.max_steps=2")) == 0
    assert "at a time" not in capsys.readouterr().out
    first, second = (Run(tmp_path / "sweep" / job) for job in "01")
    assert first.metrics.stat().st_mtime <= second.config.stat().st_mtime
    assert read_json(Run(tmp_path / "sweep" / "1").config)["training"]["threads"] is None
    assert read_json(Run(tmp_path / "sweep" / "1").manifest)["tokens_from_cache"]
    assert run(sweep("training.max_steps=2")) == 0  # finished: it keeps its threads


def test_a_job_begins_when_there_is_memory_for_it(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ftclf.cli.sweep_jobs.free_memory", lambda: LEAST // 2)  # others have taken it in the meantime
    assert run(sweep("training.max_steps=2")) == 0
    lines = capsys.readouterr().out.splitlines()
    begun = lines.index("job 1: method.r=4")
    assert any(line.startswith("job 0 is done, validation accuracy") for line in lines[:begun])


@pytest.mark.slow
def test_a_signal_ends_all_jobs_and_the_same_command_goes_on_with_each_to_the_same_bits(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = sweep("training.max_steps=400", "training.log_steps=1", "training.eval_steps=200")
    runs = [Run(tmp_path / "sweep" / job) for job in "01"]

    def stop() -> None:
        for _ in range(6000):
            if all(one.history.is_file() and one.history.stat().st_size for one in runs):
                os.kill(os.getpid(), signal.SIGTERM)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=stop)
    thread.start()
    assert run(words) == 143
    thread.join()
    assert all(read_json(one.failure)["reason"].startswith("it was stopped by a signal; go on with") for one in runs)
    assert all(list(one.resumable.glob("checkpoint-*")) and not one.finished for one in runs)
    free(monkeypatch, LEAST)  # now for one job alone, which goes on with the threads that it had
    assert run(words) == 0
    assert "note: 900.0 MB of memory are free, and a job needs some 900.3 MB: 1 at a time" in capsys.readouterr().err
    assert [len(read_json(one.manifest)["resumes"]) for one in runs] == [1, 1]
    assert weights(tmp_path)[1] == alone(words, 4, tmp_path / "alone", "training.threads=1")


# ---- the plan


@pytest.mark.parametrize(
    ("jobs", "given", "expected"),
    [
        (4, {}, (2, 1)),
        (1, {}, (1, None)),
        (4, {"cores": 8}, (4, 2)),
        (3, {"cores": 8}, (3, 2)),
        (4, {"cores": 1}, (1, None)),
        (4, {"jobs": 1}, (1, None)),
        (4, {"jobs": 3}, (3, 1)),
        (4, {"jobs": 9, "cores": 8}, (4, 2)),
        (4, {"threads": 1}, (2, 1)),
        (4, {"threads": 2}, (1, 2)),
        (4, {"threads": 16}, (1, 16)),
        (4, {"threads": 3, "cores": 8}, (2, 3)),
        (4, {"threads": 2, "jobs": 2}, (2, 2)),
        (4, {"free": 3 * LEAST - 1, "cores": 8}, (2, 4)),
        (4, {"free": 0}, (1, None)),
        (4, {"free": 0, "jobs": 2}, (2, 1)),
        (4, {"gpu": True}, (1, None)),
        (4, {"gpu": True, "device": "cpu"}, (2, 1)),
        (4, {"device": "cuda"}, (1, None)),
    ],
)
def test_cores_and_memory_say_how_many_jobs_run_at_a_time_and_with_how_many_threads(
    jobs: int, given: dict[str, Any], expected: tuple[int, int | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(jobs, given, tmp_path, monkeypatch)
    assert (plan.at_once, plan.configs[-1].training.threads) == expected
    assert all(config.jobs is None for config in plan.configs)
    assert plan.gpu_share is None
    assert bool(plan.note) == (given.get("free", 10**12) < 4 * LEAST and "jobs" not in given)


def test_jobs_on_a_gpu_share_its_memory_where_several_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(4, {"gpu": True, "jobs": 4, "cores": 8}, tmp_path, monkeypatch)
    assert (plan.at_once, plan.gpu_share, plan.need) == (4, 0.25, 0)


def test_a_job_that_was_begun_keeps_its_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for job, threads in enumerate((3, None)):
        write_json(Run(tmp_path / str(job)).config, {"training": {"threads": threads}})
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "config.json").write_text("[]")
    for overwrite, expected in ((False, [3, None, 1, 1]), (True, [1, 1, 1, 1])):
        plan = plan_of(4, {"overwrite": overwrite}, tmp_path, monkeypatch)
        assert [config.training.threads for config in plan.configs] == expected


def plan_of(jobs: int, given: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> sweep_plan.Plan:
    monkeypatch.setattr(sweep_plan, "usable_cores", lambda: given.get("cores", 2))
    monkeypatch.setattr(sweep_plan, "may_have_gpu", lambda: given.get("gpu", False))
    monkeypatch.setattr("sys.platform", "linux")
    free(monkeypatch, given.get("free", 10**12))
    configs = [TrainConfig(jobs=given.get("jobs"), overwrite=given.get("overwrite", False)) for _ in range(jobs)]
    for config in configs:
        config.method, config.model.name = LoraConfig(kind="lora", learning_rate=1e-3), "/nowhere"
        config.training.threads, config.training.device = given.get("threads"), given.get("device", "auto")
    return planned(configs, [folder / str(job) for job in range(jobs)])


def test_a_job_needs_more_memory_with_larger_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    config = TrainConfig()
    config.model.name, config.method = str(tmp_path), LoraConfig(kind="lora", learning_rate=1e-3)
    assert sweep_plan.memory_of(config) == LEAST + 3000
    config.method.kind = "full"
    assert sweep_plan.memory_of(config) > LEAST


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-m", "jobs=2", "hydra/launcher=basic", "method.r=2,4"], "error: jobs: allowed without hydra/launcher"),
        (["-m", "jobs=0", "method.r=2,4"], "error: jobs: got 0, allowed: from 1 to 1024"),
        (["jobs=2", "model.name=/nowhere"], "note: jobs has no effect on a single run; it is for sweeps"),
        (["-m", "training.together=true", "method.r=2,4"], "error: training.together: no such setting; sweeps run"),
        (
            ["--together"],
            "error: together: no such setting; sweeps run jobs side by side",
        ),
    ],
)
def test_the_number_of_jobs_is_for_sweeps_that_ftclf_runs(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *words, f"runs_dir={tmp_path}"]) in (1, 2, 3, 5)
    assert capsys.readouterr().err.startswith(expected)


# ---- what jobs side by side have in common


def test_what_two_need_at_the_same_time_is_made_once(tmp_path: Path) -> None:
    made: list[bool] = []

    def make() -> None:
        with missing(tmp_path / "kind" / "entry") as fresh:
            made.append(fresh)
            if fresh:
                time.sleep(0.2)
                with new_entry(tmp_path / "kind" / "entry") as beside:
                    (beside / "x").write_text("x")

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(made) == [False, False, False, True]
    assert [path.name for path in (tmp_path / "kind").iterdir()] == ["entry"]


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/a/b", {"a/memory.max": "900", "a/memory.current": "500", "a/memory.stat": "inactive_file 100"}, 500),
        ("0::/a", {"a/memory.max": "900", "a/memory.current": "500", "a/memory.stat": "anon 1"}, 400),
        ("0::/a", {"a/memory.max": "max", "a/memory.current": "500", "a/memory.stat": ""}, None),
        ("0::/a", {"a/memory.max": "1", "a/memory.current": "500", "a/memory.stat": ""}, 0),
        ("0::/a", {"a/memory.max": "900"}, None),
        (
            "4:memory:/a",
            {
                "memory/a/memory.limit_in_bytes": "900",
                "memory/a/memory.usage_in_bytes": "500",
                "memory/a/memory.stat": "cache 1\ntotal_inactive_file 50",
            },
            450,
        ),
        ("nonsense", {}, None),
    ],
)
def test_memory_is_counted_within_the_limit_of_the_container(
    own: str, files: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(f"{content}\n")
    (tmp_path / "own").write_text(f"{own}\n")
    assert free_in_container(tmp_path / "cgroup", tmp_path / "own") == expected
    assert free_in_container(tmp_path / "cgroup", tmp_path / "missing") is None
