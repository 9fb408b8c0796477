"""The layout of a data set's files put onto another file: what of it fits, and what that file says itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from ftclf.config import DatasetConfig
from ftclf.data.row_files import file_format
from ftclf.data.text_file import check_file, first_line, is_utf8
from ftclf.system.console import warn

SEPARATORS = {"csv": ",", "tsv": "\t"}


def fitted_layout(path: Path, layout: DatasetConfig, given: Collection[str]) -> DatasetConfig:
    """Return a layout for a file of a user's, with what was `given` as it is.

    The rest is of the files that a checkpoint was trained on. A header that names the column of the text counts in
    place of `columns`, a separator counts where it gives that column, and UTF-8 in place of another encoding where the
    bytes can hardly be anything else.
    """
    check_file(path)
    if "encoding" not in given and layout.encoding.lower() not in ("utf-8", "utf8") and is_utf8(path):
        warn(f"{path}: it is UTF-8, though the checkpoint was trained on {layout.encoding}; it is read as UTF-8")
        layout = replace(layout, encoding="utf-8")
    if path.suffix.lower() == ".txt":
        return layout
    kind = file_format(path)
    if kind not in SEPARATORS:
        columns = layout.columns if "columns" in given else []
        return replace(layout, columns=columns, separator=layout.separator if "separator" in given else None)
    first = first_line(path, layout.encoding)
    if "separator" not in given:
        own = (layout.separator or "").replace(r"\t", "\t")
        fits = bool(own) and (layout.text_column in _fields(first, own) or first.count(own) == len(layout.columns) - 1)
        layout = replace(layout, separator=layout.separator if fits else None)
    separator = (layout.separator or SEPARATORS[kind]).replace(r"\t", "\t")
    if "columns" not in given and layout.text_column in _fields(first, separator):
        layout = replace(layout, columns=[])
    return layout


def _fields(line: str, separator: str) -> list[str]:
    return [field.strip().strip('"').strip() for field in line.split(separator)]
