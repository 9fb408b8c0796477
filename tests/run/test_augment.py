"""Augmentation through the command: rows in the run folder, what trains on them and what does not, resume, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import TrainTiny, make_rows, tiny_words, word_tokenizer, write_csv
from ftclf.cli.main import run
from ftclf.data.augment.held_out import HeldOut
from ftclf.data.check.near import normalised
from ftclf.data.load import load_data
from ftclf.storage.run_folder import Run, read_json
from ftclf.training.resume import stored_config

pytestmark = pytest.mark.usefixtures("no_pictures")

UNEVEN = {"food": 20, "space": 50, "sport": 80}
KINDS = {
    "edits": [],
    "synonyms": ["augment.similarity=0", "augment.rate=0.5"],
    "contextual": ["augment.rate=0.5"],
    "sentences": ["augment.target=0.5"],
}


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = make_rows(240)
    kept = [row for label, count in UNEVEN.items() for row in [r for r in rows if r[1] == label][:count]]
    return write_csv(tmp_path_factory.mktemp("data") / "uneven.csv", kept)


@pytest.fixture(scope="module")
def masked_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny masked language model of random weights."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    folder = tmp_path_factory.mktemp("masked") / "model"
    tokenizer = word_tokenizer()
    tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **size)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def words_of(kind: str, masked_model: Path) -> list[str]:
    model = [f"augment.model={masked_model}"] if kind == "contextual" else []
    return [f"augment={kind}", *KINDS[kind], *model]


def made(folder: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.augmented.read_text(encoding="utf-8").splitlines()]


def losses(folder: Run) -> list[float]:
    rows = [json.loads(line) for line in folder.history.read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.parametrize("kind", KINDS)
def test_the_rows_made_stand_in_the_run_folder_and_are_trained_on(
    kind: str, train_tiny: TrainTiny, uneven: Path, masked_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [f"dataset.train={uneven}", "training.epochs=1", "baselines=[]"]
    finished = train_tiny(*few, *words_of(kind, masked_model))
    rows, manifest = made(finished), read_json(finished.manifest)
    record, before = manifest["augmented"], manifest["label_rows"]["train"]
    assert f"augment={kind}" in capsys.readouterr().out
    assert record["rows"] == len(rows) == sum(record["label_rows"])
    after = [old + new for old, new in zip(before, record["label_rows"], strict=True)]
    goal = max(before) if kind != "sentences" else -(-max(before) // 2)
    assert after == [max(goal, old) for old in before]
    assert manifest["rows_per_epoch"] == manifest["rows"]["train"] + len(rows)
    data = load_data(stored_config(finished).dataset)
    train = {text: data.label_names[label] for text, label in zip(*_rows(data.splits["train"]), strict=True)}
    held_out = HeldOut(data.splits)
    assert not {normalised(row["text"]) for row in rows} & {normalised(text) for text in train}
    assert not [row for row in rows if held_out.match(row["text"])]
    lines = uneven.read_text().splitlines()
    for row in rows:
        name, _, line = row["from"][0].partition(":")
        assert name == "uneven.csv"
        assert lines[int(line) - 1].rpartition(",")[2] == row["labels"][0]
        assert row["how"]


def _rows(split: Any) -> tuple[list[str], list[int]]:
    return list(split.texts), split.labels.tolist()


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(train_tiny: TrainTiny, uneven: Path) -> None:
    words = [f"dataset.train={uneven}", "training.max_steps=1", "baselines=[]", "augment=edits"]
    first, again = (train_tiny(*words, folder=name).augmented.read_text() for name in ("first", "again"))
    other = train_tiny(*words, "training.seed=1", folder="other").augmented.read_text()
    assert first == again != other


def test_baselines_train_on_the_rows_as_they_were(train_tiny: TrainTiny, uneven: Path) -> None:
    words = [f"dataset.train={uneven}", "training.max_steps=1", "decision.calibration=none"]
    plain, more = (train_tiny(*words, f"augment={kind}", folder=kind) for kind in ("none", "edits"))
    ours, theirs = (read_json(folder.metrics)["baselines"] for folder in (plain, more))
    assert {name: one["scores"] for name, one in ours.items()} == {name: one["scores"] for name, one in theirs.items()}
    assert not plain.augmented.exists()
    assert losses(plain) != losses(more)


@pytest.mark.parametrize("stays", [True, False])
def test_a_run_that_goes_on_trains_on_the_rows_that_it_made(
    stays: bool, train_tiny: TrainTiny, uneven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"dataset.train={uneven}", "baselines=[]", "augment=edits", "training.log_steps=1"]
    whole = train_tiny(*words, "training.keep_checkpoints=true", folder="whole")
    begun = Run(tmp_path / "begun")
    first = train_tiny(*words, "training.keep_checkpoints=true", folder="begun")
    first.metrics.unlink()
    newest = max(first.resumable.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    import shutil

    shutil.rmtree(newest)
    if stays:  # they are not made again
        monkeypatch.setattr("ftclf.training.augment.level", None)
    else:
        first.augmented.unlink()
    train_tiny(*words, "training.keep_checkpoints=true", folder="begun")
    assert read_json(begun.manifest)["resumes"]
    assert begun.augmented.read_text() == whole.augmented.read_text()
    assert losses(begun) == losses(whole)
    assert read_json(begun.metrics)["test"] == read_json(whole.metrics)["test"]


def test_a_sweep_over_augmentations_trains_each(tiny_models: dict[str, Path], uneven: Path, tmp_path: Path) -> None:
    words = tiny_words(tiny_models["bert"], uneven, tmp_path / "sweep", "training.max_steps=1", "baselines=[]")
    assert run(["train", "-m", *words[1:], "augment=none,edits,sentences", "jobs=1"]) == 0
    kinds = {
        read_json(path)["augment"]["kind"]
        for path in (tmp_path / "sweep").rglob("config.json")
        if "augment" in read_json(path)
    }
    assert kinds == {"none", "edits", "sentences"}


def test_several_labels_are_brought_up_by_the_rarest_of_each_row(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    rows = [(text, f"{label};any" if n % 2 else label) for n, (text, label) in enumerate(make_rows(150))]
    rows = [row for n, row in enumerate(rows) if "food" not in row[1] or n < 60]
    data = write_csv(tmp_path / "several.csv", rows)
    words = ["dataset.task=multi_label", "dataset.label_delimiter=;", "augment=edits", "augment.target=0.8"]
    few = ["training.max_steps=1", "baselines=[]"]
    assert run(tiny_words(tiny_models["bert"], data, tmp_path / "run", *words, *few)) == 0
    rows_made = made(Run(tmp_path / "run"))
    assert rows_made
    assert {tuple(row["labels"]) for row in rows_made} <= {
        ("food",),
        ("any", "food"),
        ("space",),
        ("any", "space"),
        ("sport",),
        ("any", "sport"),
    }


# ---- rows of a file


def write_rows(path: Path, rows: list[tuple[str, Any]]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return path


GENERATED = [("a fresh soup for the kitchen of mars", "food"), ("pepper and salt in every oven today", "food")]


def test_rows_of_a_file_are_added_as_they_are(train_tiny: TrainTiny, uneven: Path, tmp_path: Path) -> None:
    first = next(line for line in uneven.read_text().splitlines() if line.endswith("food"))
    generated = write_rows(tmp_path / "generated.jsonl", [*GENERATED, GENERATED[0]])
    words = [f"dataset.train={uneven}", "training.max_steps=1", "baselines=[]", "augment=rows"]
    finished = train_tiny(*words, f"augment.rows={generated}")
    assert first
    assert [(row["text"], row["labels"], row["from"]) for row in made(finished)] == [
        (text, [label], [f"generated.jsonl:{place}"]) for place, (text, label) in enumerate(GENERATED, start=1)
    ]


@pytest.mark.parametrize("setting", ["slice_columns=[author]", "group_column=author", "time_column=author"])
def test_rows_of_a_file_need_no_columns_that_cut_or_slice(
    setting: str, train_tiny: TrainTiny, uneven: Path, tmp_path: Path
) -> None:
    header, *lines = uneven.read_text().splitlines()
    rows = [f"{line},{number}" for number, line in enumerate(lines)]
    data = tmp_path / "data.csv"
    data.write_text("\n".join([f"{header},author", *rows]) + "\n")
    generated = write_rows(tmp_path / "generated.jsonl", GENERATED)
    words = [f"dataset.train={data}", f"dataset.{setting}", "training.max_steps=1", "baselines=[]", "augment=rows"]
    assert len(made(train_tiny(*words, f"augment.rows={generated}"))) == 2


def test_rows_of_a_file_stop_at_the_target(train_tiny: TrainTiny, uneven: Path, tmp_path: Path) -> None:
    many = [(f"{text} {number}", "food") for number, (text, _) in enumerate(make_rows(60, seed=7))]
    generated = write_rows(tmp_path / "generated.jsonl", many)
    words = [f"dataset.train={uneven}", "training.max_steps=1", "baselines=[]", "augment=rows"]
    finished = train_tiny(*words, f"augment.rows={generated}", "augment.target=20")
    record, manifest = read_json(finished.manifest)["augmented"], read_json(finished.manifest)
    assert record["label_rows"][0] + manifest["label_rows"]["train"][0] == 20


def _in_split(uneven: Path, split: str) -> tuple[str, str]:
    import ftclf

    config = ftclf.compose("dataset=files", f"dataset.train={uneven}").dataset
    rows = load_data(config).splits[split]
    return rows.texts[0], rows.places.named(slice(0, 1))[0] if rows.places else ""


@pytest.mark.parametrize(
    ("split", "change"), [("validation", str), ("test", str.upper), ("test", lambda text: f"{text} a")]
)
def test_a_file_with_rows_of_validation_or_test_is_refused_with_both_places(
    split: str,
    change: Any,
    tiny_models: dict[str, Path],
    uneven: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text, place = _in_split(uneven, split)
    generated = write_rows(tmp_path / "generated.jsonl", [*GENERATED, (change(text), "food")])
    words = ["augment=rows", f"augment.rows={generated}", "training.max_steps=1"]
    assert run(tiny_words(tiny_models["bert"], uneven, tmp_path / "run", *words)) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"error: augment.rows: generated.jsonl:3 is like {split} row {place} (")
    assert "\n" not in error
    assert not (tmp_path / "run").exists()


REFUSED = {
    "augment=edits augment.target=3": "augment.target: got 3: it adds nothing; the smallest class has 15 rows",
    "augment=contextual augment.model=/nowhere/model": "augment.model: no folder /nowhere/model",
    "augment=contextual augment.model={bert}": "augment.model: ",
    "augment=contextual": "augment.model: ",
    "augment=synonyms augment.source=wordnet": "augment.source: got 'wordnet', which needs the package wn",
    "augment=rows augment.rows=/nowhere.jsonl": "augment.rows: ",
    "augment=rows augment.rows={unknown}": "augment.rows: ",
    "augment=rows augment.rows={columns}": "augment.rows: ",
    "augment=rows augment.rows={rows} augment.target=2": "augment.target: got 2: it adds nothing",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_made_is_said_in_one_line_before_anything_is_written(
    words: str, tiny_models: dict[str, Path], uneven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "bert": tiny_models["bert"],
        "unknown": write_rows(tmp_path / "unknown.jsonl", [("a text", "weather")]),
        "columns": write_csv(tmp_path / "columns.csv", [("a", "food")], header=("body", "label")),
        "rows": write_rows(tmp_path / "rows.jsonl", GENERATED),
    }
    given = words.format(**files).split()
    assert run(tiny_words(tiny_models["bert"], uneven, tmp_path / "run", *given)) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"error: {REFUSED[words]}")
    assert "\n" not in error
    assert not (tmp_path / "run").exists()
