"""Reciprocal ranks: exact, pessimistic on ties, blind to block sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eval_suite import metrics
from eval_suite.errors import EvalError
from eval_suite.metrics import reciprocal_ranks, reciprocal_ranks_of_scores


def test_equals_a_ranking_by_hand() -> None:
    queries = np.array([[1, 0], [0, 1], [1, 1]])
    docs = np.array([[2, 1], [1, 0], [3, 3]])
    # query 0: d1 > d0 > d2; query 1: d2 > d0 > d1; query 2: d2 first
    assert reciprocal_ranks(queries, docs).tolist() == [1 / 2, 1 / 3, 1]


def test_equals_sorting_on_random_vectors() -> None:
    rng = np.random.default_rng(0)
    q, d = rng.normal(size=(2, 300, 20)).astype(np.float32)
    q, d = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (q, d))
    order = np.argsort(-(q.astype(np.float64) @ d.T.astype(np.float64)), axis=1)
    expected = 1 / (1 + np.argmax(order == np.arange(300)[:, None], axis=1))
    assert np.array_equal(reciprocal_ranks(q, d), expected)


def test_a_collapsed_encoder_gets_the_worst_rank_not_the_best() -> None:
    row = np.random.default_rng(0).normal(size=384).astype(np.float32)
    assert reciprocal_ranks(np.tile(row, (301, 1)), np.tile(row, (301, 1))).tolist() == [1 / 301] * 301


def test_equal_documents_tie_wherever_they_stand() -> None:
    rng = np.random.default_rng(1)
    docs = np.repeat(rng.normal(size=(101, 96)), 3, axis=0).astype(np.float32)
    noise = rng.normal(size=docs.shape).astype(np.float32) * 0.01
    assert reciprocal_ranks(docs + noise, docs).tolist() == [1 / 3] * 303


def test_block_size_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    q, d = np.random.default_rng(2).normal(size=(2, 50, 8))
    whole = reciprocal_ranks(q, d)
    monkeypatch.setattr(metrics, "_QUERIES_AT_ONCE", 7)
    assert np.array_equal(reciprocal_ranks(q, d), whole)


def test_torch_and_numpy_agree_also_from_bfloat16() -> None:
    q, d = torch.randn(2, 40, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert np.array_equal(reciprocal_ranks(q, d), reciprocal_ranks(q.float().numpy(), d.float().numpy()))


def test_ready_scores() -> None:
    scores = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [3.0, 4.0, 2.0]])
    assert reciprocal_ranks_of_scores(scores).tolist() == [1 / 2, 1, 1 / 3]


def test_bad_vectors_are_named() -> None:
    good, bad = np.ones((3, 2)), np.array([[1.0, 1.0], [np.nan, 1.0], [1.0, 1.0]])
    with pytest.raises(EvalError, match="docs: row 1"):
        reciprocal_ranks(good, bad)
    with pytest.raises(EvalError, match="same shape"):
        reciprocal_ranks(good, good[:2])
    with pytest.raises(EvalError, match="NaN"):
        reciprocal_ranks_of_scores(np.full((2, 2), np.nan))
