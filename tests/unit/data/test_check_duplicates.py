"""Duplicates, groups and labels of `ftclf check`, and the clean copy: planted truths are found and mended."""

from __future__ import annotations

import csv
import json
import random
import shlex
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ftclf.cli.main import run
from ftclf.config import DatasetConfig
from ftclf.data import Data, load_data, load_split
from ftclf.data.check import near
from ftclf.data.check.duplicates import duplicates
from ftclf.data.check.finding import Finding, labels_of
from ftclf.data.check.fix import dropped_rows, write_fixed
from ftclf.data.check.groups import shared_groups
from ftclf.data.check.labels import labels
from ftclf.data.check.raw_rows import raw_rows
from ftclf.data.check.semantic import semantic_duplicates, similar_pairs
from ftclf.system.errors import ConfigError, DataError

LETTERS = "abcdefghijklmnopqrstuvwxyz"
Rows = list[dict[str, Any]]


def sentences(count: int, words: int = 15, seed: int = 0) -> list[str]:
    """Return texts of chance words: no two are near each other."""
    chance = random.Random(seed)
    lexicon = ["".join(chance.choices(LETTERS, k=6)) for _ in range(2000)]
    return [" ".join(chance.sample(lexicon, words)).capitalize() + "." for _ in range(count)]


def made(count: int, seed: int = 0, **columns: Any) -> Rows:
    return [
        {"text": text, "label": "ab"[number % 2], "author": f"{seed}-{number // 4}", **columns}
        for number, text in enumerate(sentences(count, seed=seed))
    ]


def write(path: Path, rows: Rows) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def splits_of(folder: Path, splits: dict[str, Rows], **settings: Any) -> DatasetConfig:
    paths = {name: str(write(folder / f"{name}.csv", rows)) for name, rows in splits.items()}
    return DatasetConfig(name="made", source="files", **paths, **settings)


def three(**seeds: int) -> dict[str, Rows]:
    return {"train": made(200, 1), "validation": made(40, 2), "test": made(40, 3)}


def of_kind(findings: list[Finding], kind: str, *splits: str) -> Finding:
    return next(f for f in findings if f.figures.get("kind") == kind and f.figures["splits"] == list(splits))


def wrong(findings: list[Finding]) -> list[str]:
    return [finding.title for finding in findings if finding.verdict != "ok"]


def test_nothing_is_called_wrong_where_nothing_is(tmp_path: Path) -> None:
    config = splits_of(tmp_path, three(), group_column="author")
    data = load_data(config)
    assert wrong([*duplicates(data, 0.8), *shared_groups(data, "author"), *labels(data)]) == []


def leak(rows: Rows) -> Rows:
    """Return rows with the text in other case and punctuation."""
    return [{**row, "text": row["text"].upper().replace(" ", ",  ", 3) + "!!"} for row in rows]


def changed_word(rows: Rows) -> Rows:
    changed = []
    for number, row in enumerate(rows):
        words = row["text"].split()
        words[number % len(words)] = f"new{number}word"
        changed.append({**row, "text": " ".join(words)})
    return changed


