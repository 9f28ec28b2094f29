"""Retrieval metrics against pytrec_eval, and their ties against the mean over all orders."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest

from eval_suite.errors import EvalError
from eval_suite.ranking import (
    Judgements,
    Places,
    average_precision,
    ndcg,
    places_in_run,
    places_of_scores,
    recall,
    reciprocal_rank,
    tie_rate,
)

DOCUMENTS = 400
METRICS: dict[str, tuple[str, Callable[[Places], np.ndarray]]] = {
    "ndcg_cut.10": ("ndcg_cut_10", lambda p: ndcg(p, 10)),
    "ndcg_cut.100": ("ndcg_cut_100", lambda p: ndcg(p, 100)),
    "recall.20": ("recall_20", lambda p: recall(p, 20)),
    "recall.100": ("recall_100", lambda p: recall(p, 100)),
    "map_cut.100": ("map_cut_100", lambda p: average_precision(p, 100)),
    "recip_rank": ("recip_rank", lambda p: reciprocal_rank(p, 100)),
}


def random_run(seed: int, levels: int | None) -> tuple[np.ndarray, np.ndarray, Judgements]:
    """Runs of 100 of 400 documents for 60 queries, in no order; graded judgements, some of documents that are not found."""
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.permutation(DOCUMENTS)[:100] for _ in range(60)])
    scores = rng.normal(size=rows.shape).astype(np.float32)
    if levels:
        scores = np.round(scores * levels) / levels
    pairs = [(q, d) for q in range(60) for d in rng.permutation(DOCUMENTS)[: rng.integers(1, 30)]]
    query, row = np.array(pairs).T
    return scores, rows, Judgements(query, row, rng.integers(-1, 4, len(pairs)), 60)


def referee(scores: np.ndarray, rows: np.ndarray, judged: Judgements, measure: str, key: str) -> np.ndarray:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    qrels: dict[str, dict[str, int]] = {str(q): {} for q in range(judged.queries)}
    for q, d, gain in zip(judged.query, judged.row, judged.gain, strict=True):
        qrels[str(q)][f"d{d}"] = int(gain)
    run = {
        str(q): {f"d{d}": float(s) for d, s in zip(rows[q], scores[q], strict=True)} for q in range(len(rows))
    }
    found = pytrec_eval.RelevanceEvaluator(qrels, {measure}).evaluate(run)
    return np.array([found[str(q)][key] for q in range(len(rows))])


def trec_order(rows: np.ndarray) -> np.ndarray:
    """trec_eval's rule for equal scores: the id as a string, falling."""
    falling = sorted(range(DOCUMENTS), key=lambda d: f"d{d}", reverse=True)
    place = np.empty(DOCUMENTS, np.int64)
    place[falling] = np.arange(DOCUMENTS)
    return place[rows]


@pytest.mark.parametrize("measure", METRICS)
@pytest.mark.parametrize("levels", [None, 2], ids=["untied", "tied"])
def test_equals_pytrec_eval(measure: str, levels: int | None) -> None:
    key, metric = METRICS[measure]
    for seed in range(3):
        scores, rows, judged = random_run(seed, levels)
        places = places_in_run(scores, rows, judged, trec_order(rows) if levels else None)
        expected = referee(scores, rows, judged, measure, key)
        assert metric(places) == pytest.approx(expected, abs=1e-6)
        assert expected.min() < expected.max()


@pytest.mark.parametrize("metric", [ndcg, recall, reciprocal_rank, average_precision])
@pytest.mark.parametrize("k", [2, 4, 6])
def test_ties_are_the_mean_over_all_orders(metric: Callable[[Places, int], np.ndarray], k: int) -> None:
    scores = np.array([[3, 2, 2, 2, 1, 1], [1, 1, 1, 1, 1, 1], [5, 5, 4, 4, 4, 0]], np.float32)
    rows = np.tile(np.arange(6), (3, 1))
    query = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    row, gain = np.array([1, 4, 3, 0, 5, 0, 2, 3]), np.array([1, 3, 2, 1, 2, 0, 1, 1])
    judged = Judgements(query, row, gain, 3)
    orders = np.array(list(permutations(range(6))))
    mean = np.mean(
        [metric(places_in_run(scores, rows, judged, np.tile(o, (3, 1))), k) for o in orders], axis=0
    )
    assert metric(places_in_run(scores, rows, judged), k) == pytest.approx(mean, abs=1e-12)


def test_a_cut_run_knows_of_the_ties_outside() -> None:
    rng = np.random.default_rng(5)
    scores = np.round(rng.normal(size=(20, 50)) * 2).astype(np.float32)
    query, row = np.repeat(np.arange(20), 6), np.concatenate([rng.permutation(50)[:6] for _ in range(20)])
    judged = Judgements(query, row, rng.integers(0, 3, 120), 20)
    whole = places_in_run(scores, np.tile(np.arange(50), (20, 1)), judged)
    falling = -np.sort(-scores, axis=1)
    beyond = (falling[:, 10:] == falling[:, 9:10]).sum(1)
    cut = places_of_scores(falling[:, :10], beyond, scores[query, row], judged)
    assert beyond.max() > 0
    for metric in (ndcg, recall, reciprocal_rank, average_precision):
        assert np.array_equal(metric(cut, 10), metric(whole, 10))


def test_a_constant_encoder_scores_chance_not_one() -> None:
    scores, rows = np.zeros((1, 1000), np.float32), np.arange(1000)[None]
    places = places_in_run(scores, rows, Judgements(np.array([0]), np.array([0]), np.array([1]), 1))
    assert recall(places, 100) == pytest.approx([0.1])
    assert reciprocal_rank(places, 10) == pytest.approx([sum(1 / r for r in range(1, 11)) / 1000])
    assert ndcg(places, 10)[0] < 0.01


def test_queries_and_documents_that_are_missing_count_as_zero() -> None:
    scores, rows = np.array([[2, 1], [0, 0]], np.float32), np.array([[7, 8], [-1, -1]])
    judged = Judgements(np.array([0, 0, 1]), np.array([7, -1, 8]), np.array([1, 1, 1]), 3)
    places = places_in_run(scores, rows, judged)
    assert recall(places, 10).tolist() == [0.5, 0, 0]
    assert reciprocal_rank(places, 10).tolist() == [1, 0, 0]
    assert average_precision(places, 10).tolist() == [0.5, 0, 0]
    assert ndcg(places, 10)[1:].tolist() == [0, 0]


def test_tie_rate_counts_queries_with_level_scores_at_the_top() -> None:
    scores = np.array([[3, 2, 1, 0], [3, 3, 1, 0], [3, 2, 1, 1]], np.float32)
    assert tie_rate(scores, 3) == pytest.approx(2 / 3)
    assert tie_rate(scores, 2) == pytest.approx(1 / 3)
    assert tie_rate(scores[:, :1], 10) == 0.0


def test_a_cut_of_nothing_is_refused() -> None:
    with pytest.raises(EvalError, match="must be 1 or more"):
        ndcg(places_in_run(np.zeros((1, 1)), np.zeros((1, 1), int), Judgements(*np.zeros((3, 1), int), 1)), 0)
