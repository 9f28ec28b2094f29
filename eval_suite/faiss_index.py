"""Approximate search with FAISS, for corpora on which exact search takes too long; the extra `search`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eval_suite.corpus import SearchSet
from eval_suite.encoder import Encoder
from eval_suite.errors import EvalError
from eval_suite.ranking import Places, places_in_run
from eval_suite.search import DEPTH, Found, Ledger, VectorScorer, passing, scorer_of
from eval_suite.vectors import unit_rows

_TRAIN = 200_000  # documents at most that an index is trained on: the first of the corpus


def search_faiss(
    encoder: Encoder,
    data: SearchSet,
    name: str,
    index: str,
    *,
    depth: int = DEPTH,
    drop_own_ids: bool = False,
    work: Path | None = None,
    progress: bool = False,
) -> Found:
    """As `search.search` in one process, through the FAISS index of that factory string, such as "HNSW32" or "Flat".

    Only what FAISS returns counts as found. All vectors are held in the index. Scores come from FAISS in float32.

    Raises:
        EvalError: faiss is not installed, the string is none of its indexes, or the encoder is BM25.
    """
    faiss = _faiss()
    scorer = scorer_of(encoder, data, name, work)
    if not isinstance(scorer, VectorScorer):
        raise EvalError(
            f"index {index!r}: encoder {encoder.name} has no vectors for FAISS; use exact search for it"
        )
    ledger = Ledger(data.qrels, drop_own_ids)
    made = _made(faiss, index, scorer.dim)
    waiting: list[np.ndarray] = []
    row, own = 0, []
    for block in passing(data, name, progress):
        *_, out = ledger.note(block, row)
        own += [(int(query), row + int(column)) for query, column in out]
        waiting.append(unit_rows(scorer.vectors([text for _, text in block]), np.float32))
        row += len(block)
        if made.is_trained or sum(map(len, waiting)) >= _TRAIN:
            _add(made, waiting)
    if waiting:
        _add(made, waiting)
    scores, rows = made.search(unit_rows(scorer.query_vectors, np.float32), min(row, depth + drop_own_ids))
    scores, rows = _without(scores, rows, own, depth)
    places = _beyond_the_run(places_in_run(scores, rows, ledger.judged), scores, row)
    return Found(scores, rows, places, row, ledger, scorer)


def _add(index: Any, waiting: list[np.ndarray]) -> None:
    vectors = np.concatenate(waiting)
    waiting.clear()
    if not index.is_trained:
        try:
            index.train(vectors)
        except RuntimeError as error:
            raise EvalError(
                f"index: FAISS cannot train it on {len(vectors)} documents ({_last(error)})"
            ) from error
    index.add(vectors)


def _without(
    scores: np.ndarray, rows: np.ndarray, own: list[tuple[int, int]], depth: int
) -> tuple[np.ndarray, ...]:
    """Take the own ids out and sort equal scores into corpus order; `depth` columns at most."""
    for query, row in own:
        rows[query, rows[query] == row] = -1
    scores = np.where(rows < 0, -np.inf, scores).astype(np.float32)
    order = np.lexsort((rows, -scores), axis=1)[:, :depth]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def _beyond_the_run(places: Places, scores: np.ndarray, documents: int) -> Places:
    """FAISS does not say who else ties with the last one kept: count all other documents, so a constant encoder gains nothing."""
    query = places.judged.query
    kept = np.isfinite(scores).sum(1)
    at_bound = (places.level > 1) & (places.above + places.level == kept[query])
    level = places.level + at_bound * (documents - kept[query])
    return Places(places.judged, places.above, level)


def _made(faiss: Any, index: str, dim: int) -> Any:
    try:
        return faiss.index_factory(dim, index, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise EvalError(
            f"index {index!r}: no FAISS index for {dim} columns ({_last(error)}); try HNSW32"
        ) from error


def _last(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise EvalError(
            f"approximate search needs faiss ({error}); run: pip install 'lightning-cpt[search]'"
        ) from error
    return faiss