@pytest.mark.parametrize(
    ("kind", "alter"), [("exact", lambda rows: rows), ("normalised", leak), ("near", changed_word)]
)
def test_a_planted_leak_is_found_and_fix_mends_it(tmp_path: Path, kind: str, alter: Any) -> None:
    splits = three()
    splits["train"][50:60] = [{**row, "author": "x"} for row in alter(splits["test"][:10])]
    splits["train"][60:65] = [{**row, "author": "x"} for row in alter(splits["validation"][:5])]
    splits["validation"][30:33] = [{**row, "author": "x"} for row in alter(splits["test"][20:23])]
    splits["train"][190:] = [{**row, "author": "y"} for row in alter(splits["train"][:10])]
    splits["test"][38:] = [{**row, "author": "y"} for row in alter(splits["test"][30:32])]
    config = splits_of(tmp_path, splits)
    data = load_data(config)
    findings = list(duplicates(data, 0.8))
    leaked = of_kind(findings, kind, "train", "test")
    assert (leaked.count, leaked.rows["train"].tolist()) == (10, list(range(50, 60)))
    assert (leaked.verdict, leaked.of) == ("warning" if kind == "near" else "error", 40)
    assert leaked.examples[0].why.endswith("test.csv:2")
    assert of_kind(findings, kind, "train", "validation").rows["train"].tolist() == list(range(60, 65))
    assert of_kind(findings, kind, "validation", "test").rows["validation"].tolist() == [30, 31, 32]
    assert of_kind(findings, kind, "train").rows["train"].tolist() == list(range(190, 200))
    assert (of_kind(findings, kind, "test").count, of_kind(findings, kind, "test").rows) == (2, {})
    command = write_fixed(data, raw_rows(data, config), dropped_rows(data, findings), {}, tmp_path / "fixed")
    mended = load_data(config_of(command))
    assert set(wrong(list(duplicates(mended, 0.8)))) <= {f.title for f in findings if f.figures["splits"] == ["test"]}
    assert [len(mended.splits[name]) for name in ("train", "validation", "test")] == [175, 37, 40]
    assert cells_of(tmp_path / "fixed" / "test.csv") == cells_of(tmp_path / "test.csv")
    changes = changes_of(tmp_path)
    assert [(c["split"], c["file"], c["row"]) for c in changes[:2]] == [
        ("train", "train.csv", "52"),
        ("train", "train.csv", "53"),
    ]
    assert len(changes) == 28
    assert all(change["why"] for change in changes)


def changes_of(folder: Path) -> list[dict[str, str]]:
    return cells_of(folder / "fixed" / "changes.csv")


def cells_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def config_of(command: str) -> DatasetConfig:
    """Return the settings of a printed command, as the command line reads them."""
    from ftclf.cli import compose

    compose.register()
    words = shlex.split(command)[2:]
    jobs = compose.checked_jobs("train", compose.parse(words, "train"))
    config = jobs[0].dataset
    assert isinstance(config, DatasetConfig)
    return config


def test_words_in_another_order_are_no_near_duplicate_of_a_short_text() -> None:
    pairs = [("is it good now", "it is good now"), ("thanks for the laugh", "lol thanks for the laugh")]
    texts = [text for pair in pairs for text in pair]
    assert near_texts(texts) == [(2, 3)]


def near_texts(texts: list[str]) -> list[tuple[int, int]]:
    from ftclf.data import Split
    from ftclf.data.check.all_rows import AllRows
    from ftclf.data.check.duplicates import Keys, _near_groups
    from ftclf.data.text_store import write_texts

    data = Data("made", ["a"], {"train": Split(write_texts(texts), np.zeros(len(texts), np.int64))})
    rows = AllRows.of(data)
    keys = Keys.of(data, rows)
    place = {int(group): row for row, group in enumerate(keys.normal)}
    pairs = _near_groups(data, rows, keys, 0.8).tolist()
    return sorted(tuple(sorted((place[one], place[two]))) for one, two in pairs)  # type: ignore[misc]


def test_near_duplicates_are_found_in_scripts_without_spaces() -> None:
    assert near_texts(
        ["今天天气很好我们一起去公园散步吧", "今天天气很好我们一起去公园散步啊", "明日は会議があります"]
    ) == [(0, 1)]


def test_near_pairs_are_those_of_all_compared_with_all() -> None:
    chance = random.Random(1)
    texts = sentences(60, words=12)
    for text in list(texts):
        words = text.split()
        for place in chance.sample(range(12), chance.randint(0, 4)):
            words[place] = chance.choice(texts).split()[0]
        texts.append(" ".join(words))
    writer = near.WordSetWriter()
    sets = [set(near.words_of(near.normalised(text))) for text in texts]
    for words_of_text in sets:
        writer.add(sorted(words_of_text))
    found = {tuple(pair) for pair in near.near_pairs(writer.sets(), 0.6).tolist()}
    true = {
        (one, two)
        for one in range(len(sets))
        for two in range(one + 1, len(sets))
        if len(sets[one] & sets[two]) >= 0.6 * len(sets[one] | sets[two])
    }
    assert found <= true
    assert len(true) > 20
    assert len(found) >= 0.95 * len(true)


