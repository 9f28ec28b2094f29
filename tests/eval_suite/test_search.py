"""Streaming search: equal to scoring everything at once, for any blocks, ranks and interruptions."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval_suite import corpus
from eval_suite.bm25 import BM25, BM25Encoder
from eval_suite.corpus import SearchSet, document_text
from eval_suite.errors import EvalError
from eval_suite.faiss_index import search_faiss
from eval_suite.search import Found, search

WORDS = "wing flow heat plate shock layer drag lift jet cone tube gas wave speed mach".split()  # noqa: SIM905


def make_set(documents: int = 45, queries: int = 6, seed: int = 0) -> SearchSet:
    rng = np.random.default_rng(seed)

    def text(n: int) -> str:
        return " ".join(rng.choice(WORDS, n))

    docs = [(f"d{i}", document_text(text(2), text(8))) for i in range(documents)]
    asked = {f"q{i}": text(4) for i in range(queries)}
    judged = {q: {f"d{i}": int(rng.integers(0, 3)) for i in rng.permutation(documents)[:5]} for q in asked}
    return SearchSet(partial(iter, docs), asked, judged)


class Dense:
    """Random unit directions for words: many texts share a word, none is equal."""

    name, fingerprint = "dense", "dense"

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.word = {word: rng.normal(size=24) for word in WORDS}
        self.calls = 0

    def encode(self, texts: list[str], side: str) -> np.ndarray:
        self.calls += 1
        return np.array([sum((self.word[w] for w in t.split()), np.zeros(24)) for t in texts], np.float32)


class Constant(Dense):
    def encode(self, texts: list[str], side: str) -> np.ndarray:
        return np.tile(np.linspace(-1, 1, 384, dtype=np.float32), (len(texts), 1))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "BLOCK", 8)


def same(one: Found, other: Found) -> bool:
    pairs = [(one.scores, other.scores), (one.rows, other.rows), (one.places.above, other.places.above)]
    return all(np.array_equal(a, b) for a, b in pairs) and np.array_equal(
        one.places.level, other.places.level
    )


def test_equals_scoring_everything_at_once() -> None:
    data, encoder = make_set(), Dense()
    found = search(encoder, data, "toy", depth=10)
    queries = encoder.encode(list(data.queries.values()), "x").astype(np.float64)
    docs = encoder.encode([text for _, text in data.documents()], "y").astype(np.float64)
    queries, docs = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, docs))
    scores = (queries @ docs.T).astype(np.float32)
    assert np.array_equal(found.rows, np.argsort(-scores, axis=1, kind="stable")[:, :10])
    assert np.array_equal(found.scores, np.take_along_axis(scores, found.rows, 1))
    assert found.documents == 45


def test_a_stopped_search_goes_on_with_the_same_result(tmp_path: Path) -> None:
    data, whole = make_set(), search(Dense(), make_set(), "toy", depth=10)

    class Dies(Dense):
        def encode(self, texts: list[str], side: str) -> np.ndarray:
            if self.calls == 4:
                raise KeyboardInterrupt
            return super().encode(texts, side)

    with pytest.raises(KeyboardInterrupt):
        search(Dies(), data, "toy", depth=10, work=tmp_path)
    again = Dense()
    assert same(search(again, data, "toy", depth=10, work=tmp_path), whole)
    assert again.calls == 1 + 6 - 3  # the queries, and the blocks that were not kept
    half = next(tmp_path.glob("*.npy"))
    half.write_bytes(half.read_bytes()[:100])  # not written to its end
    assert same(search(Dense(), data, "toy", depth=10, work=tmp_path), whole)
    other = Dense()
    other.fingerprint = "another"
    search(other, data, "toy", depth=10, work=tmp_path)
    assert other.calls == 7


def _on_a_rank(world: int) -> list[Any]:
    import torch.distributed as dist

    corpus.BLOCK = 8
    found = search(Dense(), make_set(), "toy", depth=10, rank=dist.get_rank(), world=world)
    return [found.scores, found.rows, found.places.above, found.places.level]


def test_ranks_share_the_blocks_and_find_the_same(gloo_pool) -> None:  # type: ignore[no-untyped-def]
    alone = search(Dense(), make_set(), "toy", depth=10)
    for found in gloo_pool.run(2, _on_a_rank, 2):
        expected = [alone.scores, alone.rows, alone.places.above, alone.places.level]
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_own_ids_are_dropped_and_counted() -> None:
    data = make_set()
    docs = [*data.documents(), ("q0", data.queries["q0"]), ("q3", data.queries["q3"])]
    data = SearchSet(partial(iter, docs), data.queries, data.qrels)
    kept, dropped = (search(Dense(), data, "toy", depth=10, drop_own_ids=drop) for drop in (False, True))
    assert kept.rows[0, 0] == 45
    assert kept.rows[3, 0] == 46
    assert 45 not in dropped.rows[0]
    assert dropped.rows[0].tolist() == search(Dense(), data, "toy", depth=11).rows[0, 1:].tolist()
    assert (kept.ledger.own_ids, dropped.ledger.own_ids) == (0, 2)


def test_a_constant_encoder_ties_all_documents() -> None:
    found = search(Constant(), make_set(), "toy", depth=10)
    assert found.rows.tolist() == [list(range(10))] * 6
    assert found.places.above.tolist() == [0] * 30
    assert found.places.level.tolist() == [45] * 30


def test_one_query_alone() -> None:
    data = make_set(queries=1)
    assert search(Dense(), data, "toy", depth=3).rows.shape == (1, 3)


def test_bm25_in_blocks_equals_bm25_at_once() -> None:
    data = make_set()
    found = search(BM25Encoder(), data, "toy", depth=45)
    scores = BM25([t for _, t in data.documents()]).score_all(list(data.queries.values())).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")
    assert np.array_equal(found.rows, order)
    assert np.array_equal(found.scores, np.take_along_axis(scores, order, 1))
    assert found.scorer.dim == 0


def test_bm25_has_no_vectors() -> None:
    with pytest.raises(EvalError, match="bm25: has no vectors"):
        BM25Encoder().encode(["a"], "x")


def test_what_does_not_fit_is_said_in_one_line() -> None:
    class Wider(Dense):
        def encode(self, texts: list[str], side: str) -> np.ndarray:
            vectors = super().encode(texts, side)
            return vectors if side == "x" else np.hstack([vectors, vectors])

    class Broken(Dense):
        def encode(self, texts: list[str], side: str) -> np.ndarray:
            return super().encode(texts, side) * (np.nan if side == "y" else 1)

    with pytest.raises(EvalError, match="24 columns on side x, 48 on side y"):
        search(Wider(), make_set(), "toy")
    with pytest.raises(EvalError, match="encoder dense: NaN or infinity for 8 of 8 texts"):
        search(Broken(), make_set(), "toy")
    twice = SearchSet(lambda: iter([("a", "x"), ("a", "y")]), {"q": "wing"}, {"q": {"a": 1}})
    with pytest.raises(EvalError, match="1 document ids are there twice"):
        search(BM25Encoder(), twice, "toy")
    with pytest.raises(EvalError, match="the corpus holds no document"):
        search(Dense(), SearchSet(lambda: iter([]), {"q": "wing"}, {"q": {"a": 1}}), "toy")


def test_faiss_flat_finds_the_same() -> None:
    pytest.importorskip("faiss")
    data = make_set()
    exact, flat = search(Dense(), data, "toy", depth=10), search_faiss(Dense(), data, "toy", "Flat", depth=10)
    assert np.array_equal(exact.rows, flat.rows)
    assert np.allclose(exact.scores, flat.scores, atol=1e-6)
    inside = exact.places.above < 10
    assert np.array_equal(exact.places.above[inside], flat.places.above[inside])
    assert (flat.places.level[~inside] == 0).all()


def test_faiss_gains_nothing_from_a_constant_encoder() -> None:
    pytest.importorskip("faiss")
    places = search_faiss(Constant(), make_set(), "toy", "Flat", depth=10).places
    assert set(places.level.tolist()) <= {0, 45}


def test_faiss_mistakes() -> None:
    pytest.importorskip("faiss")
    with pytest.raises(EvalError, match="index 'Nonsense': no FAISS index"):
        search_faiss(Dense(), make_set(), "toy", "Nonsense")
    with pytest.raises(EvalError, match="bm25 has no vectors for FAISS"):
        search_faiss(BM25Encoder(), make_set(), "toy", "Flat")


def test_a_query_that_is_its_own_judged_document_does_not_find_it() -> None:
    """A tie with another document must not bring the dropped one back."""
    docs = [("q0", "wing flow"), ("d1", "wing flow"), ("d2", "heat plate")]
    data = SearchSet(partial(iter, docs), {"q0": "wing flow"}, {"q0": {"q0": 1, "d2": 1}})
    found = search(Dense(), data, "toy", depth=3, drop_own_ids=True)
    assert found.rows[0].tolist() == [1, 2, -1]
    assert found.places.level.tolist() == [0, 1]
    assert found.places.above[1] == 1
