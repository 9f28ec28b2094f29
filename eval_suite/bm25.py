"""BM25 over words that are split as a programmer reads them: the lexical opponent of an encoder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from eval_suite.errors import EvalError

_CASE_CHANGE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W\d_]+|\d+")


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

    def __init__(self, docs: Sequence[str], k1: float = 1.5, b: float = 0.75) -> None:
        if not docs:
            raise EvalError("BM25 needs at least one document")
        counts = [Counter(words(doc)) for doc in docs]
        self._column = {word: i for i, word in enumerate(dict.fromkeys(w for c in counts for w in c))}
        frequency = self._count_matrix(counts)  # (n, vocabulary)
        length = np.asarray(frequency.sum(axis=1)).ravel()  # (n,) words
        norm = k1 * (1 - b + b * length / max(length.mean(), 1.0))  # (n,)
        present = np.diff(frequency.tocsc().indptr)  # (vocabulary,) documents that hold the word
        idf = np.log1p((len(docs) - present + 0.5) / (present + 0.5))
        rows = np.repeat(np.arange(len(docs)), np.diff(frequency.indptr))
        tf = frequency.data
        frequency.data = idf[frequency.indices] * tf * (k1 + 1) / (tf + norm[rows])
        self._weights = frequency.T.tocsr()  # (vocabulary, n)

    def scores(self, query: str) -> np.ndarray:
        """The score of every document for one query: (n,) float64."""
        return self.score_all([query])[0]

    def score_all(self, queries: Sequence[str]) -> np.ndarray:
        """The scores for many queries at once: (queries, n) float64. A word counts as often as the query repeats it."""
        return (self._count_matrix([Counter(words(query)) for query in queries]) @ self._weights).toarray()

    def _count_matrix(self, counts: list[Counter[str]]) -> sparse.csr_matrix:
        """Word counts over the documents' vocabulary, (texts, vocabulary); unknown words are left out."""
        known = [[(self._column[w], n) for w, n in count.items() if w in self._column] for count in counts]
        indptr = np.cumsum([0, *map(len, known)])
        indices = np.array([column for row in known for column, _ in row], dtype=np.int64)
        data = np.array([n for row in known for _, n in row], dtype=np.float64)
        return sparse.csr_matrix((data, indices, indptr), shape=(len(counts), len(self._column)))