def test_near_duplicates_of_one_form_need_few_comparisons() -> None:
    writer = near.WordSetWriter()
    for number in range(3000):
        writer.add(["one", "form", "of", "words", "for", "all", "them", f"name{number}"])
    pairs = near.near_pairs(writer.sets(), 0.7)
    assert len(set(pairs[:, 1].tolist())) == 2999
    assert len(pairs) < 3000 * (near.NEIGHBOURS + 2) * near.banding(0.7)[1]


def test_a_group_across_splits_is_found_and_fix_mends_it(tmp_path: Path) -> None:
    splits = three()
    for row in splits["train"][8:12]:
        row["author"] = "3-0"
    splits["train"][20]["author"] = splits["test"][20]["author"] = ""
    config = splits_of(tmp_path, splits, group_column="author")
    data = load_data(config)
    findings = list(shared_groups(data, "author"))
    assert [finding.count for finding in findings] == [0, 4, 0]
    assert findings[1].rows["train"].tolist() == [8, 9, 10, 11]
    assert findings[1].examples[0].why == "author '3-0' also in test"
    command = write_fixed(data, raw_rows(data, config), dropped_rows(data, findings), {}, tmp_path / "fixed")
    mended = load_data(config_of(command))
    assert wrong(list(shared_groups(mended, "author"))) == []
    assert not list(shared_groups(mended, None))


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_cut_splits_keep_groups_whole_and_the_labels_shares(tmp_path: Path, share: float) -> None:
    chance = random.Random(0)
    rows = made(1200)
    for row in rows:
        row["author"] = f"author {int(chance.paretovariate(0.8)) % 200}"
        row["label"] = "abbb"[chance.randrange(4)]
    config = splits_of(tmp_path, {"train": rows}, group_column="author", test_size=share, validation_size=share)
    data = load_data(config)
    assert wrong(list(shared_groups(data, "author"))) == []
    rest = len(rows)
    for name in ("test", "validation"):
        split = data.splits[name]
        assert len(split) == pytest.approx(share * rest, rel=0.1)
        assert split.rows_per_label(2)[1] / len(split) == pytest.approx(0.75, abs=0.08)
        rest -= len(split)
    assert list(load_data(config).splits["test"].texts) == list(data.splits["test"].texts)
    other = splits_of(tmp_path, {"train": rows}, group_column="author", test_size=share, split_seed=5)
    assert list(load_data(other).splits["test"].texts) != list(data.splits["test"].texts)


def test_texts_on_two_sides_of_a_cut_by_groups_are_counted_for_each_two_splits(tmp_path: Path) -> None:
    rows = made(300)
    copies = [{**row, "author": f"copy {row['author']}"} for row in rows]
    config = splits_of(tmp_path, {"train": [*rows, *copies]}, group_column="author")
    data = load_data(config)
    for first, second in combinations(data.splits, 2):
        shared = sum(text in set(data.splits[first].texts) for text in data.splits[second].texts)
        assert shared > 0
        note = f"{shared} of the {len(data.splits[second])} {second} rows have a text that also stands in {first}"
        assert note in data.notes


def test_a_test_file_need_not_have_the_columns_that_splits_are_cut_by(tmp_path: Path) -> None:
    test = [{"text": row["text"], "label": row["label"]} for row in made(20, 3)]
    config = splits_of(tmp_path, {"train": made(100), "test": test}, group_column="author")
    assert len(load_split(config, "test", ["a", "b"]).splits["test"]) == 20
    cut = load_data(splits_of(tmp_path, {"train": made(100)}, group_column="author"))
    again = load_split(splits_of(tmp_path, {"train": made(100)}, group_column="author"), "test", ["a", "b"])
    assert list(again.splits["test"].texts) == list(cut.splits["test"].texts)


