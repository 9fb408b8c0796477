"""Every row can be found again in the file that it came from, cut split or not, read or kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import make_rows
from ftclf.config import DatasetConfig
from ftclf.data import Split, load_data
from ftclf.data.places import Places

ROWS = make_rows(60)


def write_lines_file(folder: Path) -> Path:
    """Write a csv whose rows are not its lines: a text in quotes has a line break, and a line is empty."""
    path = folder / "tickets.csv"
    lines = [f'"{text}\nand more",{label}' for text, label in ROWS[:30]] + [""]
    path.write_text("\n".join(["text,label", *lines, *(f"{text},{label}" for text, label in ROWS[30:])]) + "\n")
    return path


def write_jsonl(folder: Path) -> Path:
    path = folder / "tickets.jsonl"
    path.write_text("".join(f"{json.dumps({'text': text, 'label': label})}\n" for text, label in ROWS))
    return path


def write_parquet(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "tickets.parquet"
    pq.write_table(pa.table({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}), path)
    return path


def write_folder(folder: Path) -> Path:
    path = folder / "tickets"
    for number, (text, label) in enumerate(ROWS):
        (path / label).mkdir(parents=True, exist_ok=True)
        (path / label / f"{number:03}.txt").write_text(text)
    return path


def text_at(path: Path, place: str) -> str:
    """Return what stands at a place, as a reader of the report would look for it."""
    if path.is_dir():
        return (path / place).read_text()
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        name, _, row = place.partition(", row ")
        assert name == path.name
        return str(pq.read_table(path)["text"][int(row) - 1].as_py())
    name, _, line = place.rpartition(":")
    assert name == path.name
    return path.read_text().splitlines()[int(line) - 1]


@pytest.mark.parametrize("write", [write_lines_file, write_jsonl, write_parquet, write_folder])
def test_the_place_of_a_row_leads_to_its_text(
    write: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTCLF_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path)
    config = DatasetConfig(name="files", source="files", train=str(path))
    read, kept = load_data(config), load_data(config)  # the second comes from the cache
    for data in (read, kept):
        seen = set()
        for split in data.splits.values():
            assert split.places is not None
            assert split.places.source == path.name
            places = split.places.named(slice(0, len(split)))
            assert all(split.texts[row].split("\n")[0] in text_at(path, place) for row, place in enumerate(places))
            seen |= set(places)
        assert len(seen) == len(ROWS)


def test_a_hub_id_stands_as_it_is_and_a_split_without_a_source_has_no_places(tmp_path: Path) -> None:
    numbers = np.arange(1, 4)
    assert Places.of("owner/name/test", numbers, None).named(slice(1, 2)) == ["owner/name/test, row 2"]
    assert Places.of(str(tmp_path), numbers, None).source == tmp_path.name
    texts: list[str] = ["a"]
    assert Split(texts, np.zeros(1, dtype=np.int64)).places is None  # type: ignore[arg-type]
