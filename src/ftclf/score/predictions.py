"""StoredPredictions of a split on disk: parquet, one row per text.

Up to WIDE labels have a column of probabilities each. With more labels, each row lists its most probable and its true
labels with their probabilities, the most probable first. Log loss and the labels by the other decision rules, which
cannot be computed from these, have columns of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data import Split
from ftclf.data.label_sets import WIDE, LabelSets, chunks
from ftclf.score.evaluation import Evaluation
from ftclf.score.probabilities import Dense
from ftclf.score.task import MULTI_LABEL, SINGLE_LABEL, task_of

MOST_CELLS = 2**22  # rows x labels of a row group
TOP = 20  # most probable labels that are listed per row
COLUMN = "column_"  # of the data's own
SOURCE = "source"  # where a row stands, as in test.csv:127
BY_RULE = "predicted_by_"


@dataclass
class StoredPredictions:
    """The rows of a split with their predictions. With many labels not all probabilities are known."""

    targets: LabelSets
    chosen: LabelSets
    losses: NDArray[np.float64]  # (rows,)
    texts: list[str] = field(default_factory=list)  # empty if not asked for
    columns: dict[str, list[str | None]] = field(default_factory=dict)  # of the data set, for slices
    places: list[str] = field(default_factory=list)  # where the rows stand in their source; empty if it is not known
    probabilities: Dense | None = None  # (rows, labels), or
    listed: LabelSets | None = None  # the labels whose probabilities are known,
    values: NDArray[np.float64] | None = None  # with these
    by_rule: dict[str, LabelSets] = field(default_factory=dict)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether a row got exactly its labels, (rows,)."""
        return self.targets.same(self.chosen)

    def probability(self, rows: NDArray[np.int64], labels: NDArray[Any]) -> NDArray[np.float64]:
        """Return the probability of each pair of row and label; 0 where it is not known."""
        if self.probabilities is not None:
            return np.asarray(self.probabilities[rows, labels])
        assert self.listed is not None
        assert self.values is not None
        known, wanted = self.listed.keys, rows * self.listed.labels + labels
        place = np.minimum(np.searchsorted(known, wanted), max(0, len(known) - 1))
        return np.where(known[place] == wanted, self.values[place], 0.0) if len(known) else np.zeros(len(wanted))


def probability_columns(label_names: list[str]) -> list[str]:
    """Return the columns that say what was predicted, by labels of this number."""
    if len(label_names) > WIDE:
        return ["predicted", "log_loss", "top_labels", "top_probabilities"]
    return ["predicted", *(f"p_{name}" for name in label_names)]


# ---- writing


def write_predictions(path: Path, evaluation: Evaluation, split: Split, label_names: list[str]) -> None:
    """Write the rows of a split in row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    several = task_of(split.labels).several
    schema = pa.schema(_kinds(evaluation, split, label_names, several=several))
    with pq.ParquetWriter(path, schema) as writer:
        names = pa.array(label_names, pa.string())
        for rows in chunks(*evaluation.targets.shape, most=MOST_CELLS):
            columns = _columns(evaluation, split, names, rows=rows, several=several)
            writer.write_table(pa.table(columns, schema=schema))


def _kinds(evaluation: Evaluation, split: Split, label_names: list[str], *, several: bool) -> list[tuple[str, Any]]:
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    labels = pa.list_(text) if several else text
    kinds = [("row", pa.int64()), ("text", text), ("labels" if several else "label", labels), ("predicted", labels)]
    kinds += [("confidence", number), *((f"{COLUMN}{name}", text) for name in split.columns)]
    kinds += [(SOURCE, text)] if split.places else []
    if len(label_names) <= WIDE:
        return [*kinds, *((f"p_{name}", number) for name in label_names)]
    kinds += [("log_loss", number), ("top_labels", pa.list_(text)), ("top_probabilities", pa.list_(pa.float32()))]
    return [*kinds, *((f"{BY_RULE}{name}", labels) for name in evaluation.others)]


def _columns(evaluation: Evaluation, split: Split, names: Any, *, rows: slice, several: bool) -> dict[str, Any]:
    """Return the columns of some rows by their names."""
    probabilities, targets = evaluation.probabilities.rows(rows), evaluation.targets.part(rows)
    columns: dict[str, Any] = {
        "row": np.arange(rows.start, rows.stop),
        "text": split.texts[rows],
        "labels" if several else "label": _names(targets, names, several=several),
        "predicted": _names(evaluation.chosen.part(rows), names, several=several),
        "confidence": evaluation.sure[rows],
        **{f"{COLUMN}{name}": list(cells[rows]) for name, cells in split.columns.items()},
        **({SOURCE: split.places.named(rows)} if split.places else {}),
    }
    if len(names) <= WIDE:
        return columns | {f"p_{name}": probabilities[:, label] for label, name in enumerate(names.to_pylist())}
    columns["log_loss"] = evaluation.losses[rows]
    columns["top_labels"], columns["top_probabilities"] = _listed(probabilities, targets, names)
    others = evaluation.others.items()
    return columns | {f"{BY_RULE}{name}": _names(sets.part(rows), names, several=several) for name, sets in others}


def _names(sets: LabelSets, names: Any, *, several: bool) -> Any:
    """Return the names of each row's labels, as an array of lists or, with one label a row, of texts."""
    import pyarrow as pa

    given = names.take(pa.array(sets.ids))
    return pa.ListArray.from_arrays(pa.array(sets.starts.astype(np.int32)), given) if several else given


