"""Reciprocal ranks of the right document, with ties counted against the model."""

from __future__ import annotations

from typing import Any

import numpy as np

from eval_suite.errors import EvalError
from eval_suite.vectors import unit_rows

_QUERIES_AT_ONCE = 256


def reciprocal_ranks(queries: Any, docs: Any, right: np.ndarray | None = None) -> np.ndarray:
    """1 / rank of each query's right document among all documents, by cosine: (n,) float64.

    queries (n, d), docs (m, d): numpy arrays or torch tensors; they are read as float32. right: (n,), the row of
    each query's document; without it m = n and document i answers query i. Every cosine is
    summed in float64 and then rounded to float32: so equal documents tie exactly, whatever the
    block size, the thread count or the BLAS, and a collapsed encoder gets 1/m, not 1.
    Pessimistic ties, as in CodeSearchNet's evaluation: the right document comes after its equals.
    Raises EvalError for shapes that do not fit and for values that are not finite.
    """
    query, doc = _checked_units(queries, "queries"), _checked_units(docs, "docs")
    if query.shape[1] != doc.shape[1] or (right is None and len(query) != len(doc)):
        raise EvalError(f"queries {query.shape} and docs {doc.shape} must have the same shape (n, d)")
    right = np.arange(len(query)) if right is None else right
    ranks = np.empty(len(query))
    for start in range(0, len(query), _QUERIES_AT_ONCE):
        rows = slice(start, start + _QUERIES_AT_ONCE)
        scores = (query[rows] @ doc.T).astype(np.float32)  # (block, m)
        ranks[rows] = _ranks(scores, right[rows])
    return 1.0 / ranks


def reciprocal_ranks_of_scores(scores: np.ndarray, right: np.ndarray | None = None) -> np.ndarray:
    """The same from ready scores (n queries, m documents): (n,) float64."""
    if scores.ndim != 2 or (right is None and scores.shape[0] != scores.shape[1]):
        raise EvalError(f"scores must be (n, n), one right document a query, not {scores.shape}")
    if not np.isfinite(scores).all():
        raise EvalError("scores hold NaN or infinity")
    return 1.0 / _ranks(scores, np.arange(len(scores)) if right is None else right)


def _ranks(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How many documents score at least as much as the right one, itself included: (queries,)."""
    own = scores[np.arange(len(scores)), right]  # (queries,)
    return (scores >= own[:, None]).sum(axis=1)


def _checked_units(vectors: Any, name: str) -> np.ndarray:
    """Rows of length one in float64, (n, d); a row of zeros stays zero."""
    if hasattr(vectors, "detach"):  # a torch tensor, possibly bfloat16 or on a GPU
        vectors = vectors.detach().float().cpu().numpy()
    array = np.asarray(vectors, dtype=np.float32)
    if array.ndim != 2 or array.size == 0:
        raise EvalError(f"{name} must be (n, d) with n, d > 0, not {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise EvalError(f"{name}: row {row} holds NaN or infinity")
    return unit_rows(array)
