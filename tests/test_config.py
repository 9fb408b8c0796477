from __future__ import annotations

import math

import pytest

from ftclf.config import DatasetConfig, LoraConfig, ModelConfig, PinConfig, TrainConfig, TrainingConfig, check
from ftclf.errors import ConfigError


def valid(**training: object) -> TrainConfig:
    return TrainConfig(
        dataset=DatasetConfig(name="d", train="t.csv"),
        model=ModelConfig(name="m"),
        method=LoraConfig(kind="lora", learning_rate=1e-3),
        training=TrainingConfig(**{"epochs": 1, "learning_rate": 1e-3, **training}),  # type: ignore[arg-type]
    )


def problems(config: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(config)
    return str(caught.value).splitlines()


def test_a_valid_config_passes() -> None:
    check(valid())


def test_every_problem_is_named_at_once() -> None:
    config = valid(seed=-1, warmup=2.0, metric="acuracy")
    found = problems(config)
    assert len(found) == 3
    assert "training.seed: got -1, allowed: from 0 to 4294967295" in found
    assert "training.warmup: got 2.0, allowed: from 0 to 0.9" in found
    assert any("Did you mean 'accuracy'?" in line for line in found)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused(value: float) -> None:
    assert problems(valid(learning_rate=value)) == [f"training.learning_rate: got {value}, allowed: finite numbers"]


def test_zero_is_refused_where_only_more_than_zero_makes_sense() -> None:
    assert problems(valid(epochs=0)) == ["training.epochs: got 0, allowed: above 0 to 1000"]


def test_a_required_setting_that_is_missing_says_how_to_give_it() -> None:
    config = valid()
    config.model = ModelConfig()
    assert "Add model.name=" in problems(config)[0]


def test_files_need_a_file() -> None:
    config = valid()
    config.dataset = DatasetConfig(name="files", source="files")
    assert "dataset.train" in problems(config)[0]


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 101])
def test_a_run_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    config = valid()
    config.name = name
    assert problems(config)[0].startswith("name: got")


def test_arguments_that_ftclf_sets_itself_are_refused_in_extra() -> None:
    assert problems(valid(extra={"output_dir": "x"}))[0].startswith("training.extra.output_dir:")


def test_unknown_trackers_are_refused() -> None:
    assert "Did you mean 'mlflow'?" in problems(valid(trackers=["mlfow"]))[0]


def test_a_pin_gives_its_alias_only_to_its_own_name() -> None:
    pin = PinConfig(name="org/model", alias="short")
    assert ModelConfig(name="org/model", pin=pin).alias == "short"
    assert ModelConfig(name="other/thing", pin=pin).alias == "thing"
