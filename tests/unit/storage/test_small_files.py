"""Small files of others: read without waiting, within bounds, and refused in one line."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import TrainTiny
from ftclf.cli.main import run
from ftclf.storage.run_folder import Run
from ftclf.storage.small_files import check_model_files, check_safetensors, read_json_lines, read_small, read_small_json
from ftclf.system.errors import SmallFileError

Make = Callable[[Path], object]


def holding(text: str | bytes) -> Make:
    return lambda path: path.write_bytes(text.encode() if isinstance(text, str) else text)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10**11)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (os.mkfifo, "it is a pipe, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a file"),
        (lambda path: path.mkdir(), "it is a folder, not a file"),
        (huge, "it has 100,000,000,000 bytes, allowed: up to 40 MB"),
        (holding(""), "not valid json (Expecting value: line 1 column 1 (char 0))"),
        (holding('{"a": 1'), "not valid json ("),
        (holding("[" * 100_000), "lists and objects more than 100 deep"),
        (holding("[" * 500 + "]" * 500), "lists and objects more than 100 deep"),
        (holding('{"a":' * 101 + "1" + "}" * 101), "lists and objects more than 100 deep"),
        (holding("9" * 6000), "a number of 6000 digits"),
        (holding('{"a": -1e400}'), "-1e400 is no finite number"),
        (holding('{"a": NaN}'), "NaN, which is no finite number"),
        (holding('["a\0b"]'), "not valid json (Invalid control character"),
        (holding('["a\\u0000b"]'), "a text with a NUL character ('a\\x00b')"),
        (holding('{"\\u0000": 1}'), "a text with a NUL character"),
        (holding('["\\ud83d"]'), "a text with half a character, an unpaired surrogate ('\\ud83d')"),
        (holding('{"\\ude00": 1}'), "a text with half a character, an unpaired surrogate"),
        (holding(b'["\xed\xa0\xbd"]'), "it is not UTF-8"),
        (holding('{"a": "1"}'.encode("utf-16")), "it is not UTF-8"),
    ],
)
def test_what_is_no_small_file_of_json_is_found_out_at_once(make: Make, expected: str, tmp_path: Path) -> None:
    path, start = tmp_path / "a.json", time.perf_counter()
    make(path)
    with pytest.raises(SmallFileError) as caught:
        read_small_json(path)
    assert str(caught.value).startswith(f"{path}: {expected}")
    assert time.perf_counter() - start < 1


def test_what_others_write_is_read_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    values = {"": [1, -2.5, 1e308, 10**30, True, None, "🙂", "\u2028"], "deep": json.loads("[" * 90 + "]" * 90)}
    for ascii_only in (True, False):
        path.write_text(json.dumps(values, ensure_ascii=ascii_only))
        assert read_small_json(path) == values
    path.write_text('["\\u0000", "\\\\u0000", "\\\\ud83d", NaN, -Infinity]')
    assert str(read_small_json(path, any_text=True, nan=True)) == str(
        ["\0", "\\u0000", "\\ud83d", float("nan"), -float("inf")]
    )
    path.write_text('{"step": 1}\n{"step": 2}\n')
    assert read_json_lines(path) == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1}\n{"step":\n')
    with pytest.raises(SmallFileError, match=r"a\.json: line 2: not valid json"):
        read_json_lines(path)
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path / "none")


def long_header(path: Path) -> None:
    with path.open("wb") as file:
        file.write((5 * 2**20).to_bytes(8, "little"))
        file.truncate(10**8)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (holding(b""), "no usable safetensors file (it has no header)"),
        (holding(b"\xff" * 8 + b"{}"), "no usable safetensors file (it has no header)"),
        (holding((100).to_bytes(8, "little") + b"{}"), "no usable safetensors file (it has no header)"),
        (holding((2).to_bytes(8, "little") + b"[]"), "its header is no object"),
        (holding((3).to_bytes(8, "little") + b"{a}"), "not valid json"),
        (long_header, "a header of 5,242,880 bytes, allowed: up to 4 MB"),
        (os.mkfifo, "it is a pipe, not a file"),
    ],
)
def test_a_header_of_safetensors_is_refused_within_milliseconds(make: Make, expected: str, tmp_path: Path) -> None:
    """700,000 entries in it took a minute."""
    path, start = tmp_path / "model.safetensors", time.perf_counter()
    make(path)
    with pytest.raises(SmallFileError) as caught:
        check_safetensors(path)
    assert expected in str(caught.value)
    assert time.perf_counter() - start < 0.2


def test_a_models_folder_is_looked_at_by_the_names_that_are_opened(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_models["bert"], tmp_path / "model"))
    (folder / "rows.json").write_text("a user's own, in lines\n{}")
    (folder / "notes.txt").write_bytes(b"\xff\0")
    (folder / "config.json").rename(tmp_path / "blob")
    (folder / "config.json").symlink_to(tmp_path / "blob")  # as in the hub's cache
    check_model_files(folder)
    for name in ("merges.txt", "generation_config.json", "spiece.model", "chat_template.jinja"):
        os.mkfifo(folder / name)
        with pytest.raises(SmallFileError, match=f"{name}: it is a pipe"):
            check_model_files(folder)
        (folder / name).unlink()


@pytest.mark.parametrize(
    "file", ["metrics.json", "manifest.json", "config.json", "checkpoint/ftclf.json", "history.jsonl"]
)
def test_a_damaged_run_is_left_out_and_the_others_are_shown(
    file: str, train_tiny: TrainTiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ("training.max_steps=2", "baselines=[]", "training.threads=1")
    whole, broken = train_tiny(*short, folder="whole"), Run(tmp_path / "broken")
    shutil.copytree(whole.folder, broken.folder)
    (broken.folder / file).write_text('{"label_names": ["\\ud83d"]}\n')
    page = tmp_path / "page.html"
    for words in (["compare"], ["report", "--output", str(page)]):
        if (words[0], file) == ("compare", "history.jsonl"):
            continue
        capsys.readouterr()
        assert run([*words, str(whole.folder), str(broken.folder)]) == 0
        error = capsys.readouterr().err
        assert error.startswith(f"warning: {broken.folder} is left out: ")
        assert error.count("\n") == 1
        assert run([*words, str(broken.folder)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (os.mkfifo, "x.yaml: it is a pipe, not a file"),
        (huge, "x.yaml: it has 100,000,000,000 bytes, allowed: up to 1 MB"),
        (lambda path: path.symlink_to(path.name), "x.yaml cannot be read (Too many levels of symbolic links)"),
        (holding("a: &a [*a]"), "x.yaml: *a stands in what it is the name of; write it out"),
        (holding("a: " + "[" * 50 + "]" * 50), "x.yaml: lists and groups more than 30 deep"),
        (
            holding("a0: &a0 [1, 2]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(20))),
            "x.yaml: more than 50,000 values when its aliases are written out",
        ),
    ],
)
def test_yaml_that_hydra_would_not_end_with_is_refused(
    make: Make, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dataset").mkdir()
    make(tmp_path / "dataset" / "x.yaml")
    start = time.perf_counter()
    assert run(["train", "--config-dir", str(tmp_path), "dataset=x"]) == 2
    error = capsys.readouterr().err
    assert f"error: --config-dir: {tmp_path}/dataset/{expected}" in error
    assert error.count("\n") == 1
    assert time.perf_counter() - start < 5


def test_yaml_with_a_few_aliases_and_links_is_a_config_like_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "x.yaml").write_text("name: &n x\ntrain: nowhere.csv\nabout: *n\n")
    (tmp_path / "dataset" / "up").symlink_to("..")
    assert run(["train", "--config-dir", str(tmp_path), "dataset=x"]) == 2
    assert "nowhere.csv: no such file" in capsys.readouterr().err
