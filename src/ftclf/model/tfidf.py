"""TF-IDF of words, word pairs and character n-grams, and a logistic regression per label against the rest.

The baseline `tfidf` and `method=tfidf` are both fitted here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftclf.data.label_sets import LabelSets

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

# Words and pairs alone miss inflections and spellings: character n-grams give 2 points more on GoEmotions.
KINDS: dict[str, dict[str, Any]] = {
    "words": {"ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
    "pieces": {"ngram_range": (2, 4), "analyzer": "char_wb"},
}
MANY_TEXTS = 1000  # beyond, what stands in a single text is no feature
CERTAIN = 1000.0  # log odds of a label that all or no texts have: a probability of 1 or 0
INVERSE_REGULARIZATION, MOST_ITERATIONS = 4.0, 300
AT_ONCE = 4  # fits: each has a copy of the features

Matrix = Any  # scipy's sparse matrix, (texts, features)


@dataclass(frozen=True)
class Features:
    """Vocabularies with their weights, by kind."""

    vectorizers: dict[str, TfidfVectorizer]

    @classmethod
    def of(cls, vocabularies: dict[str, list[str]], weights: dict[str, NDArray[np.float64]]) -> Features:
        """Return the features of these vocabularies, each word at its place. Raises ValueError where one is twice."""
        vectorizers = {kind: _vectorizer(kind, vocabulary=vocabularies[kind]) for kind in KINDS}
        for kind, vectorizer in vectorizers.items():
            vectorizer.idf_ = weights[kind]
        return cls(vectorizers)

    @property
    def vocabularies(self) -> dict[str, list[str]]:
        return {kind: one.get_feature_names_out().tolist() for kind, one in self.vectorizers.items()}

    @property
    def weights(self) -> dict[str, NDArray[np.float64]]:
        return {kind: one.idf_ for kind, one in self.vectorizers.items()}

    def matrix(self, texts: Sequence[str]) -> Matrix:
        return _beside([one.transform(texts) for one in self.vectorizers.values()])


def fit_features(texts: Sequence[str], max_features: int | None = None) -> tuple[Features, Matrix]:
    """Return the features of these texts, and the texts as a matrix. Raises ValueError for texts without words."""
    rare = 2 if len(texts) > MANY_TEXTS else 1
    vectorizers = {kind: _vectorizer(kind, min_df=rare, max_features=max_features) for kind in KINDS}
    return Features(vectorizers), _beside([one.fit_transform(texts) for one in vectorizers.values()])


def _vectorizer(kind: str, **settings: Any) -> TfidfVectorizer:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, **KINDS[kind], **settings)


def _beside(matrices: list[Matrix]) -> csr_matrix:
    from scipy.sparse import hstack

    matrix = hstack(matrices).tocsr()
    matrix.sum_duplicates()  # else each fit sorts it in place, while the others read it: wrong scores, or a crash
    return matrix


@dataclass(frozen=True)
class LabelWeights:
    """Coefficients of one label, or of all labels side by side; log odds are linear in the features."""

    coefficients: NDArray[np.floating[Any]]  # (features,) or (features, labels), with the digits of a float32
    intercepts: NDArray[np.float64]  # () or (labels,)

    def log_odds(self, matrix: Matrix) -> NDArray[np.float64]:
        log_odds: NDArray[np.float64] = matrix @ self.coefficients.astype(np.float64, copy=False)
        return log_odds + self.intercepts


def probabilities_of(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import expit

    probabilities: NDArray[np.float64] = expit(log_odds)
    return probabilities


def fit_label(matrix: Matrix, truth: NDArray[np.bool_], seed: int = 0) -> LabelWeights:
    """Fit one label against the rest on sparse features."""
    from sklearn.linear_model import LogisticRegression

    if truth.all() or not truth.any():  # a sample of the rows may miss a label
        sure = CERTAIN if truth.any() else -CERTAIN
        return LabelWeights(np.zeros(matrix.shape[1], np.float32), np.float64(sure))  # type: ignore[arg-type]
    model = LogisticRegression(
        C=INVERSE_REGULARIZATION, solver="liblinear", max_iter=MOST_ITERATIONS, random_state=seed
    ).fit(matrix, truth)
    return LabelWeights(model.coef_[0].astype(np.float32), model.intercept_[0])


def fit_labels(matrix: Matrix, targets: LabelSets, *, threads: int, seed: int = 0) -> Iterator[LabelWeights]:
    """Fit every label against the rest, and yield the weights in the order of the labels."""
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    # The solvers work outside of Python's lock.
    with threadpool_limits(1):
        fits = Parallel(n_jobs=min(AT_ONCE, threads), prefer="threads", return_as="generator")
        yield from fits(delayed(fit_label)(matrix, targets.column(label), seed) for label in range(targets.labels))


def of_all_labels(weights: Iterable[LabelWeights], shape: tuple[int, int]) -> LabelWeights:
    """Put the weights of the labels side by side; `shape` is (features, labels)."""
    coefficients, intercepts = np.empty(shape, np.float32), np.empty(shape[1])
    for label, one in enumerate(weights):
        coefficients[:, label], intercepts[label] = one.coefficients, one.intercepts
    return LabelWeights(coefficients, intercepts)


def drawn_rows(rows: int, most: int, seed: int = 0) -> NDArray[np.int64]:
    """Return all rows, or as many drawn ones."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