@pytest.mark.parametrize("cells", ["2024-{:02}-{:02}T10:00:00+02:00", "{}.{}"])
def test_splits_by_time_are_the_newest_rows(tmp_path: Path, cells: str) -> None:
    rows = made(100)
    order = list(range(100))
    random.Random(0).shuffle(order)
    for row, place in zip(rows, order, strict=True):
        row["time"] = cells.format(1 + place // 20, 10 + place % 20)
    data = load_data(splits_of(tmp_path, {"train": rows}, time_column="time"))
    place_of = {row["text"]: place for row, place in zip(rows, order, strict=True)}
    places = {name: sorted(place_of[text] for text in split.texts) for name, split in data.splits.items()}
    assert places == {"train": list(range(72)), "validation": list(range(72, 80)), "test": list(range(80, 100))}


@pytest.mark.parametrize(
    ("settings", "rows", "line"),
    [
        ({"group_column": "writer"}, {}, "dataset.group_column: no column 'writer' in train.csv; it has"),
        ({"time_column": "when"}, {}, "dataset.time_column: no column 'when' in train.csv; it has"),
        ({"group_column": "author"}, {"author": "me"}, "dataset.group_column: 'author' has 1 groups for 3 splits"),
        (
            {"time_column": "author"},
            {"author": "long ago"},
            "train.csv:2, column 'author': got 'long ago', allowed: ISO",
        ),
    ],
)
def test_bad_group_and_time_columns_are_one_line(
    tmp_path: Path, settings: dict[str, str], rows: dict[str, str], line: str
) -> None:
    config = splits_of(tmp_path, {"train": [{**row, **rows} for row in made(40)]}, **settings)
    with pytest.raises(DataError) as raised:
        load_data(config)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


def test_group_and_time_columns_exclude_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "d.csv", made(20))
    assert run(["check", str(path), "dataset.group_column=author", "dataset.time_column=author"]) == 2
    assert "dataset.time_column: got 'author', allowed without dataset.group_column" in capsys.readouterr().err


def test_labels_of_every_kind_of_trouble_are_found(tmp_path: Path) -> None:
    splits = three()
    for row in splits["train"]:
        row["label"] = "Sports" if row["label"] == "a" else "weather"
    for place, name in ((0, "sport"), (2, "sport"), (1, "politics"), (3, "politcs")):
        splits["train"][place]["label"] = name
    for split in ("validation", "test"):
        for row in splits[split]:
            row["label"] = "Sports" if row["label"] == "a" else "weather"
    splits["train"][4]["text"] = splits["train"][5]["text"]
    data = load_data(splits_of(tmp_path, splits))
    findings = {finding.title: finding for finding in labels(data)}
    contradictions = findings["rows of the same text under different labels"]
    assert (contradictions.count, contradictions.rows["train"].tolist()) == (2, [4, 5])
    assert contradictions.examples[0].why == "other labels in train.csv:7"
    assert contradictions.figures["agreement"] == 0
    alike = findings["pairs of labels whose names look alike"]
    assert {frozenset(pair) for pair in alike.figures["pairs"]} == {
        frozenset({"Sports", "sport"}),
        frozenset({"politics", "politcs"}),
    }
    assert findings["labels with fewer than 10 train rows"].count == 3
    assert findings["labels without a row in test"].count == 3
    balance = findings["balance: rows of the most frequent label per row of the rarest"]
    assert balance.figures["ratio"] == 98
    assert "loss=weighted or sampler=sqrt" in balance.advice


def test_labels_that_come_together_always_or_never_are_found(tmp_path: Path) -> None:
    chance = random.Random(0)
    rows = made(400)
    for number, row in enumerate(rows):
        names = ["joy" if number % 3 else "fear", *(["bliss"] if number % 3 == 1 else [])]
        names += ["awe"] if number in (0, 3, 6) else ["calm"] if chance.random() < 0.3 else []  # too few to say
        row["label"] = "|".join(names)
    data = load_data(splits_of(tmp_path, {"train": rows}, task="multi_label", label_delimiter="|"))
    findings = {finding.title: finding for finding in labels(data)}
    always = findings["labels that never stand without another"]
    assert [pair[:2] for pair in always.figures["pairs"]] == [["bliss", "joy"]]
    never = next(finding for title, finding in findings.items() if "never come together" in title)
    assert {frozenset(pair[:2]) for pair in never.figures["pairs"]} == {
        frozenset({"fear", "joy"}),
        frozenset({"fear", "bliss"}),
    }


WRITTEN = {
    "csv": ({}, "b", "b"),
    "parquet": ({}, "b", "b"),
    "jsonl": ({"task": "multi_label"}, ["a"], ["a", "b"]),
    "json": ({"task": "multi_label", "label_delimiter": "|"}, "a|b", "a|b"),
}


