"""Searches a corpus with an encoder or with BM25: exact, a block at a time, shared by ranks, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from tqdm import tqdm

from eval_suite.bm25 import BM25Stream, by_words
from eval_suite.corpus import BlockVectors, Document, SearchSet, blocks
from eval_suite.encoder import Encoder, encode_texts
from eval_suite.errors import EvalError
from eval_suite.ranking import Judgements, Places, places_of_scores

if TYPE_CHECKING:
    from torch import Tensor

DEPTH = 1000
_SCORES_AT_ONCE = 1 << 22  # bounds one tile of scores: 32 MB in float64
_SWAP_PAIRS = 200
Tile = Callable[[slice], "Tensor"]  # some queries -> their scores for a block, float32 (queries, n)


class Scorer(Protocol):
    """queries: how many. device: where the scores are made. dim: the vectors' width, 0 without vectors."""

    queries: int
    device: str
    dim: int

    def tile(self, texts: list[str]) -> Tile:
        """The scores of a block of documents, made for some queries at a time."""
        ...


class VectorScorer:
    """Cosines, summed in float64 and rounded to float32: equal documents tie exactly, whatever block, BLAS or rank."""

    def __init__(self, encoder: Encoder, queries: list[str], work: Path | None) -> None:
        import torch

        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.query_vectors = encode_texts(encoder, queries, "x")  # (queries, d)
        self.queries, self.dim = self.query_vectors.shape
        self.sample = np.empty((0, self.dim), np.float32)  # of the first block, for diagnostics
        self._name, self._encode = encoder.name, BlockVectors(encoder, "y", work)
        self._unit = self._on_device(self.query_vectors)

    def vectors(self, texts: list[str]) -> np.ndarray:
        """Of documents, float32 (n, d). Raises EvalError where they are not as wide as the queries'."""
        found = self._encode(texts)
        if found.shape[1] != self.dim:
            raise EvalError(
                f"encoder {self._name}: {self.dim} columns on side x, {found.shape[1]} on side y; cosine needs one width"
            )
        if not len(self.sample):
            self.sample = found.copy()
        return found

    def tile(self, texts: list[str]) -> Tile:
        documents = self._on_device(self.vectors(texts)).T  # (d, n)
        return lambda part: (self._unit[part] @ documents).float()

    def _on_device(self, vectors: np.ndarray) -> Tensor:
        """Unit rows in float64; a row of zeros stays zero."""
        import torch

        wide = torch.from_numpy(vectors).to(self.device, torch.float64)
        return wide / wide.norm(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)


class WordScorer:
    """BM25 over the whole corpus, which is read once more for it."""

    device, dim = "cpu", 0

    def __init__(self, data: SearchSet, queries: list[str], name: str) -> None:
        self.queries = len(queries)
        self._bm25 = BM25Stream(queries, (t for block in blocks(data.documents(), name) for _, t in block))

    def tile(self, texts: list[str]) -> Tile:
        import torch

        scores = torch.from_numpy(self._bm25.score_block(texts)).float()  # (queries, n)
        return lambda part: scores[part]


