"""Settings that have new names: the old ones count on the command line, in yaml files and in stored runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ftclf.cli.compose import checked_jobs, parse, register
from ftclf.cli.hydra_errors import settings_of
from ftclf.cli.main import run
from ftclf.cli.renamed_yaml import renamed_notes
from ftclf.cli.typed_words import settled
from ftclf.config.renamed import RENAMED
from ftclf.storage.durable import seal
from ftclf.storage.run_folder import Run, read_json, write_json

VALUES = {"training.batches": "random", "decision.precision": 0.9, "dataset.epochs": 1.5}


def test_each_old_name_is_none_of_today_and_leads_to_one() -> None:
    assert set(VALUES) == set(RENAMED)
    assert not set(RENAMED) & set(settings_of("train"))
    assert set(RENAMED.values()) <= set(settings_of("train"))


@pytest.mark.parametrize("old", RENAMED)
@pytest.mark.parametrize("form", ["{}={}", "--{}={}", "--{} {}", "+{}={}"])
def test_an_old_name_on_the_command_line_is_understood_and_noted(old: str, form: str) -> None:
    words, notes = settled("train", form.format(old, VALUES[old]).split())
    assert words[0].lstrip("+") == f"{RENAMED[old]}={VALUES[old]}"
    assert notes == [f"{old} is now {RENAMED[old]}"]


def test_the_last_part_of_an_old_name_is_enough_unless_a_setting_of_today_has_it() -> None:
    assert settled("train", ["batches=random"])[0] == ["training.batching=random"]
    assert settled("train", ["precision=fp32"])[0] == ["training.precision=fp32"]
    assert settled("predict", ["RUN", "training.batches=3"])[1] == []


@pytest.mark.parametrize("header", ["", "# @package _global_\n"])
def test_old_names_in_yaml_files_count_and_are_noted_once(tmp_path: Path, header: str) -> None:
    texts = {
        "experiment": "training: {batches: random, epochs: '${dataset.epochs}'}\ndecision: {precision: 0.9}\n"
        "hydra: {sweeper: {params: {training.batches: 'random,by_length'}}}\n",
        "dataset": "name: mine\ntrain: x.csv\nepochs: 1.5\n",
    }
    if not header:  # a file of a group, whose settings are those of the group
        texts["training"] = "defaults: [default]\nbatches: random\n"
        texts["experiment"] = "# @package _global_\ndecision: {precision: 0.9}\n"
    for group, text in texts.items():
        (tmp_path / group).mkdir()
        (tmp_path / group / "mine.yaml").write_text(header * (group == "experiment") + text)
    register()
    words = [f"{group}=mine" for group in texts]
    args = parse(["--config-dir", str(tmp_path), *words, *(["-m"] if header else [])])
    renamed_notes()
    jobs: list[Any] = checked_jobs("train", args)
    assert [job.training.batching for job in jobs] == (["random", "by_length"] if header else ["random"])
    assert {(job.training.epochs, job.decision.min_precision) for job in jobs} == {(1.5, 0.9)}
    assert sorted(renamed_notes()) == sorted(f"{old} is now {new}" for old, new in RENAMED.items())
    assert renamed_notes() == []


def with_old_names(settings: dict[str, Any]) -> dict[str, Any]:
    for old, new in RENAMED.items():
        (group, old_name), new_name = old.split("."), new.split(".")[1]
        if new_name in settings.get(group, {}):
            settings[group][old_name] = settings[group].pop(new_name)
    return settings


def test_a_run_of_an_earlier_version_goes_on_and_is_scored_compared_and_reported(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = Run(tmp_path / "old")
    shutil.copytree(trained.folder, old.folder)
    for file in (old.config, old.checkpoint / "ftclf.json"):
        write_json(file, with_old_names(read_json(file)))
    seal(old.checkpoint)
    before = read_json(old.config)
    assert "batches" in before["training"]
    assert run(["train", f"resume={old.folder}"]) == 0
    assert "finished" in capsys.readouterr().out
    assert run(["eval", str(old.folder)]) == 0
    assert run(["report", str(old.folder)]) == 0
    capsys.readouterr()
    assert run(["compare", str(trained.folder), str(old.folder)]) == 0
    assert "are the same" in " ".join(capsys.readouterr().out.split())
    assert run(["train", f"resume={old.folder}", "training.batches=random"]) == 2
    assert "training.batching was by_tokens, now it is random" in capsys.readouterr().err
