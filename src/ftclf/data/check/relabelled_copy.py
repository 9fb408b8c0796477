"""A copy of a data set with corrected labels: its splits as jsonl files, and a csv of what changed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ftclf.config import DatasetConfig
from ftclf.data.check.corrections import Relabelled, place_in_source, relabel
from ftclf.data.check.finding import labels_of
from ftclf.data.dataset import Data
from ftclf.storage.csv_safety import write_lines
from ftclf.system.errors import ConfigError, ResourceError

CHANGED, LABELS = "changed.csv", "labels.txt"


def write_relabelled(data: Data, relabelled: Relabelled, folder: Path) -> None:
    """Write the splits with corrected labels into a new folder. Test is written as it was."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise ConfigError(f"fix: {folder} exists; name a new folder") from error
    except OSError as error:
        raise ResourceError(f"fix: cannot make {folder}: {error.strerror}; name another folder") from error
    before = {(split, row): labels_of(data, split, row) for split, rows in relabelled.items() for row in rows}
    relabel(data, relabelled)
    for split in data.splits:
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in _rows(data, split))
    with (folder / CHANGED).open("w", newline="", encoding="utf-8") as file:
        write_lines(file, [["split", "file", "row", "text", "before", "after"]])
        write_lines(
            file,
            (
                [
                    split,
                    *place_in_source(data.splits[split], split, row),
                    data.splits[split].texts[row],
                    " | ".join(labels),
                    " | ".join(labels_of(data, split, row)),
                ]
                for (split, row), labels in before.items()
            ),
        )
    if not _sorts_so(data.label_names):
        (folder / LABELS).write_text("".join(f"{name}\n" for name in data.label_names), encoding="utf-8")


def _rows(data: Data, split: str) -> Any:
    rows = data.splits[split]
    for row, text in enumerate(rows.texts):
        labels = labels_of(data, split, row)
        columns = {name: cells[row] for name, cells in rows.columns.items()}
        yield {"text": text, "label": labels if data.task == "multi_label" else labels[0], **columns}


def _sorts_so(names: list[str]) -> bool:
    """Return whether the reader finds the names in this order by itself: a score says which label is which by it."""
    numbers = all(re.fullmatch("-?[0-9]{1,18}", name) for name in names)
    return names == sorted(names, key=lambda name: (int(name), name) if numbers else (0, name))


def settings_of_copy(data: Data, config: DatasetConfig, folder: Path) -> list[str]:
    """Return the words that name the copy on the command line."""
    words = ["dataset=files", f"dataset.name={config.name}_relabelled"]
    words += [f"dataset.{split}={folder / split}.jsonl" for split in data.splits]
    words += [f"dataset.label_file={folder / LABELS}"] if (folder / LABELS).exists() else []
    words += [f"dataset.task={config.task}"] if config.task != "single_label" else []
    words += [f"dataset.max_length={config.max_length}"] if config.max_length != DatasetConfig.max_length else []
    if config.default_epochs is not None:
        words.append(f"dataset.default_epochs={config.default_epochs:g}")
    if config.slice_columns:
        words.append(f"dataset.slice_columns=[{','.join(config.slice_columns)}]")
    return words
