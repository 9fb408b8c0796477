"""Wrong labels: planted ones are found, copies of a text are judged by no model that saw them, cleanlab stays quiet."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from ftclf.data import Data, Split
from ftclf.data.label_sets import LabelSets
from ftclf.data.text_store import write_texts
from ftclf.score.label_errors import (
    LabelledRows,
    WrongLabels,
    doubtful_labels,
    find_wrong_labels,
    fold_of_rows,
    judged_labels,
    judged_probabilities,
    linear_judge,
)

LABELS, SIZE = 4, 16
ALL = np.ones(LABELS, dtype=bool)


def clouds(rows: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return vectors of length 1 around a direction per label, and the true labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, LABELS, rows)
    vectors = 2 * np.eye(LABELS, SIZE)[labels] + 0.4 * random.standard_normal((rows, SIZE))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def planted(labels: NDArray[np.int64], share: float, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return labels of which a share is another one, and the rows."""
    random = np.random.default_rng(seed)
    rows = random.choice(len(labels), round(share * len(labels)), replace=False)
    noisy = labels.copy()
    noisy[rows] = (noisy[rows] + random.integers(1, LABELS, len(rows))) % LABELS
    return noisy, np.sort(rows)


def as_rows(labels: NDArray[np.int64], tests: int = 0, group: NDArray[np.int64] | None = None) -> LabelledRows:
    learned, every = len(labels) - tests, len(labels)
    parts = {"train": slice(0, learned), "validation": slice(learned, learned), "test": slice(learned, every)}
    group = np.arange(len(labels)) if group is None else group
    return LabelledRows(parts, labels, group)


def judged(vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> WrongLabels:
    judge = linear_judge(vectors, labels, LABELS)
    return find_wrong_labels(labels, judged_probabilities(as_rows(labels), judge, folds=5), ALL)


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_planted_wrong_labels_are_found_counted_and_corrected(share: float) -> None:
    vectors, truth = clouds(1200, seed=1)
    noisy, planted_rows = planted(truth, share)
    wrong = judged(vectors, noisy)
    assert np.isin(wrong.rows[: len(planted_rows)], planted_rows).mean() > 0.9
    assert wrong.estimated == pytest.approx(len(planted_rows), rel=0.15)
    hits = np.isin(wrong.rows, planted_rows)
    assert hits.sum() >= 0.9 * len(planted_rows)
    assert hits.mean() > 0.8
    assert (wrong.suggested[hits] == truth[wrong.rows[hits]]).all()
    assert (np.diff(wrong.confidence) <= 0).all()


def test_clean_labels_are_not_called_wrong() -> None:
    vectors, truth = clouds(600, seed=2)
    assert not len(judged(vectors, truth).rows)


def test_several_labels_per_row_planted_ones_are_found() -> None:
    vectors, first = clouds(800, seed=3)
    truth = np.eye(LABELS, dtype=bool)[first]
    truth[:, 3] = vectors[:, 0] > 0.3  # a label that comes with another
    random = np.random.default_rng(0)
    rows = random.choice(len(truth), 40, replace=False)
    labels = random.integers(0, 3, len(rows))
    noisy = truth.copy()
    noisy[rows, labels] ^= True
    judge = linear_judge(vectors, noisy, LABELS)
    wrong = find_wrong_labels(noisy, judged_probabilities(as_rows(noisy), judge, folds=5), ALL)
    assert np.isin(wrong.rows[:40], rows).mean() > 0.8
    of_planted = np.isin(wrong.rows, rows)
    assert (wrong.suggested[of_planted] == truth[wrong.rows[of_planted]]).all(axis=1).mean() > 0.8


def test_copies_of_a_text_stand_in_one_fold_and_each_fold_has_its_share_of_each_label() -> None:
    labels = np.repeat([0, 1], [80, 20])
    group = np.arange(100)
    group[50:60] = 50
    fold = fold_of_rows(as_rows(labels, group=group), 5)
    assert len(set(fold[50:60].tolist())) == 1
    assert (np.bincount(fold[80:], minlength=5) == 4).all()


def test_no_row_is_judged_by_a_model_that_saw_its_text() -> None:
    labels = np.arange(60) % 2
    group = np.arange(60)
    group[55:] = np.arange(5)  # test rows with a text of train
    rows = as_rows(labels, tests=20, group=group)
    judged_by: dict[int, int] = {}

    def judge(known: NDArray[np.int64], asked: NDArray[np.int64]) -> NDArray[np.float64]:
        assert not set(group[known].tolist()) & set(group[asked].tolist())
        assert known.max() < 40
        for row in asked.tolist():
            judged_by[row] = judged_by.get(row, 0) + 1
        return np.full((len(asked), 2), 0.5)

    assert (judged_probabilities(rows, judge, folds=4) == 0.5).all()
    assert {row: times for row, times in judged_by.items() if times > 1} == dict.fromkeys(range(40, 55), 4)
    assert len(judged_by) == 60


def test_rows_of_all_splits_are_numbered_end_to_end() -> None:
    def split(*texts: str) -> Split:
        return Split(write_texts(texts), np.zeros(len(texts), dtype=np.int64))

    data = Data("d", ["a"], {"train": split("x", "y"), "validation": split("X"), "test": split("z", "y")})
    rows = LabelledRows.of(data)
    assert (len(rows), rows.learned) == (5, 3)
    assert [rows.split_of(row) for row in range(5)] == [
        ("train", 0),
        ("train", 1),
        ("validation", 0),
        ("test", 0),
        ("test", 1),
    ]
    assert rows.group.tolist() == [0, 1, 0, 2, 1]


def test_a_label_that_no_row_or_one_row_has_is_no_obstacle() -> None:
    vectors, truth = clouds(200, seed=4)
    labels = np.where(truth == 3, 0, truth)
    labels[7] = 3
    judged(vectors, labels)
    wrong = find_wrong_labels(np.zeros(5, dtype=np.int64), np.full((5, LABELS), 0.25), ALL)
    assert not len(wrong.rows)


def test_doubtful_labels_need_another_that_is_as_probable_as_where_it_is_right() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.45, 0.55], [0.1, 0.9], [0.2, 0.8]])
    targets = LabelSets.of(np.array([0, 0, 0, 0, 1, 1]), 2)
    known = LabelSets.of(np.ones((6, 2), dtype=bool))
    doubts = doubtful_labels(targets, known, probabilities.ravel(), several=False)
    assert [(doubt.row, doubt.given, doubt.other) for doubt in doubts] == [(2, 0, 1)]  # .55 is less than .85
    assert doubts[0].given_probability == 0.05


