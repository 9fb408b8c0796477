"""Data sets as they were read, checked and split, on disk: a later run on the same content reads nothing again."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from ftclf.data.dataset import Data, Split
from ftclf.data.places import Places
from ftclf.data.text_store import Texts, write_texts
from ftclf.storage.cache import cache_folder, has_entry, missing, new_entry
from ftclf.storage.small_files import read_small_json

INFO = "data.json"


def find_kept(key: str) -> Data | None:
    """Return the data set that was kept under this key; its texts stay on disk."""
    folder = _folder(key)
    if not has_entry(folder):
        return None
    info = read_small_json(folder / INFO)
    splits = {}
    for name, about in info.pop("splits").items():
        columns = {column: _load(folder / f"{name}-{number}") for number, column in enumerate(about["columns"])}
        labels = np.load(folder / f"{name}-labels.npy")
        places = _load_places(folder / f"{name}-places", about["source"], of_folder=about["of_folder"])
        groups = _load(folder / f"{name}-groups") if about["groups"] else None
        splits[name] = Split(_load(folder / f"{name}-texts"), labels, columns, about["digest"], places, groups)
    return Data(splits=splits, **info)


def not_kept(key: str) -> AbstractContextManager[bool]:
    """Give whether no data set is kept under this key; no other process makes it while the block runs."""
    return missing(_folder(key))


def keep(data: Data, key: str) -> Data:
    """Write a data set to disk and return it as it stands there."""
    splits = {}
    with new_entry(_folder(key)) as folder:
        for name, split in data.splits.items():
            _save(split.texts, folder / f"{name}-texts")
            for number, cells in enumerate(split.columns.values()):
                _save(cells, folder / f"{name}-{number}")
            if split.groups is not None:
                _save(split.groups, folder / f"{name}-groups")
            np.save(folder / f"{name}-labels.npy", split.labels)
            splits[name] = {
                "columns": list(split.columns),
                "digest": split.text_digest(),
                "groups": split.groups is not None,
                **_keep_places(split, folder / f"{name}-places"),
            }
        info = {"name": data.name, "label_names": data.label_names, "notes": data.notes, "task": data.task}
        (folder / INFO).write_text(json.dumps({**info, "splits": splits}), encoding="utf-8")
    found = find_kept(key)
    assert found is not None
    return found


def _folder(key: str) -> Path:
    return cache_folder() / "data" / key[:32]


def _keep_places(split: Split, path: Path) -> dict[str, object]:
    """Write where rows stand; return what is needed to read it again."""
    places = split.places
    if places is None:
        return {"source": None, "of_folder": False}
    np.save(path.with_suffix(".npy"), places.numbers)
    if places.files is not None:
        _save(places.files, path.with_name(f"{path.name}-files"))
    return {"source": places.source, "of_folder": places.files is not None}


def _load_places(path: Path, source: str | None, *, of_folder: bool) -> Places | None:
    if source is None:
        return None
    files = _load(path.with_name(f"{path.name}-files")) if of_folder else None
    return Places(source, np.load(path.with_suffix(".npy"), mmap_mode="r"), files)


def _save(texts: Texts, place: Path) -> None:
    with place.with_suffix(".bin").open("w+b") as file:
        np.save(place.with_suffix(".npy"), write_texts(texts, file).offsets)


def _load(place: Path) -> Texts:
    with place.with_suffix(".bin").open("rb") as file:
        return Texts.of_file(file, np.load(place.with_suffix(".npy"), mmap_mode="r"))
