"""`ftclf check labels=true`: the csv of labels that are probably wrong, and what the table says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ftclf.config import CheckConfig
from ftclf.data import Data
from ftclf.data.check.corrections import Candidate, write_candidates
from ftclf.data.check.finding import MOST_EXAMPLES, Example, Finding, example
from ftclf.score.frozen_vectors import FrozenEncoder
from ftclf.score.label_errors import (
    PAIR,
    SURE,
    Judge,
    LabelledRows,
    WrongLabels,
    find_wrong_labels,
    judged_labels,
    judged_probabilities,
    linear_judge,
)
from ftclf.system.text import percent

CSV, TEST_CSV = "labels.csv", "labels_test.csv"
WARNED = 0.01  # share of wrong labels from which the verdict is a warning
# How the number of wrong labels is estimated.
HOW = {
    "single_label": "calibrated confident joint of out-of-fold probabilities",
    "multi_label": "rows that confident learning lists, label by label, by out-of-fold probabilities",
}

FineTuned = Callable[[Data, CheckConfig, LabelledRows], Judge]  # the judge that is trained per fold


def check_labels(data: Data, config: CheckConfig, folder: Path, fine_tuned: FineTuned) -> Iterator[Finding]:
    """Judge every label, write labels.csv of train and validation and labels_test.csv, and yield what was found."""
    rows = LabelledRows.of(data)
    judge = (_head_judge if config.judge == "head" else fine_tuned)(data, config, rows)
    probabilities = judged_probabilities(rows, judge, config.folds)
    learned, judged = slice(0, rows.learned), judged_labels(rows, len(data.label_names))
    wrong = find_wrong_labels(rows.labels[learned], probabilities[learned], judged)
    yield _finding(data, config, rows, wrong, folder)
    if "test" in rows.parts:
        tests = slice(rows.learned, len(rows))
        wrong = find_wrong_labels(rows.labels[tests], probabilities[tests], judged)
        wrong.rows = wrong.rows + rows.learned
        yield _finding_of_test(data, rows, wrong, folder)


def _head_judge(data: Data, config: CheckConfig, rows: LabelledRows) -> Judge:
    encoder = FrozenEncoder.of(config.model, config.dataset)
    vectors = np.concatenate([encoder.vectors(data.splits[split]) for split in rows.parts])
    return linear_judge(vectors, rows.labels, len(data.label_names))


def _finding(data: Data, config: CheckConfig, rows: LabelledRows, wrong: WrongLabels, folder: Path) -> Finding:
    candidates = list(_candidates(data, rows, wrong))
    write_candidates(folder / CSV, data, candidates)
    share = wrong.estimated / max(1, rows.learned)
    verdict = "ok" if not len(wrong.rows) else "warning" if share >= WARNED else "note"
    advice = (
        f"fill the column correct of {_shown(folder / CSV)}, then give apply={_shown(folder / CSV)} fix=NEW_FOLDER"
        if len(wrong.rows)
        else ""
    )
    return Finding(
        "labels",
        "rows of train and validation with a wrong label, estimated",
        verdict,
        count=wrong.estimated,
        of=rows.learned,
        advice=advice,
        examples=_examples(data, candidates),
        rows=_by_split(rows, wrong),
        figures={
            "how": HOW[data.task],
            "listed": len(wrong.rows),
            "share": share,
            "judge": config.judge,
            "folds": config.folds,
        },
    )


def _finding_of_test(data: Data, rows: LabelledRows, wrong: WrongLabels, folder: Path) -> Finding:
    candidates = list(_candidates(data, rows, wrong))
    write_candidates(folder / TEST_CSV, data, candidates, editable=False)
    return Finding(
        "labels",
        "test rows with a doubtful label, never changed",
        "note" if len(wrong.rows) else "ok",
        count=len(wrong.rows),
        of=len(rows) - rows.learned,
        advice=f"{_shown(folder / TEST_CSV)} lists them; they limit the score that can be reached"
        if len(wrong.rows)
        else "",
        examples=_examples(data, candidates),
        rows=_by_split(rows, wrong),
        figures={"how": HOW[data.task], "estimated": wrong.estimated},
    )


def _shown(path: Path) -> Path:
    """Return a path as it is typed in the working folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _candidates(data: Data, rows: LabelledRows, wrong: WrongLabels) -> Iterator[Candidate]:
    for row, suggested, confidence, reason in zip(
        wrong.rows.tolist(), wrong.suggested, wrong.confidence.tolist(), wrong.reasons.tolist(), strict=True
    ):
        split, number = rows.split_of(row)
        given = rows.labels[row]
        names = _names(data, np.flatnonzero(suggested) if suggested.ndim else suggested[None])
        before = _names(data, np.flatnonzero(given) if given.ndim else given[None])
        yield Candidate(split, number, names, confidence, _why(before, names, reason))


def _names(data: Data, ids: NDArray[np.int64]) -> list[str]:
    return [data.label_names[label] for label in ids.tolist()]


def _why(given: list[str], suggested: list[str], reason: int) -> str:
    """Return in words by which of cleanlab's criteria a row is in the list; `suggested` differs from `given`."""
    added, gone = [name for name in suggested if name not in given], [name for name in given if name not in suggested]
    change = f"{' and '.join(added)} instead of {' and '.join(gone)}" if added and gone else ""
    change = change or (f"{' and '.join(added)} is missing" if added else f"{' and '.join(gone)} does not fit")
    if reason == SURE:
        return f"{change}: as probable as in rows that are labelled so"
    if reason == PAIR:
        return f"{change}: most probable of the rows with this mistake, as many as are estimated"
    return f"{change}: least probable of the rows labelled {' and '.join(given)}, as many as are estimated to be wrong"


def _examples(data: Data, candidates: list[Candidate]) -> list[Example]:
    return [
        example(
            data,
            one.split,
            one.row,
            f"{' + '.join(one.suggested) or 'no label'} fits better ({percent(one.confidence)} sure)",
        )
        for one in candidates[:MOST_EXAMPLES]
    ]


def _by_split(rows: LabelledRows, wrong: WrongLabels) -> dict[str, NDArray[np.int64]]:
    places = [rows.split_of(row) for row in wrong.rows.tolist()]
    return {
        split: np.array([row for other, row in places if other == split], dtype=np.int64)
        for split in dict.fromkeys(split for split, _ in places)
    }