class Ledger:
    """Notes, as the corpus passes, where the judged documents stand and which documents are a query itself.

    right: up to 200 queries (by their place), each with the text of one relevant document, for diagnostics.
    """

    def __init__(self, qrels: dict[str, dict[str, int]], drop_own_ids: bool) -> None:
        self._query = {query: i for i, query in enumerate(qrels)}
        self._pairs: dict[str, list[int]] = {}  # document -> its pairs
        pairs = [(q, d, gain) for q, grades in qrels.items() for d, gain in grades.items()]
        for i, (_, document, _) in enumerate(pairs):
            self._pairs.setdefault(document, []).append(i)
        rows = np.full(len(pairs), -1, np.int64)
        query = np.array([self._query[q] for q, _, _ in pairs], np.int64)
        self.judged = Judgements(query, rows, np.array([gain for *_, gain in pairs], np.int64), len(qrels))
        self._drop, self.own_ids = drop_own_ids, 0
        self.right: dict[int, str] = {}

    def note(self, block: list[Document], first_row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of a block: its pairs, the columns of their documents, and (own ids, 2): query and column to leave out."""
        ids = [i for i, _ in block]
        found = [(pair, at) for at, i in enumerate(ids) for pair in self._pairs.get(i, ())]
        pair, column = np.array(found, np.int64).reshape(-1, 2).T
        self.judged.row[pair] = first_row + column
        for one, at in zip(pair[self.judged.gain[pair] > 0], column[self.judged.gain[pair] > 0], strict=True):
            text = block[at][1]
            if len(self.right) < _SWAP_PAIRS and text and text not in self.right.values():
                self.right.setdefault(int(self.judged.query[one]), text)
        own = [(self._query[i], at) for at, i in enumerate(ids) if i in self._query] if self._drop else []
        self.own_ids += len(own)
        return pair, column, np.array(own, np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class Found:
    """scores: float32 (queries, k), falling; rows: int64 (queries, k), -1 for none. Equal scores stand in corpus order.

    places: where the judged documents stand. documents: in the corpus. ledger: what was noted of the corpus.
    scorer: what scored, with the vectors that diagnostics want.
    """

    scores: np.ndarray
    rows: np.ndarray
    places: Places
    documents: int
    ledger: Ledger
    scorer: Scorer


def search(
    encoder: Encoder,
    data: SearchSet,
    name: str,
    *,
    depth: int = DEPTH,
    drop_own_ids: bool = False,
    work: Path | None = None,
    rank: int = 0,
    world: int = 1,
    progress: bool = False,
) -> Found:
    """The `depth` best documents of every query by cosine, or by BM25 where `encoder` stands for it; exact.

    Queries are encoded on side "x", documents on side "y". drop_own_ids: a document whose id is the query's is
    never a hit (ArguAna and Quora hold the queries themselves). work: a folder for the blocks' vectors; a search
    that was stopped goes on from there with the same result. rank, world: of torch.distributed; each rank encodes
    and scores every world-th block of 1,024 documents, and all return the same.
    Memory: two blocks, one tile of scores and (queries, 2 depth) numbers, whatever the corpus holds.

    Raises EvalError as the encoder and the data's readers do.
    """
    scorer = scorer_of(encoder, data, name, work)
    ledger = Ledger(data.qrels, drop_own_ids)
    best, row = _Best(scorer, ledger, depth), 0
    for number, block in enumerate(passing(data, name, progress)):
        noted = ledger.note(block, row)
        if number % world == rank:
            best.add([text for _, text in block], row, *noted)
        row += len(block)
    return best.found(row, shared=world > 1)


class _Best:
    """The hits so far, and the scores of the judged documents that have passed."""

    def __init__(self, scorer: Scorer, ledger: Ledger, depth: int) -> None:
        import torch

        from eval_suite.topk import no_hits

        self._scorer, self._ledger = scorer, ledger
        self._hits = no_hits(scorer.queries, depth, scorer.device)
        self._own = torch.full((len(ledger.judged.row),), -torch.inf, device=scorer.device)

    def add(self, texts: list[str], row: int, pair: np.ndarray, column: np.ndarray, out: np.ndarray) -> None:
        """One block; row: of its first document. The rest is what `Ledger.note` says of it."""
        from eval_suite.topk import Hits, with_block

        tile = self._scorer.tile(texts)
        query, hits = self._ledger.judged.query[pair], self._hits
        size = max(1, _SCORES_AT_ONCE // len(texts))
        for start in range(0, self._scorer.queries, size):
            part = slice(start, start + size)
            scores = tile(part)  # (queries of the part, n)
            gone = out[(out[:, 0] >= start) & (out[:, 0] < start + size)]
            if len(gone):
                scores = scores.clone()
                scores[gone[:, 0] - start, gone[:, 1]] = -np.inf
            here = (query >= start) & (query < start + size)
            self._own[pair[here]] = scores[query[here] - start, column[here]]
            better = with_block(Hits(hits.keys[part], hits.beyond[part]), scores, row)
            hits.keys[part], hits.beyond[part] = better.keys, better.beyond

    def found(self, documents: int, *, shared: bool) -> Found:
        """shared: over the ranks of torch.distributed."""
        from eval_suite.topk import gathered

        hits, own = gathered(self._hits, self._own) if shared else (self._hits, self._own)
        scores, rows, beyond = (t.cpu().numpy() for t in (hits.scores, hits.rows, hits.beyond))
        places = places_of_scores(scores, beyond, own.cpu().numpy(), self._ledger.judged)
        return Found(scores, rows, places, documents, self._ledger, self._scorer)


def passing(data: SearchSet, name: str, progress: bool) -> Iterator[list[Document]]:
    """The corpus in blocks, under a progress bar."""
    total = data.expected.get("documents")
    with tqdm(total=total, desc=name, unit="doc", leave=False, disable=None if progress else True) as bar:
        for block in blocks(data.documents(), name):
            yield block
            bar.update(len(block))


def scorer_of(encoder: Encoder, data: SearchSet, name: str, work: Path | None) -> Scorer:
    """What scores documents for the judged queries; a query without a text is scored as an empty one."""
    texts = [data.queries.get(query, "") for query in data.qrels]
    return WordScorer(data, texts, name) if by_words(encoder) else VectorScorer(encoder, texts, work)
