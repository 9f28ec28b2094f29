"""A search task: reads a search set, searches it, and records nDCG, MRR, recall and precision with what explains them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval_suite import ranking
from eval_suite.bm25 import BM25Encoder, by_words
from eval_suite.corpus import SearchSet
from eval_suite.diagnostics import (
    collapse_warnings,
    side_swap,
    spread,
    swap_warnings,
    tie_warnings,
    token_limit,
    truncated_share,
    truncation_warnings,
)
from eval_suite.encoder import Encoder, facts
from eval_suite.faiss_index import search_faiss
from eval_suite.files import content_sha256
from eval_suite.results import Result
from eval_suite.search import DEPTH, Found, VectorScorer, search
from eval_suite.stats import rounded_intervals
from eval_suite.task import Options
from eval_suite.trec_files import stem, write_trec

METRICS: dict[str, Callable[[ranking.Places], np.ndarray]] = {
    "ndcg@10": lambda p: ranking.ndcg(p, 10),
    "mrr@10": lambda p: ranking.reciprocal_rank(p, 10),
    "recall@20": lambda p: ranking.recall(p, 20),
    "recall@100": lambda p: ranking.recall(p, 100),
    "recall@1000": lambda p: ranking.recall(p, 1000),
    "map@1000": lambda p: ranking.average_precision(p, 1000),
}
_KEPT = ("ndcg@10", "mrr@10")  # beside the main metric, query by query


@dataclass(frozen=True)
class SearchTask:
    """Finds documents for queries by cosine, queries on side "x" and documents on side "y".

    files: the folder the user names -> this set's files, in a fixed order; raises EvalError where they are not.
    read: the same folder -> the set. origin: the form of the data, first part of the protocol's id.
    split: whose judgements count. drop_own_ids: a document with the query's own id is never a hit.
    """

    name: str
    files: Callable[[Path], list[Path]]
    read: Callable[[Path], SearchSet]
    origin: str
    metric: str = "ndcg@10"
    split: str = "test"
    drop_own_ids: bool = False
    family: str = "search"

    def protocol(self, options: Options) -> str:
        """The id of what is measured."""
        own = ["own-ids-dropped"] if self.drop_own_ids else []
        index = [] if options.index == "exact" else [f"faiss-{options.index}"]
        return "/".join([self.origin, self.split, self.metric, *own, *index])

    def sha256(self, data: Path) -> str:
        """One hash over names and contents of the files, gzipped or not."""
        return content_sha256(self.files(data))

    def examples(self, data: Path) -> list[tuple[str, ...]]:
        """The text of each judged query."""
        found = self.read(data)
        return [(found.queries.get(query, ""),) for query in found.qrels]

    def run(self, encoder: Encoder, data: Path, options: Options) -> Result:
        """Raises EvalError for files that are missing or corrupt, and for vectors that do not fit."""
        sha256, found_set = self.sha256(data), self.read(data)
        start = time.perf_counter()
        found = find(encoder, found_set, self.name, options, self.drop_own_ids)
        searched = time.perf_counter()
        if options.trec:
            name = stem(self.name, encoder.fingerprint, self.protocol(options), sha256)
            write_trec(options.trec, name, found_set, found.scores, found.rows)
        scores = {name: metric(found.places) for name, metric in METRICS.items()}
        return search_result(
            encoder,
            self,
            options,
            found_set,
            found,
            scores,
            sha256=sha256,
            settings={"ties": ranking.TIES, "gain": "linear"},
            seconds={
                "search": round(searched - start, 2),
                "metrics": round(time.perf_counter() - searched, 2),
            },
        )


def find(encoder: Encoder, data: SearchSet, name: str, options: Options, drop_own_ids: bool = False) -> Found:
    """Exact search, or FAISS where the options name an index of its."""
    how: dict[str, Any] = {
        "drop_own_ids": drop_own_ids,
        "work": options.work,
        "progress": options.progress,
    }
    if options.index == "exact":
        return search(encoder, data, name, **how)
    return search_faiss(encoder, data, name, options.index, **how)


def search_result(
    encoder: Encoder,
    task: Any,
    options: Options,
    data: SearchSet,
    found: Found,
    scores: dict[str, np.ndarray],
    *,
    sha256: str,
    settings: dict[str, Any],
    seconds: dict[str, float],
) -> Result:
    """The record of a search. scores: metric -> (queries,) in 0..1, in the order of `data.qrels`."""
    asked = np.array(
        [query in data.queries for query in data.qrels]
    )  # a query that was not asked found nothing
    per_query = {name: (values * asked).round(8).tolist() for name, values in scores.items()}
    around = rounded_intervals(per_query, options.seed)
    means = {name: round(100 * float(np.mean(values)), 2) for name, values in per_query.items()}
    details, warnings = explained(encoder, data, found)
    return Result(
        task=task.name,
        family=task.family,
        score=means[task.metric],
        metric=task.metric,
        scores=means,
        interval=around[task.metric],
        protocol=task.protocol(options),
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        side="x/y",
        dtype="float32",
        dim=found.scorer.dim,
        seed=options.seed,
        examples={"queries": len(data.qrels), "documents": found.documents},
        data_sha256=sha256,
        settings=settings | {"depth": DEPTH, "index": options.index, "document": "title text"},
        details={"intervals": around, **details},
        warnings=warnings,
        per_example={name: per_query[name] for name in per_query if name in {task.metric, *_KEPT}},
        model=facts(encoder),
        seconds=seconds,
    )


def explained(encoder: Encoder, data: SearchSet, found: Found) -> tuple[dict[str, Any], list[str]]:
    """What explains a score, and the warnings that follow."""
    judged = found.places.judged
    relevant = np.bincount(judged.query, judged.gain > 0, judged.queries)
    rate = ranking.tie_rate(found.scores, 10)
    details: dict[str, Any] = {
        "similarity": BM25Encoder.name if by_words(encoder) else "cosine",
        "tie_rate": round(rate, 6),
        "own_ids_dropped": found.ledger.own_ids,
        "judged_documents_missing": int((judged.row < 0).sum()),
        "queries_without_text": sum(query not in data.queries for query in data.qrels),
        "queries_without_relevant": int((relevant == 0).sum()) if len(judged.row) else 0,
    }
    warnings = _data_warnings(data, found.documents, details) + data.notes
    warnings += tie_warnings(rate, "queries have equal scores among their first ten and the next")
    if isinstance(found.scorer, VectorScorer):
        more, lines = _vectors_explained(encoder, data, found.scorer, found.ledger.right)
        details, warnings = details | more, warnings + lines
    return details, warnings


def _data_warnings(data: SearchSet, documents: int, details: dict[str, Any]) -> list[str]:
    """One line for each thing that the set lacks."""
    counts = {"queries": len(data.qrels), "documents": documents}
    warnings = [
        f"{counts[what]:,} {what} where the published set has {number:,}: not comparable with published scores"
        for what, number in data.expected.items()
        if counts[what] != number
    ]
    lacks = {
        "judged_documents_missing": "judged documents are not in the corpus: they count as not found",
        "queries_without_text": "judged queries have no text: they count as having found nothing",
        "queries_without_relevant": "queries have no relevant document: they score 0, as trec_eval has it",
    }
    return warnings + [f"{details[what]:,} {line}" for what, line in lacks.items() if details[what]]


def _vectors_explained(
    encoder: Encoder, data: SearchSet, scorer: VectorScorer, right: dict[int, str]
) -> tuple[dict[str, Any], list[str]]:
    """right: some queries' places, each with a relevant document's text."""
    room = spread(scorer.sample)
    details: dict[str, Any] = {
        "effective_rank": round(room.effective_rank, 2),
        "mean_cosine": round(room.mean_cosine, 4),
    }
    warnings = collapse_warnings(room)
    if right:
        texts, order = list(right.values()), list(data.qrels)
        cut = truncated_share(encoder, texts, "y")
        swap = side_swap(encoder, [data.queries.get(order[at], "") for at in right], texts)
        details["truncated_share"] = cut
        details["side_swap"] = {"right": round(100 * swap.right, 2), "swapped": round(100 * swap.swapped, 2)}
        warnings += truncation_warnings(cut, token_limit(encoder, "y")) + swap_warnings(swap)
    return details, warnings
