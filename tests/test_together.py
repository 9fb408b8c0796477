"""LoRA jobs that train side by side give what each gives alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from conftest import tiny_words
from ftclf.cli.main import run
from ftclf.cli.sweep_jobs import Job, Lane, _train, lanes_of
from ftclf.config import FullConfig, HeadConfig, LoraConfig, TrainConfig
from ftclf.fast.turns import Relay
from ftclf.storage.run_folder import Run
from ftclf.system.errors import DivergedError, SweepError
from ftclf.training.together import groups_of, train_side_by_side
from ftclf.training.trainer import ClassifierTrainer

SWEEP = ["-m", "training.together=true", "baselines=[]", "training.learning_rate=1e-3"]


def losses(run: Run) -> list[float]:
    lines = [json.loads(line) for line in run.history.read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bert", "distilbert"])
def test_each_job_gives_what_it_gives_alone(
    model: str, tiny_models: dict[str, Path], reviews: Path, tmp_path: Path
) -> None:
    words = tiny_words(tiny_models[model], reviews, tmp_path / "sweep", *SWEEP, "training.log_steps=1")
    assert run([words[0], "method.r=2,4", "training.seed=0,1", *words[1:]]) == 0
    for number, (rank, seed) in enumerate([(2, 0), (2, 1), (4, 0), (4, 1)]):
        together, alone = Run(tmp_path / "sweep" / str(number)), Run(tmp_path / f"alone-{number}")
        extra = ["baselines=[]", "training.learning_rate=1e-3", "training.log_steps=1"]
        alone_words = tiny_words(tiny_models[model], reviews, alone.folder, *extra)
        assert run([*alone_words, f"method.r={rank}", f"training.seed={seed}"]) == 0
        assert np.allclose(losses(together), losses(alone), rtol=1e-5)
        found, wanted = (load_file(one.checkpoint / "adapter_model.safetensors") for one in (together, alone))
        assert found.keys() == wanted.keys()
        for name, weight in wanted.items():
            assert np.allclose(found[name], weight, atol=1e-5), name
        scores = [json.loads(one.metrics.read_text())["test"]["accuracy"] for one in (together, alone)]
        assert scores[0] == scores[1]


@pytest.mark.slow
def test_a_job_that_fails_leaves_the_others_to_finish(
    tiny_models: dict[str, Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = ClassifierTrainer.training_step

    def failing(self: ClassifierTrainer, *args: Any, **kwargs: Any) -> Any:
        loss = step(self, *args, **kwargs)
        if self.config.seed == 1 and self.state.global_step == 3:
            raise DivergedError("training: the loss is nan")
        return loss

    def here(*lanes: Lane) -> None:
        for lane in lanes:
            train_side_by_side({number: partial(_train, job) for number, job in lane.jobs.items()})

    monkeypatch.setattr(ClassifierTrainer, "training_step", failing)
    monkeypatch.setattr("ftclf.cli.commands.train_apart", here)  # a process of their own would not see the failure
    words = tiny_words(tiny_models["bert"], reviews, tmp_path / "sweep", *SWEEP)
    assert run([words[0], "training.seed=0,1,2", *words[1:]]) == 1
    assert [Run(tmp_path / "sweep" / str(number)).finished for number in range(3)] == [True, False, True]
    assert "nan" in Run(tmp_path / "sweep" / "1").failure.read_text()


def test_jobs_are_dealt_out_to_processes_with_cores_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftclf.system.imports.may_have_gpu", lambda: False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {2, 3, 5, 7})

    def lanes(count: int, ranks: Sequence[int] = (), **changes: object) -> list[tuple[list[int], list[int], int]]:
        jobs = {number: Job(job(**changes), Path(str(number)), []) for number in range(count)}
        for number, rank in enumerate(ranks):
            jobs[number].config.method.r = rank
        return [(list(lane.jobs), sorted(lane.cores or ()), lane.alone) for lane in lanes_of(jobs)]

    assert lanes(1) == [([0], [], 0)]
    assert lanes(2) == [([0], [2, 3], 4), ([1], [5, 7], 4)]
    assert lanes(5) == [([0], [2], 4), ([1], [3], 4), ([2], [5], 4), ([3, 4], [7], 4)]
    assert lanes(4, training__threads=2) == [([0, 3], [2, 3], 2), ([1, 2], [5, 7], 2)]
    assert lanes(2, training__threads=3) == [([0, 1], [], 0)]
    ends = lanes(6, (4, 4, 8, 8, 32, 32), training__threads=2)
    assert [sum((4, 4, 8, 8, 32, 32)[number] for number in numbers) for numbers, *_ in ends] == [44, 44]
    monkeypatch.setattr("ftclf.system.imports.may_have_gpu", lambda: True)
    assert lanes(2) == [([0, 1], [], 0)]


def job(**changes: object) -> TrainConfig:
    config = TrainConfig()
    config.method = LoraConfig(kind="lora", learning_rate=1e-3)
    for name, value in changes.items():
        part, _, field = name.partition("__")
        setattr(getattr(config, part), field, value)
    return config


def test_jobs_that_differ_in_rank_alpha_rate_or_seed_are_one_group() -> None:
    changes: list[dict[str, object]] = [
        {},
        {"method__r": 4},
        {"method__alpha": 8.0},
        {"training__learning_rate": 0.1},
        {"training__seed": 3},
    ]
    assert groups_of([job(**change) for change in changes]) == [[0, 1, 2, 3, 4]]


def test_jobs_that_differ_in_anything_else_are_apart() -> None:
    changes: list[dict[str, object]] = [{}, {"method__dropout": 0.0}, {"training__batch_size": 8}, {"method__r": 2}]
    assert groups_of([job(**change) for change in changes]) == [[0, 3], [1], [2]]


def test_a_job_that_changes_its_base_trains_alone() -> None:
    alone = [job(method__dora=True), job(method__dora=True), job(method__init="pissa"), job(method__init="pissa")]
    for config, method in ((job(), FullConfig), (job(), HeadConfig)):
        config.method = method(kind="x", learning_rate=1e-3)
        alone.append(config)
    assert groups_of(alone) == [[0], [1], [2], [3], [4], [5]]


def test_jobs_go_on_when_one_ends_before_it_trains() -> None:
    relay, passed = Relay(3), []

    def job(seat: int) -> None:
        try:
            relay.wait(seat)
            if seat == 1:
                return
            for _ in range(2):
                relay.meet(seat, None, lambda offers: offers)
            passed.append(seat)
        finally:
            relay.leave(seat)

    in_threads(job, 3)
    assert sorted(passed) == [0, 2]


def test_work_that_waited_for_one_who_left_is_done_by_one_who_stays() -> None:
    """Where it fails, its reason is known to that one."""
    relay, where, ended = Relay(3), [], []

    def work(offers: dict[int, Any]) -> dict[int, Any]:
        where.append((sorted(offers), threading.current_thread().name))
        if len(offers) == 2 and len(where) == 3:
            raise MemoryError
        return offers

    def job(seat: int) -> None:
        threading.current_thread().name = str(seat)
        try:
            relay.wait(seat)
            for _ in range(1 if seat == 2 else 3):
                relay.meet(seat, None, work)
        except (MemoryError, SweepError) as error:
            ended.append((seat, type(error)))
        finally:
            relay.leave(seat)

    in_threads(job, 3)
    assert [offers for offers, _ in where] == [[0, 1, 2], [0, 1], [0, 1]]
    assert where[1][1] in ("0", "1")
    assert sorted(kind.__name__ for _, kind in ended) == ["MemoryError", "SweepError"]


@given(
    st.lists(st.lists(st.booleans(), max_size=12), min_size=1, max_size=4),
    st.integers(0, 3),
    st.none() | st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
@example([[False, False], [False]], 1, 1)
def test_what_is_brought_ahead_is_worked_off_in_order(
    trainings: list[list[bool]], ahead: int, failing: int | None
) -> None:
    """Each training brings offers, and after some waits until all are worked off; the first may fail after some."""
    relay, ended = Relay(len(trainings)), []
    worked: list[list[int]] = [[] for _ in trainings]

    def work(offers: dict[int, Any]) -> dict[int, Any]:
        assert list(offers) == relay.active
        for seat, offer in offers.items():
            worked[seat].append(offer)
        return {}

    def job(seat: int) -> None:
        relay.wait(seat)
        try:
            for number, settles in enumerate(trainings[seat]):
                if seat == 0 and number == failing:
                    return
                relay.bring(seat, number, work, ahead)
                assert number + 1 - ahead <= len(worked[seat]) <= number + 1
                if settles:
                    relay.settle(seat)
                    assert len(worked[seat]) == number + 1
            relay.settle(seat)
            ended.append(seat)
        finally:
            relay.leave(seat)

    in_threads(job, len(trainings))
    fails = failing is not None and failing < len(trainings[0])
    assert sorted(ended) == list(range(int(fails), len(trainings)))
    for seat in ended:
        assert worked[seat] == list(range(len(trainings[seat])))
    assert not any(relay.offers)  # nor is anything of one that failed held on to


def in_threads(train: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=train, args=(seat,), daemon=True) for seat in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


def test_an_error_in_the_shared_pass_ends_every_training_of_it() -> None:
    relay, ended = Relay(3), []

    def broken(offers: dict[int, Any]) -> dict[int, Any]:
        raise MemoryError(f"{len(offers)} trainings")

    def train(seat: int) -> None:
        try:
            relay.wait(seat)
            relay.meet(seat, None, broken)
        except (MemoryError, SweepError) as error:
            ended.append(type(error))
        finally:
            relay.leave(seat)

    in_threads(train, 3)
    assert sorted(ended, key=str) == sorted([MemoryError, SweepError, SweepError], key=str)
