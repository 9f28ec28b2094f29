"""Code search on a pool: each docstring must find its own function among all the functions of the pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval_suite.bm25 import BM25
from eval_suite.metrics import reciprocal_ranks, reciprocal_ranks_of_scores

_QUERIES_AT_ONCE = 512


@dataclass(frozen=True)
class PoolScore:
    """mrr: mean reciprocal rank, 0..1. reciprocal_ranks: (n,) float64, one per query, for paired tests."""

    mrr: float
    reciprocal_ranks: np.ndarray


def code_search(query_vectors: Any, code_vectors: Any) -> PoolScore:
    """Query i (row i, (n, d)) against all n codes, code i being right; cosine, pessimistic ties."""
    return _score(reciprocal_ranks(query_vectors, code_vectors))


def lexical_search(queries: Sequence[str], codes: Sequence[str]) -> PoolScore:
    """The same pool and the same tie rule for BM25 on the texts."""
    return _score(lexical_ranks(queries, codes, np.arange(len(queries))))


def lexical_ranks(queries: Sequence[str], codes: Sequence[str], right: np.ndarray) -> np.ndarray:
    """Reciprocal ranks by BM25; right: the place of each query's code. (queries,) float64."""
    bm25, found = BM25(codes), []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        part = slice(start, start + _QUERIES_AT_ONCE)
        found.append(reciprocal_ranks_of_scores(bm25.score_all(queries[part]), right[part]))
    return np.concatenate(found)


def _score(ranks: np.ndarray) -> PoolScore:
    return PoolScore(float(ranks.mean()), ranks)