def _listed(probabilities: Dense, targets: LabelSets, names: Any) -> tuple[Any, Any]:
    """Return the labels of each row whose probabilities are kept, and the probabilities."""
    import pyarrow as pa

    wanted = targets.dense()
    top = np.argpartition(probabilities.astype(np.float32), -TOP, axis=1)[:, -TOP:]
    np.put_along_axis(wanted, top, values=True, axis=1)
    kept = LabelSets.of(wanted)
    values = probabilities[kept.rows, kept.ids].astype(np.float32)
    order = np.lexsort((-values, kept.rows))
    starts, labels = pa.array(kept.starts.astype(np.int32)), names.take(pa.array(kept.ids[order]))
    return pa.ListArray.from_arrays(starts, labels), pa.ListArray.from_arrays(starts, pa.array(values[order]))


# ---- reading


def read_predictions(
    path: Path, label_names: list[str], *, texts: bool = False, rules: bool = False
) -> StoredPredictions:
    """Read the file of `write_predictions`; texts with the columns of the data set, and other rules, if asked for.

    Raises KeyError or an error of pyarrow for a file that is something else.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        names = [
            name
            for name in file.schema_arrow.names
            if (texts or not _of_the_data(name)) and (rules or not name.startswith(BY_RULE))
        ]
        # One thread: the file is small, and a run that trains beside this one keeps its cores.
        groups = (file.read_row_group(number, names, use_threads=False) for number in range(file.num_row_groups))
        return _joined([_part(table, label_names) for table in groups])


def _part(table: Any, label_names: list[str]) -> StoredPredictions:
    """Turn the columns of some rows into predictions."""
    task = MULTI_LABEL if "labels" in table.column_names else SINGLE_LABEL
    targets = _sets(table["labels" if task.several else "label"], label_names)
    rows = StoredPredictions(targets, _sets(table["predicted"], label_names), np.zeros(0))
    if "text" in table.column_names:
        rows.texts = table["text"].to_pylist()
    rows.places = table[SOURCE].to_pylist() if SOURCE in table.column_names else []
    columns = [name for name in table.column_names if name.startswith(COLUMN)]
    rows.columns = {name.removeprefix(COLUMN): table[name].to_pylist() for name in columns}
    by_rule = [name for name in table.column_names if name.startswith(BY_RULE)]
    rows.by_rule = {name.removeprefix(BY_RULE): _sets(table[name], label_names) for name in by_rule}
    if "top_labels" in table.column_names:
        rows.losses = table["log_loss"].to_numpy()
        rows.listed, rows.values = _probabilities(table, label_names)
    else:
        rows.probabilities = np.column_stack([table[f"p_{name}"].to_numpy() for name in label_names])
        rows.losses = task.row_losses(rows.probabilities, targets)
    return rows


def _joined(parts: list[StoredPredictions]) -> StoredPredictions:
    """Return the rows of all parts in their order."""

    def stacked(values: list[Any]) -> Any:
        if isinstance(values[0], LabelSets):
            return LabelSets.stacked(values)
        if isinstance(values[0], dict):
            return {name: stacked([columns[name] for columns in values]) for name in values[0]}
        if isinstance(values[0], list):
            return [item for items in values for item in items]
        return None if values[0] is None else np.concatenate(values)

    names = [item.name for item in fields(StoredPredictions)]
    return StoredPredictions(**{name: stacked([getattr(part, name) for part in parts]) for name in names})


def _of_the_data(name: str) -> bool:
    return name in ("text", SOURCE) or name.startswith(COLUMN)


def _sets(column: Any, label_names: list[str]) -> LabelSets:
    """Return the labels of each row, a name or a list of names."""
    starts, ids = _lists(column, label_names)
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    keys = np.sort(rows * len(label_names) + ids)  # in the order of the labels
    keys = keys[np.append(True, keys[1:] > keys[:-1])[: len(keys)]]
    counts = np.bincount(keys // len(label_names), minlength=len(starts) - 1)
    kept = (keys % len(label_names)).astype(np.min_scalar_type(len(label_names)))
    return LabelSets(np.concatenate([[0], np.cumsum(counts)]), kept, len(label_names))


def _probabilities(table: Any, label_names: list[str]) -> tuple[LabelSets, NDArray[np.float64]]:
    starts, ids = _lists(table["top_labels"], label_names)
    values = table["top_probabilities"].combine_chunks().flatten().to_numpy()
    order = np.lexsort((ids, np.repeat(np.arange(len(starts) - 1), np.diff(starts))))
    return _sets(table["top_labels"], label_names), values[order].astype(np.float64)


def _lists(column: Any, label_names: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the starts of the rows among all labels, and the labels as ids."""
    import pyarrow as pa

    places = {name: place for place, name in enumerate(label_names)}
    parts = [chunk for chunk in column.chunks if len(chunk)]
    lists = pa.types.is_list(column.type)
    counts = [np.diff(part.offsets.to_numpy()) if lists else np.ones(len(part), dtype=np.int64) for part in parts]
    ids = [_ids((part.flatten() if lists else part).dictionary_encode(), places) for part in parts]
    starts = np.concatenate([[0], *counts]).cumsum().astype(np.int64)
    return starts, np.concatenate([np.zeros(0, dtype=np.int64), *ids])


def _ids(encoded: Any, places: dict[str, int]) -> NDArray[np.int64]:
    known = np.array([places[name] for name in encoded.dictionary.to_pylist()], dtype=np.int64)
    return known[encoded.indices.to_numpy()]  # type: ignore[no-any-return]
