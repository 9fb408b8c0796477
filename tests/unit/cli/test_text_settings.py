"""What a setting of text is given is text: on the command line, in sweeps, in lists."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import make_rows, tiny_words, write_csv
from ftclf.cli.compose import checked_jobs, parse, register
from ftclf.cli.main import run
from ftclf.cli.quoting import in_quotes, without_quotes
from ftclf.cli.text_settings import as_typed, pieces, shown
from ftclf.storage.run_folder import Run, read_json

TEXTS = [
    *("2024_11_30", "1e3", "2020_2021", "true", "null", "007", "0x10", "1_000", "inf", "nan", "None", "off", "+1"),
    *("Übung.csv", "a(1).csv", "a&b.csv", "text#1", "don't", 'say "no"', "a b", " a", "a: b", "[x", "{x", "~x", "?x"),
    *("a,b.csv", "$HOME", "a\\b", "a\\", "a=b", "it's, she's", "()", "range(1,3)", "*", "%d", "100%", "@x", "`x`"),
]


def composed(command: str, *words: str) -> list[object]:
    register()
    return checked_jobs(command, parse([*words], command))


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_arrives_as_it_was_typed(text: str) -> None:
    words = [f"{setting}={text}" for setting in ("dataset.text_column", "model.name")]
    (config,) = composed("train", "dataset=files", f"dataset.train={text}.csv", *words)
    assert config.dataset.text_column == config.model.name == text  # type: ignore[attr-defined]
    assert config.dataset.train == f"{text}.csv"  # type: ignore[attr-defined]


def test_null_takes_an_optional_text_away_and_is_a_name_elsewhere() -> None:
    (config,) = composed("train", "dataset=files", "dataset.train=x.csv", "dataset.label_file=null")
    assert config.dataset.label_file is None  # type: ignore[attr-defined]
    (config,) = composed("train", "dataset=files", "dataset.train=x.csv", "dataset.label_column=null")
    assert config.dataset.label_column == "null"  # type: ignore[attr-defined]


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(lambda t: "${" not in t))
@example("'")
@example("\\'")
@example('"')
def test_any_text_arrives_as_it_was_typed(text: str) -> None:
    if without_quotes(text) is not None:
        return  # the user's own quotes
    (config,) = composed("predict", "checkpoint=x", f"text_column={text}")
    assert config.text_column == (None if text == "null" else text)  # type: ignore[attr-defined]
    assert without_quotes(in_quotes(text)) == text


@pytest.mark.parametrize("text", ["'2024_11_30'", '"2024_11_30"', r"'it\'s'"])
def test_quotes_of_the_user_s_own_are_taken_off(text: str) -> None:
    (config,) = composed("predict", "checkpoint=x", f"text_column={text}")
    assert config.text_column == text[1:-1].replace("\\", "")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("keep=[007,true,1e3]", ["007", "true", "1e3"]),
        ("keep=['a,b',c d]", ["a,b", "c d"]),
        ("keep=007,id", ["007", "id"]),  # without brackets, which zsh would take for a pattern
        ("keep=id", ["id"]),
        ("keep=[]", []),
        ("keep=[don't,it's]", ["don't", "it's"]),
    ],
)
def test_lists_of_texts_arrive_as_they_were_typed(word: str, expected: list[str]) -> None:
    (config,) = composed("predict", "checkpoint=x", word)
    assert config.keep == expected  # type: ignore[attr-defined]


def test_groups_of_labels_arrive_as_they_were_typed() -> None:
    words = ["dataset=files", "dataset.train=x.csv", "dataset.label_groups={joy: [1e3, 007], none: [true]}"]
    (config,) = composed("train", *words)
    assert config.dataset.label_groups == {"joy": ["1e3", "007"], "none": ["true"]}  # type: ignore[attr-defined]


def test_a_group_whose_name_is_a_number_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "dataset=files", "dataset.train=x.csv", "dataset.label_groups={2020_1: [a, b]}"]) == 2
    assert "dataset.label_groups: '2020_1' would be read as a number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("name=2024_11_30,1e3", ["2024_11_30", "1e3"]),
        ("name='2024_11_30'", ["2024_11_30"]),
        ("name=choice(a,b)", ["a", "b"]),
        ("+name=007,08", ["007", "08"]),
    ],
)
def test_each_text_of_a_sweep_arrives_as_it_was_typed(word: str, expected: list[str]) -> None:
    assert [job.name for job in composed("train", "-m", word)] == expected  # type: ignore[attr-defined]


def test_an_interpolation_counts_in_a_text() -> None:
    (config,) = composed("train", "name=run-${training.seed}", "training.seed=7")
    assert config.name == "run-7"  # type: ignore[attr-defined]


@given(st.lists(st.text("ab '\"\\,[]{}", max_size=8), min_size=1, max_size=4))
def test_quoted_texts_are_cut_where_they_were_joined(texts: list[str]) -> None:
    assert pieces(",".join(map(in_quotes, texts))) == [in_quotes(text) for text in texts]


@pytest.mark.parametrize(
    "word", ["name=1e3", "dataset.train=a(1).csv", "dataset.slice_columns=[a b,007]", "method.r=4"]
)
def test_words_are_shown_as_they_were_typed(word: str) -> None:
    (typed,) = as_typed("train", [word], sweeps=False)
    assert shown(typed) == word
    assert as_typed("train", [typed], sweeps=False) == [typed]  # twice changes nothing


def test_a_run_with_names_of_every_kind_trains_and_tells_them(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_csv(tmp_path / "a(1), don't.csv", make_rows(60), header=("2020_2021", "true"))
    words = ["dataset.text_column=2020_2021", "dataset.label_column=true", "name=2024_11_30", "baselines=[]"]
    folder = tmp_path / "1e3 #1"
    assert run([*tiny_words(tiny_models["bert"], data, folder, *words), "training.max_steps=1"]) == 0
    command = read_json(Run(folder).manifest)["command"]
    assert "dataset.text_column=2020_2021" in command.split()
    monkeypatch.chdir(tmp_path)
    assert run(["predict", "1e3 #1", f"input={data}", "output=out, 1.csv"]) == 0
    assert (tmp_path / "out, 1.csv").is_file()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("label_column: 2020_2021", "line 3: label_column: 2020_2021 is no text to yaml; put it in quotes"),
        ("text_column: yes", "line 3: text_column: yes is no text"),
        ("columns: [a, 0x1F, b]", "columns: 0x1F is no text"),
        ("label_column: 1e3", "label_column: 1e3 is no text"),
        ("label_groups: {good: [yes, fine]}", "label_groups: yes is no text"),
        ("label_column: 2020-01-02", None),
        ("label_column: 2020", None),
        ("max_length: 6_4", None),
        ("validation_size: 1e-1", None),
    ],
)
def test_a_text_in_a_yaml_file_is_refused_where_yaml_makes_another_text_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str | None
) -> None:
    file = tmp_path / "dataset" / "mine.yaml"
    file.parent.mkdir()
    file.write_text(f"defaults: [files]\ntrain: rows.csv\n{line}\n")
    code = run(["train", "--config-dir", str(tmp_path), "dataset=mine", "--cfg", "job"])
    assert (code == 2) == (said is not None)
    assert said is None or said in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        "a: 1\n---\nb: 2\n",
        "name: *x\n",
        "label_column: 2020-99-99\n",
        "? [a]\n: 1\n",
        "label_column: 0x_\n",
        "name: \xff",
    ],
)
def test_yaml_that_is_odd_is_no_bug(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    file = tmp_path / "dataset" / "mine.yaml"
    file.parent.mkdir()
    file.write_text(content, encoding="latin-1")
    assert run(["train", "--config-dir", str(tmp_path), "dataset=mine", "--cfg", "job"]) in (0, 2)
    assert "a bug in" not in capsys.readouterr().err
