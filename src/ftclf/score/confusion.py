"""Confusion counts of pairs of labels, as sparse arrays: most pairs of many labels are never confused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data.label_sets import LabelSets, pieces
from ftclf.score.metrics import Labels

MOST_CELLS = 1_000_000  # counts that are kept, the largest: never fewer than all of 1,000 labels
SHOWN = 40  # labels in a matrix that can be read

Counts = Any  # a sparse array of whole numbers, (labels, labels): true label by row, given label by column


def confusion(chosen: Labels, targets: Labels) -> Counts:
    """Return counts, a sparse array of the shape (labels, labels).

    The diagonal counts the hits of a label. Elsewhere: rows where the row's label was missed and the column's label was
    wrongly given. With one label a row this is the confusion matrix.
    """
    from scipy.sparse import csr_array, dia_array

    given, truth = LabelSets.of(chosen), LabelSets.of(targets)
    missed, wrong, hits = truth - given, given - truth, truth & given
    errors = csr_array((truth.labels, truth.labels), dtype=np.int64)
    bounds = pieces(missed.per_row * wrong.per_row, MOST_CELLS)
    for rows in itertools.starmap(slice, itertools.pairwise(bounds)):
        product = missed.part(rows).sparse().T @ wrong.part(rows).sparse()
        errors = _largest(errors + product.astype(np.int64), 2 * MOST_CELLS)
    errors = _largest(errors, MOST_CELLS)
    diagonal = dia_array((hits.per_label[None], [0]), shape=errors.shape)
    return as_counts(errors + diagonal)


def as_counts(counts: Counts | NDArray[np.int64]) -> Counts:
    """Return counts, dense or sparse, as a sparse array in the order of its rows, without zeros."""
    from scipy.sparse import csr_array

    sparse = csr_array(counts)
    sparse.eliminate_zeros()
    sparse.sort_indices()
    return sparse


def _largest(counts: Counts, most: int) -> Counts:
    """Return the largest counts alone, if there are more."""
    from scipy.sparse import coo_array

    if counts.nnz <= most:
        return counts
    listed = coo_array(counts)
    kept = np.argpartition(listed.data, listed.nnz - most)[listed.nnz - most :]
    return coo_array((listed.data[kept], (listed.coords[0][kept], listed.coords[1][kept])), shape=counts.shape).tocsr()


def errors_of(counts: Counts | NDArray[np.int64]) -> Counts:
    """Return the counts without the diagonal."""
    from scipy.sparse import coo_array

    listed = coo_array(as_counts(counts))
    rows, columns = listed.coords
    wrong = rows != columns
    return as_counts(coo_array((listed.data[wrong], (rows[wrong], columns[wrong])), shape=listed.shape))


def most_confused(
    counts: Counts | NDArray[np.int64], support: NDArray[np.int64], label_names: list[str], limit: int = 10
) -> list[dict[str, Any]]:
    """Return the pairs of different labels with the most errors, most first."""
    listed = errors_of(counts).tocoo()
    order = np.argsort(-listed.data, kind="stable")[:limit]
    cells = zip(*(values[order].tolist() for values in (*listed.coords, listed.data)), strict=True)
    return [
        {
            "true": label_names[row],
            "predicted": label_names[column],
            "count": count,
            "share_of_true": float(count / max(1, int(support[row]))),
        }
        for row, column, count in cells
    ]


def worst_labels(counts: Counts | NDArray[np.int64], most: int = SHOWN) -> list[int]:
    """Return the labels with the most confusions between one another, confused labels side by side.

    Greedy: the worst pair, then either the label with the most errors to and from the chosen labels, or the worst pair
    among the others, whichever has more errors.
    """
    errors = errors_of(counts)
    both = as_counts(errors + errors.T)
    listed = both.tocoo()
    order = np.argsort(-listed.data, kind="stable")
    rows, columns, errors_of_pair = (values[order] for values in (*listed.coords, listed.data))
    taken: list[int] = []
    linked, at = np.zeros(both.shape[0]), 0
    while len(taken) < most:
        while at < len(rows) and (rows[at] in taken or columns[at] in taken):
            at += 1
        new, gain = int(linked.argmax()), linked.max()
        apart = errors_of_pair[at] if at < len(rows) and len(taken) + 2 <= most else 0
        if gain <= 0 and apart <= 0:
            break
        for label in [new] if gain >= apart else [int(rows[at]), int(columns[at])]:
            taken.append(label)
            linked += np.ravel(both[[label]].toarray())
        linked[taken] = 0
    return _side_by_side(both, sorted(taken))


def _side_by_side(both: Counts, labels: list[int]) -> list[int]:
    """Return the labels clustered by their confusions, the cluster with the most errors first."""
    from scipy.cluster.hierarchy import fcluster, leaves_list, linkage

    if len(labels) < 3:
        return labels
    near = both[labels][:, labels].toarray().astype(np.float64)
    distances = 1 / (1 + near[np.triu_indices(len(labels), 1)])
    tree = linkage(distances, "average", optimal_ordering=True)
    group = fcluster(tree, 1 / 2, "distance")  # one error or more per pair on average
    errors = np.bincount(group, weights=near.sum(axis=1))
    leaves = leaves_list(tree).tolist()
    return [labels[place] for place in sorted(leaves, key=lambda place: (-errors[group[place]], group[place]))]
