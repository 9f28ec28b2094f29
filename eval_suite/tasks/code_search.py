"""Code search on fixed pools: each query must find its own function; MRR both ways, ties against the encoder."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eval_suite.bm25 import BM25Encoder, by_words
from eval_suite.diagnostics import (
    collapse_warnings,
    side_swap,
    spread,
    swap_warnings,
    tie_rate,
    tie_warnings,
    token_limit,
    truncated_share,
    truncation_warnings,
)
from eval_suite.docstrings import leak_share
from eval_suite.encoder import Encoder, encode_texts, facts
from eval_suite.errors import EvalError
from eval_suite.metrics import reciprocal_ranks
from eval_suite.pool import lexical_ranks
from eval_suite.results import Result
from eval_suite.stats import rounded_intervals
from eval_suite.task import Options
from eval_suite.vectors import unit_rows

TIES = "pessimistic"  # CodeSearchNet's: the right one comes after all that score the same
_MUCH_LEAK = 0.01


@dataclass(frozen=True)
class CodePool:
    """queries: n texts; codes: m functions; right: the place of each query's function; ids: of the functions, m."""

    queries: list[str]
    codes: list[str]
    right: np.ndarray
    ids: list[str]

    @property
    def one_to_one(self) -> bool:
        """Whether every function has one query, so that functions can look for their queries too."""
        return len(self.queries) == len(self.codes) == len(set(self.right.tolist()))


@dataclass(frozen=True)
class PoolTask:
    """read: the folder the user names -> the pools. sha256_of: the same -> a hash of its files, or of the texts.

    origin: the protocol's id. expected: how many queries and documents (functions over all pools) a complete copy
    has. settings: what else has to agree between two scores, such as whether docstrings were taken out.
    """

    name: str
    read: Callable[[Path], list[CodePool]]
    sha256_of: Callable[[Path], str]
    origin: str
    expected: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    family: str = "code-search"
    metric: str = "mrr"

    def protocol(self, options: Options) -> str:
        """The id of what is measured."""
        return f"{self.origin}/mrr"

    def sha256(self, data: Path) -> str:
        """Raises EvalError for missing or corrupt files."""
        return self.sha256_of(Path(data))

    def examples(self, data: Path) -> list[tuple[str, ...]]:
        """Each query, pool by pool."""
        return [(query,) for pool in self.read(Path(data)) for query in pool.queries]

    def run(self, encoder: Encoder, data: Path, options: Options) -> Result:
        """Queries are encoded on side "x", functions on side "y". Raises EvalError as the encoder and `read` do."""
        sha256, pools = self.sha256(data), self.read(Path(data))
        if not pools or not all(pool.queries and pool.codes for pool in pools):
            raise EvalError(
                f"task {self.name}: a pool without queries or functions; copy the set there again"
            )
        start = time.perf_counter()
        ranked = [_rank(encoder, pool, options.progress) for pool in pools]
        searched = time.perf_counter()
        forth = np.concatenate([pool.forth for pool in ranked])
        each = {"mrr": forth, "recall@1": forth == 1, "recall@10": forth >= 1 / 10}
        if all(pool.one_to_one for pool in pools):
            each["mrr_code_to_query"] = np.concatenate([pool.back for pool in ranked])
        around = rounded_intervals(each, options.seed)
        details, warnings = self._explained(encoder, pools, ranked)
        return Result(
            task=self.name,
            family=self.family,
            score=round(100 * float(forth.mean()), 2),
            metric=self.metric,
            scores={name: round(100 * float(values.mean()), 2) for name, values in each.items()},
            interval=around["mrr"],
            protocol=self.protocol(options),
            encoder=encoder.name,
            fingerprint=encoder.fingerprint,
            side="x/y",
            dtype="float32",
            dim=ranked[0].dim,
            seed=options.seed,
            examples=self._counts(pools) | {"pools": len(pools)},
            data_sha256=sha256,
            settings={"ties": TIES, "mrr": "query to code"} | self.settings,
            details={"intervals": around, **details},
            warnings=warnings,
            per_example={"mrr": forth.round(8).tolist()},
            model=facts(encoder),
            seconds={"search": round(searched - start, 2)},
        )

    def _counts(self, pools: Sequence[CodePool]) -> dict[str, int]:
        return {
            "queries": sum(len(pool.queries) for pool in pools),
            "documents": sum(len(pool.codes) for pool in pools),
        }

    def _explained(
        self, encoder: Encoder, pools: Sequence[CodePool], ranked: Sequence[_Ranked]
    ) -> tuple[dict[str, Any], list[str]]:
        queries, right = _pairs(pools)
        leak, counts = leak_share(queries, right), self._counts(pools)
        details: dict[str, Any] = {
            "candidates": [len(pool.codes) for pool in pools],
            "pool_sha256": pool_sha256(pools),
            "query_in_code_share": round(leak, 4),
            "similarity": BM25Encoder.name if by_words(encoder) else "cosine",
        }
        warnings = [
            f"{counts[what]:,} {what} where the published set has {number:,}: not comparable with published scores"
            for what, number in self.expected.items()
            if counts[what] != number
        ]
        wanted = self.settings.get("candidates")
        fewest = min(details["candidates"])
        if wanted and fewest < wanted:
            warnings.append(f"{fewest:,} candidates, not {wanted:,}: the set has no more; an easier pool")
        if leak > _MUCH_LEAK:
            warnings.append(f"{100 * leak:.1f} % of the functions still hold their query word for word")
        if by_words(encoder):
            return details, warnings
        room, ties = spread(ranked[0].codes), float(np.mean([pool.ties for pool in ranked]))
        cut = truncated_share(encoder, right, "y")
        swap = side_swap(encoder, *_once(queries, right))
        details |= {
            "effective_rank": round(room.effective_rank, 2),
            "mean_cosine": round(room.mean_cosine, 4),
            "tie_rate": round(ties, 6),
            "truncated_share": cut,
            "side_swap": {"right": round(100 * swap.right, 2), "swapped": round(100 * swap.swapped, 2)},
        }
        longest = token_limit(encoder, "y")
        found = collapse_warnings(room) + tie_warnings(ties) + truncation_warnings(cut, longest)
        return details, warnings + found + swap_warnings(swap)


