"""What is kept for later runs: under keys that hold all that decides the content, and never used when it is damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from conftest import make_rows, tiny_words, write_csv
from ftclf.cli.main import run
from ftclf.config import DatasetConfig
from ftclf.data import load_data
from ftclf.model import compute
from ftclf.model.tokens import cached_tokens, tokenise
from ftclf.score import baselines
from ftclf.storage.run_folder import Run, read_json

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FTCLF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files_of(cache: Path) -> Iterator[Path]:
    return (path for path in sorted(cache.rglob("*")) if path.is_file())


def outcome(folder: Path) -> Any:
    metrics = read_json(Run(folder).metrics)
    for one in metrics["baselines"].values():
        del one["seconds"]
    return metrics


@pytest.mark.slow
def test_a_bit_that_flips_in_any_file_of_the_cache_is_seen_and_the_entry_made_anew(
    tiny_models: dict[str, Path], tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_csv(tmp_path / "rows.csv", make_rows(60))
    words = ["training.max_steps=1", "training.threads=1", "baselines=[majority,tfidf]"]
    assert run(tiny_words(tiny_models["bert"], data, tmp_path / "first", *words)) == 0
    entries = [[path for path in sorted(folder.iterdir()) if path.stat().st_size] for folder in cache.glob("*/*")]
    assert {folder[0].parent.parent.name for folder in entries} == {"data", "tokens", "baselines"}
    for number in range(max(map(len, entries))):
        damaged = [entry[number % len(entry)] for entry in entries]
        for path in damaged:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 4
            path.write_bytes(content)
        capsys.readouterr()
        assert run(tiny_words(tiny_models["bert"], data, tmp_path / str(number), *words)) == 0
        said = capsys.readouterr().err
        assert not [path for path in damaged if f"cache: {path.parent} is damaged" not in said]
        assert outcome(tmp_path / str(number)) == outcome(tmp_path / "first")
    assert not list(cache.rglob(".*"))


@pytest.mark.parametrize("damage", ["cut", "gone", "longer", "unreadable list", "no list"])
def test_an_entry_that_is_damaged_in_any_way_is_made_anew(damage: str, tmp_path: Path, cache: Path) -> None:
    config = DatasetConfig(name="t", source="files", train=str(write_csv(tmp_path / "rows.csv", make_rows(60))))
    before = load_data(config)
    path = next(path for path in files_of(cache) if path.name == "train-labels.npy")
    if damage == "cut":
        os.truncate(path, 100)
    elif damage == "gone":
        path.unlink()
    elif damage == "longer":
        path.write_bytes(path.read_bytes() + b"\0")
    elif damage == "no list":
        path.with_name("files.json").unlink()
    else:
        path.with_name("files.json").write_text("[" * 99)
    after = load_data(config)
    assert [before.digest(split) for split in before.splits] == [after.digest(split) for split in after.splits]


@pytest.mark.parametrize(
    ("setting", "other"), [("truncation_side", "left"), ("pad_token", "[UNK]"), ("cls_token", "[SEP]")]
)
def test_tokenizers_that_differ_in_anything_that_counts_share_no_tokens(
    setting: str, other: str, tiny_models: dict[str, Path], tmp_path: Path, cache: Path
) -> None:
    train = write_csv(tmp_path / "rows.csv", make_rows(60))
    split = load_data(DatasetConfig(name="t", source="files", train=str(train))).splits["train"]
    plain = AutoTokenizer.from_pretrained(tiny_models["bert"])
    changed = AutoTokenizer.from_pretrained(tiny_models["bert"])
    setattr(changed, setting, other)
    if setting == "cls_token":  # what a folder's tokenizer.json says of it
        backend = json.loads(changed.backend_tokenizer.to_str())
        backend["post_processor"]["special_tokens"]["[CLS]"]["ids"] = [3]
        changed = type(changed)(tokenizer_object=type(changed.backend_tokenizer).from_str(json.dumps(backend)))
    for tokenizer in (plain, changed, plain, changed):
        tokens, _ = cached_tokens(split, tokenizer, 6)
        fresh = tokenise(list(split.texts), tokenizer, 6)
        assert np.array_equal(tokens.ids, fresh.ids)
        assert tokens.pad_id == fresh.pad_id


def test_a_folder_that_cuts_at_the_other_side_is_trained_on_what_it_will_see(
    tiny_models: dict[str, Path], tmp_path: Path, cache: Path
) -> None:
    data = write_csv(tmp_path / "rows.csv", [(f"{text} {text}", label) for text, label in make_rows(60)])
    for side in ("right", "left"):
        folder = tmp_path / side
        AutoTokenizer.from_pretrained(tiny_models["bert"], truncation_side=side).save_pretrained(folder)
        for name in ("config.json", "model.safetensors"):
            (folder / name).write_bytes((tiny_models["bert"] / name).read_bytes())
        words = ["dataset.max_length=8", "method=full", "training.max_steps=2", "baselines=[]"]
        assert run(tiny_words(folder, data, tmp_path / f"run_{side}", *words)) == 0
        scored = pq.read_table(tmp_path / f"run_{side}" / "predictions" / "test.parquet").to_pylist()
        (tmp_path / "texts.txt").write_text("\n".join(row["text"] for row in scored))
        out = tmp_path / f"{side}.jsonl"
        assert run(["predict", str(tmp_path / f"run_{side}"), f"input={tmp_path / 'texts.txt'}", f"output={out}"]) == 0
        predicted = [json.loads(line)["confidence"] for line in out.read_text().splitlines()]
        assert predicted == pytest.approx([row["confidence"] for row in scored], abs=1e-4)


def test_baselines_of_other_code_are_other_baselines(
    tiny_models: dict[str, Path], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_csv(tmp_path / "rows.csv", make_rows(60))
    words = ["training.max_steps=1", "baselines=[majority]"]
    assert run(tiny_words(tiny_models["bert"], data, tmp_path / "a", *words)) == 0
    monkeypatch.setattr(baselines, "CODE", "another regularisation")
    assert run(tiny_words(tiny_models["bert"], data, tmp_path / "b", *words)) == 0
    assert len(list((cache / "baselines").iterdir())) == 2


def test_the_usual_precision_is_measured_once_for_a_machine(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = compute.usual_precision.__wrapped__  # what another process would do
    for answer in (True, False):
        monkeypatch.setattr(compute, "bf16_is_fast", lambda device, answer=answer: answer)
        assert usual("cpu") == "bf16"
    monkeypatch.setattr(compute, "processor", lambda: "another processor")
    assert usual("cpu") == "fp32"
