"""BM25 against the formula, word by word."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eval_suite.bm25 import BM25, words
from eval_suite.errors import EvalError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parse_HTTPResponse2json", ["parse", "http", "response", "2", "json"]),
        ("self._maxValue += x10;", ["self", "max", "value", "x", "10"]),
        ("Élan vital, naïve", ["élan", "vital", "naïve"]),
        ("__init__", ["init"]),
        ("+-*/", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_equals_the_formula() -> None:
    docs = ["read a file", "write_file(file, text)", "sum of a list", ""]
    k1, b, split = 1.5, 0.75, [words(doc) for doc in docs]
    mean = sum(map(len, split)) / len(docs)

    def score(query: str, doc: list[str]) -> float:
        total = 0.0
        for word in words(query):
            df, tf = sum(word in d for d in split), doc.count(word)
            idf = math.log(1 + (len(docs) - df + 0.5) / (df + 0.5))
            total += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(doc) / mean)) if tf else 0.0
        return total

    for query in ["file", "a file a", "unknown", "", "readList"]:
        assert BM25(docs, k1, b).scores(query) == pytest.approx([score(query, doc) for doc in split])


def test_many_queries_at_once_equal_one_by_one() -> None:
    bm25, queries = BM25(["a b c", "b c d", "d"]), ["b", "", "d d a"]
    assert np.array_equal(bm25.score_all(queries), np.stack([bm25.scores(q) for q in queries]))


def test_no_documents() -> None:
    with pytest.raises(EvalError, match="at least one document"):
        BM25([])