@dataclass(frozen=True)
class _Ranked:
    """Reciprocal ranks of one pool, query to code and (where one to one) back; ties: share of level scores."""

    forth: np.ndarray
    back: np.ndarray
    ties: float
    dim: int
    codes: np.ndarray


def pool_sha256(pools: Sequence[CodePool]) -> str:
    """A hash of the functions' ids in their order, pool by pool: equal ones mean the same pools."""
    return hashlib.sha256(json.dumps([pool.ids for pool in pools]).encode()).hexdigest()


def _rank(encoder: Encoder, pool: CodePool, progress: bool) -> _Ranked:
    back = np.empty(0)
    of_code = np.argsort(pool.right)  # the query of each function, where they go one to one
    if by_words(encoder):
        forth = lexical_ranks(pool.queries, pool.codes, pool.right)
        if pool.one_to_one:
            back = lexical_ranks(pool.codes, pool.queries, of_code)
        return _Ranked(forth, back, 0.0, 0, np.empty((0, 0), np.float32))
    queries = encode_texts(encoder, pool.queries, "x", progress)  # (n, d)
    codes = encode_texts(encoder, pool.codes, "y", progress)  # (m, d)
    forth = reciprocal_ranks(queries, codes, pool.right)
    if pool.one_to_one:
        back = reciprocal_ranks(codes, queries, of_code)
    return _Ranked(forth, back, _ties(queries, codes), codes.shape[1], codes)


def _ties(queries: np.ndarray, codes: np.ndarray) -> float:
    """Share of level scores, over 64 queries."""
    return tie_rate((queries[:64].astype(np.float64) @ unit_rows(codes).T).astype(np.float32))


def _pairs(pools: Sequence[CodePool]) -> tuple[list[str], list[str]]:
    """Every query beside its function."""
    queries = [query for pool in pools for query in pool.queries]
    return queries, [pool.codes[at] for pool in pools for at in pool.right]


def _once(queries: Sequence[str], codes: Sequence[str]) -> tuple[list[str], list[str]]:
    """The pairs with each function once."""
    by_code = {code: query for query, code in reversed(list(zip(queries, codes, strict=True)))}
    return list(by_code.values()), list(by_code)
