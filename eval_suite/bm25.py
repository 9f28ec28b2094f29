"""BM25 over words that are split as a programmer reads them: the lexical opponent of an encoder."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
from scipy import sparse

from eval_suite.errors import EvalError

_CASE_CHANGE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W\d_]+|\d+")
K1, B = 1.5, 0.75


def words(text: str) -> list[str]:
    """Lower-cased words, split at underscores, between letters and digits and at changes of case.

    >>> words("parseHTTPResponse2_json(x)")
    ['parse', 'http', 'response', '2', 'json', 'x']
    """
    return [word.lower() for word in _WORD.findall(_CASE_CHANGE.sub(" ", text))]


class BM25:
    """Okapi BM25 (Robertson and Zaragoza 2009) with the never-negative idf ln(1 + (N - df + 1/2) / (df + 1/2)).

    docs: the n texts to rank. k1: how soon repeats of a word stop counting; b: how much length counts.
    The weights of all words in all documents are one sparse matrix, so scoring is one product.
    """

    def __init__(self, docs: Sequence[str], k1: float = K1, b: float = B) -> None:
        if not docs:
            raise EvalError("BM25 needs at least one document")
        counts = [Counter(words(doc)) for doc in docs]
        self._column = _columns(counts)
        frequency = _count_matrix(counts, self._column)  # (n, vocabulary)
        length = np.asarray(frequency.sum(axis=1)).ravel()  # (n,) words
        present = np.diff(frequency.tocsc().indptr)  # (vocabulary,) documents that hold the word
        _weigh(frequency, length, _idf(len(docs), present), length.mean(), k1, b)
        self._weights = frequency.T.tocsr()  # (vocabulary, n)

    def scores(self, query: str) -> np.ndarray:
        """The score of every document for one query: (n,) float64."""
        return self.score_all([query])[0]

    def score_all(self, queries: Sequence[str]) -> np.ndarray:
        """The scores for many queries at once: (queries, n) float64. A word counts as often as the query repeats it."""
        counted = _count_matrix([Counter(words(query)) for query in queries], self._column)
        return (counted @ self._weights).toarray()


class BM25Stream:
    """The same scores for documents that come in blocks: they are read twice, and never held together.

    queries: fixed; only their words are counted, so memory does not grow with the corpus. docs: the whole
    corpus, read once here for document frequencies and the mean length.
    """

    def __init__(self, queries: Sequence[str], docs: Iterable[str], k1: float = K1, b: float = B) -> None:
        self._k1, self._b = k1, b
        counts = [Counter(words(query)) for query in queries]
        self._column = _columns(counts)
        self._queries = _count_matrix(counts, self._column)  # (queries, vocabulary)
        present, total, n = np.zeros(len(self._column), np.int64), 0, 0
        for doc in docs:
            found = words(doc)
            total, n = total + len(found), n + 1
            present[[self._column[word] for word in set(found) if word in self._column]] += 1
        if not n:
            raise EvalError("BM25 needs at least one document")
        self._idf, self._mean = _idf(n, present), total / n

    def score_block(self, docs: Sequence[str]) -> np.ndarray:
        """The scores of a block of the corpus for every query: (queries, n) float64."""
        split = [words(doc) for doc in docs]
        frequency = _count_matrix([Counter(doc) for doc in split], self._column)
        length = np.array([len(doc) for doc in split], np.float64)
        _weigh(frequency, length, self._idf, self._mean, self._k1, self._b)
        return (self._queries @ frequency.T).toarray()


class BM25Encoder:
    """Stands where an encoder stands in search and code search; it ranks by words and has no vectors."""

    name = "bm25"
    fingerprint = hashlib.sha256(f"bm25 {K1} {B} {_CASE_CHANGE.pattern} {_WORD.pattern}".encode()).hexdigest()
    by_words = True

    @property
    def facts(self) -> dict[str, float]:
        """What a result says of the model."""
        return {"parameters": 0, "k1": K1, "b": B}

    def encode(self, texts: list[str], side: str) -> NoReturn:
        """Raises EvalError: there is nothing to give."""
        raise EvalError(
            "encoder bm25: has no vectors, it ranks documents by words; use it on search and code search"
        )


def by_words(encoder: Any) -> bool:
    """Whether it stands for BM25, wrapped or not, and is to be asked for scores in place of vectors."""
    return bool(getattr(encoder, "by_words", False))


def _idf(n: int, present: np.ndarray) -> np.ndarray:
    idf: np.ndarray = np.log1p((n - present + 0.5) / (present + 0.5))
    return idf


def _weigh(
    frequency: sparse.csr_matrix, length: np.ndarray, idf: np.ndarray, mean: float, k1: float, b: float
) -> None:
    """Turn word counts (n, vocabulary) into BM25's weights, in place."""
    norm = k1 * (1 - b + b * length / max(mean, 1.0))  # (n,)
    rows = np.repeat(np.arange(len(length)), np.diff(frequency.indptr))
    tf = frequency.data
    frequency.data = idf[frequency.indices] * tf * (k1 + 1) / (tf + norm[rows])


def _columns(counts: list[Counter[str]]) -> dict[str, int]:
    return {word: i for i, word in enumerate(dict.fromkeys(w for c in counts for w in c))}


def _count_matrix(counts: list[Counter[str]], column: dict[str, int]) -> sparse.csr_matrix:
    """Word counts over a vocabulary, (texts, vocabulary); words outside it are left out."""
    known = [[(column[w], n) for w, n in count.items() if w in column] for count in counts]
    indptr = np.cumsum([0, *map(len, known)])
    indices = np.array([at for row in known for at, _ in row], dtype=np.int64)
    data = np.array([n for row in known for _, n in row], dtype=np.float64)
    return sparse.csr_matrix((data, indices, indptr), shape=(len(counts), len(column)))