@pytest.mark.parametrize("ending", WRITTEN)
def test_a_clean_copy_keeps_all_columns_and_takes_new_labels(tmp_path: Path, ending: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    settings, _, _ = WRITTEN[ending]
    rows = made(60, note='said "so",\r\nand = left')
    if ending == "jsonl":
        rows = [{**row, "label": [row["label"]]} for row in rows]
    path = tmp_path / f"d.{ending}"
    match ending:
        case "csv":
            write(path, rows)
        case "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case "json":
            path.write_text(json.dumps(rows))
        case _:
            path.write_text("\n".join(map(json.dumps, rows)))
    config = DatasetConfig(name="made", source="files", train=str(path), **settings)
    data = load_data(config)
    new = ["b", "a"] if config.task == "multi_label" else ["b"]
    row = next(row for row in range(10) if labels_of(data, "train", row) == ["a"])
    relabelled = {"train": {row: (new, "looks wrong")}}
    command = write_fixed(data, raw_rows(data, config), {"train": {9: "odd"}}, relabelled, tmp_path / "fixed")
    copied_config = config_of(command)
    copied_config.slice_columns = ["note"]
    copy = load_data(copied_config)
    assert len(copy.splits["train"]) == len(data.splits["train"]) - 1
    assert labels_of(copy, "train", row - (row > 9)) == sorted(new)
    assert set(copy.splits["test"].columns["note"]) == {rows[0]["note"]}
    assert list(copy.splits["test"].texts) == list(data.splits["test"].texts)
    changes = changes_of(tmp_path)
    assert sorted(change["change"] for change in changes) == ["dropped", "relabelled"]
    with pytest.raises(ConfigError, match="is not empty"):
        write_fixed(data, raw_rows(data, config), {}, {}, tmp_path / "fixed")
    with pytest.raises(DataError, match="never changed"):
        write_fixed(data, raw_rows(data, config), {"test": {0: "odd"}}, {}, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_fix_refuses_to_leave_a_label_without_rows(tmp_path: Path) -> None:
    splits = three()
    splits["train"][:2] = [{**row, "label": "c"} for row in splits["test"][:2]]
    data = load_data(splits_of(tmp_path, splits))
    with pytest.raises(DataError, match="no train row of c would be left"):
        dropped_rows(data, duplicates(data, 0.8))


def test_semantic_duplicates_are_found_by_vectors(tmp_path: Path) -> None:
    data = load_data(splits_of(tmp_path, three()))
    chance = np.random.default_rng(0)
    vectors = {name: chance.normal(size=(len(split), 64)).astype(np.float32) for name, split in data.splits.items()}
    vectors["train"][7] = vectors["test"][3] + 0.05
    vectors["train"][10] = vectors["train"][8]  # of the same label
    vectors = {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in vectors.items()}
    findings = list(semantic_duplicates(data, vectors, 0.95))
    assert of_kind(findings, "semantic", "train", "test").rows["train"].tolist() == [7]
    assert of_kind(findings, "semantic", "train").rows["train"].tolist() == [10]
    assert sum(finding.count for finding in findings) == 2
    many = np.concatenate([*vectors.values()] * 40)[:9000]
    assert len(similar_pairs(many, 0.95)) > 9000


def test_check_with_fix_mends_what_strict_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_models: dict[str, Path]
) -> None:
    splits = three()
    splits["train"][:5] = leak(splits["test"][:5])
    splits_of(tmp_path, splits)
    words = ["dataset=files", *(f"dataset.{name}={tmp_path / name}.csv" for name in splits)]
    assert run(["check", *words, "--strict", "--fix", str(tmp_path / "fixed")]) == 1
    command = capsys.readouterr().out.split("ftclf train ")[1].splitlines()[0]
    fixed = shlex.split(command)
    assert run(["check", *fixed, "--strict"]) == 0
    assert run(["check", *words, "--fix", str(tmp_path / "fixed")]) == 2
    assert "fix: " in capsys.readouterr().err
    words = [f"model.name={tiny_models['bert']}", f"run_dir={tmp_path / 'run'}", "training.max_steps=1", "baselines=[]"]
    assert run(["train", *fixed, *words]) == 0


def test_go_emotions_has_the_duplicates_that_are_known(real_data: Path) -> None:
    shared = {"columns": ["text", "labels", "id"], "text_column": "text", "label_column": "labels", "quoting": False}
    paths = {name: f"{stem}.tsv" for name, stem in (("train", "train"), ("validation", "dev"), ("test", "test"))}
    config = DatasetConfig(
        name="go_emotions",
        folder="go_emotions",
        label_file="labels.txt",
        label_delimiter=",",
        task="multi_label",
        **paths,
        **shared,
    )
    data = load_data(config)
    start = time.monotonic()
    findings = [*duplicates(data, 0.8), *labels(data)]
    assert time.monotonic() - start < 60  # 4 seconds on a free core
    assert of_kind(findings, "exact", "train", "test").count == 37
    assert of_kind(findings, "normalised", "train", "test").count == 108
    contradictions = next(finding for finding in findings if "different labels" in finding.title)
    assert f"{contradictions.figures['agreement']:.2f}" == "0.67"


def test_fix_keeps_rows_of_one_text_with_other_labels(tmp_path: Path) -> None:
    splits = three()
    text = splits["train"][0]["text"]
    splits["train"][:5] = [{**splits["train"][0], "label": label} for label in "abbba"]
    near = {**splits["train"][10], "text": splits["train"][10]["text"] + " not", "label": "b"}
    splits["train"][10]["label"], splits["train"][11] = "a", near
    data = load_data(splits_of(tmp_path, splits))
    findings = list(duplicates(data, 0.8))
    exact = of_kind(findings, "exact", "train")
    assert (exact.count, exact.rows["train"].tolist()) == (4, [2, 3, 4])
    assert (of_kind(findings, "near", "train").count, of_kind(findings, "near", "train").rows["train"].tolist()) == (
        1,
        [],
    )
    kept = [row for row in range(5) if row not in dropped_rows(data, findings)["train"]]
    assert [data.label_names[data.splits["train"].labels[row]] for row in kept] == ["a", "b"]
    assert data.splits["train"].texts[0] == text


def test_a_template_leaks_with_all_its_rows(tmp_path: Path) -> None:
    """However many texts share it: each train row is compared with a test row."""
    splits = three()
    form = "Dear customer, thank you very much, your order number {} has been shipped today by our partner"
    splits["train"][:150] = [{**row, "text": form.format(f"a{n}")} for n, row in enumerate(splits["train"][:150])]
    splits["test"][:5] = [{**row, "text": form.format(f"b{n}")} for n, row in enumerate(splits["test"][:5])]
    leaked = of_kind(list(duplicates(load_data(splits_of(tmp_path, splits)), 0.8)), "near", "train", "test")
    assert (leaked.count, leaked.rows["train"].tolist()) == (5, list(range(150)))


def test_of_many_texts_of_one_meaning_those_of_other_splits_are_compared_too() -> None:
    chance = np.random.default_rng(0)
    vectors = np.concatenate([chance.normal(size=(3, 64)), 1 + 0.01 * chance.normal(size=(3000, 64))]).astype(
        np.float32
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = similar_pairs(vectors, 0.95)
    with_last = pairs[pairs[:, 1] >= 3001, 0]
    assert set(with_last.tolist()) >= set(range(3, 3001))
    assert len(pairs) < 3000 * 100


def test_names_that_differ_in_signs_are_not_alike(tmp_path: Path) -> None:
    names = ["-1", "1", "C", "C++", "C#"]
    rows = [{**row, "label": names[n % 5]} for n, row in enumerate(made(100))]
    findings = {one.title: one for one in labels(load_data(splits_of(tmp_path, {"train": rows})))}
    assert not findings["pairs of labels whose names look alike"].count


def test_months_are_no_numbers(tmp_path: Path) -> None:
    rows = [{**row, "when": f"{n % 12 + 1:02}.{2022 + n // 50}"} for n, row in enumerate(made(100))]
    with pytest.raises(DataError, match="allowed: ISO dates"):
        load_data(splits_of(tmp_path, {"train": rows}, time_column="when"))