def test_doubtful_labels_of_several_say_what_is_missing_and_what_does_not_fit() -> None:
    probabilities = np.array([[0.99, 0.9], [0.9, 0.01], [0.01, 0.9], [0.1, 0.1], [0.1, 0.2], [0.1, 0.1]])
    truth = np.array([[0, 1], [1, 0], [1, 1], [0, 0], [0, 0], [0, 0]], dtype=bool)
    known = LabelSets.of(np.ones((6, 2), dtype=bool))
    doubts = doubtful_labels(LabelSets.of(truth), known, probabilities.ravel(), several=True)
    assert {(doubt.row, doubt.given, doubt.other) for doubt in doubts} == {(0, -1, 0), (2, 0, -1)}


def test_cleanlab_is_imported_only_when_labels_are_judged_and_says_nothing() -> None:
    probe = (
        "import sys, numpy as np; import ftclf.report.data_check, ftclf.report.sections\n"
        "assert 'cleanlab' not in sys.modules\n"
        "from ftclf.score.label_errors import find_wrong_labels\n"
        "find_wrong_labels(np.arange(40) % 2, np.tile([[0.9, 0.1], [0.1, 0.9]], (20, 1)), np.ones(2, bool))\n"
        "assert 'cleanlab' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-W", "default", "-c", probe], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_label_that_no_judge_has_seen_in_another_text_is_never_called_wrong() -> None:
    vectors, truth = clouds(200, seed=4)
    labels, group = np.where(truth == 3, 0, truth), np.arange(200)
    labels[[7, 8]], group[8] = 3, 7  # two rows of one text
    rows = as_rows(labels, group=group)
    known = judged_labels(rows, LABELS)
    assert known.tolist() == [True, True, True, False]
    wrong = find_wrong_labels(labels, judged_probabilities(rows, linear_judge(vectors, labels, LABELS), folds=5), known)
    assert not {7, 8} & set(wrong.rows.tolist())
    assert len(wrong.quality) == 200


def test_of_several_labels_one_alone_may_vary() -> None:
    vectors, truth = clouds(300, seed=5)
    sets = np.stack([np.ones(300, dtype=bool), truth == 1], axis=1)
    noisy = sets.copy()
    noisy[:15, 1] ^= True
    judge = linear_judge(vectors, noisy, 2)
    wrong = find_wrong_labels(noisy, judged_probabilities(as_rows(noisy), judge, folds=5), np.ones(2, dtype=bool))
    assert np.isin(np.arange(15), wrong.rows).mean() > 0.8
    hits = wrong.rows < 15
    assert (wrong.suggested[hits] == sets[wrong.rows[hits]]).all()
