"""Retrieval: metrics against pytrec_eval on the same runs, and exact search of two million passages in bounded memory."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import common
from eval_suite.corpus import SearchSet
from eval_suite.ranking import (
    Judgements,
    average_precision,
    ndcg,
    places_in_run,
    recall,
    reciprocal_rank,
)
from eval_suite.search import search
from lightning_cpt.errors import ConfigError

_MEASURES = {
    "ndcg@10": ("ndcg_cut.10", "ndcg_cut_10", lambda p: ndcg(p, 10)),
    "mrr": ("recip_rank", "recip_rank", lambda p: reciprocal_rank(p, 1000)),
    "recall@100": ("recall.100", "recall_100", lambda p: recall(p, 100)),
    "map@1000": ("map_cut.1000", "map_cut_1000", lambda p: average_precision(p, 1000)),
}
_DIM = 384
_TOP = 100
_CHECKED = 20  # queries whose hits are compared with scoring every passage plainly


@dataclass(frozen=True)
class Sizes:
    """queries, depth: of the run that is measured. passages, asked: of the corpus and its queries."""

    queries: int = 10_000
    depth: int = 1_000
    passages: int = 2_000_000
    asked: int = 1_000


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure, print both tables and return their figures. arguments: quick, json, fresh, repetitions, threads."""
    sizes = Sizes(200, 100, 20_000, 50) if arguments.quick else Sizes()
    record = common.Record(
        arguments.json,
        "evaluation_retrieval",
        {**vars(sizes), "threads": arguments.threads},
        fresh=arguments.fresh,
    )
    memory = record.once("memory", lambda: _in_a_process(sizes))
    run_, judged = _random_run(sizes)
    qrels, dicts = _dicts(run_, judged)
    sides = {"own": lambda: _own(run_, judged), "pytrec_eval": lambda: _pytrec(qrels, dicts)}
    common.alternate(record, sides, arguments.repetitions, lambda what, s: common.say(f"{what}: {s:.2f} s"))
    times = {name: common.summary(record.runs(name)) for name in sides}
    summary = {
        "seconds": times,
        "ratio": times["pytrec_eval"]["median"] / times["own"]["median"],
        "largest_difference": _difference(run_, judged, qrels, dicts),
        "memory": memory,
    }
    record.finish(summary)
    _print(sizes, summary)
    return summary


def _print(sizes: Sizes, summary: dict[str, Any]) -> None:
    rows = [[name, t["median"], t["low"], t["high"]] for name, t in summary["seconds"].items()]
    print(f"\n{len(_MEASURES)} metrics, {sizes.queries:,} queries x {sizes.depth:,} documents")
    print(common.table(["engine", "median s", "low", "high"], rows))
    print(f"ratio {summary['ratio']:.1f}, largest difference of a query {summary['largest_difference']:.1e}")
    m = summary["memory"]
    print(f"\ntop {_TOP} for {sizes.asked:,} queries of {sizes.passages:,} passages of {_DIM} columns")
    print(
        f"peak memory {m['peak_gb']:.2f} GB ({m['before_gb']:.2f} GB before the search), {m['seconds']:.0f} s, "
        f"{m['equal']} of {m['checked']} checked queries equal to scoring every passage"
    )


def _random_run(sizes: Sizes) -> tuple[tuple[np.ndarray, np.ndarray], Judgements]:
    """Scores and rows of a run, and about twenty graded judgements a query, half of them retrieved."""
    rng = np.random.default_rng(0)
    documents = 10 * sizes.depth
    rows = np.stack([rng.permutation(documents)[: sizes.depth] for _ in range(sizes.queries)])
    scores = rng.normal(size=rows.shape).astype(np.float32)
    half = rng.integers(0, sizes.depth, (sizes.queries, 10))
    picked = np.hstack([np.take_along_axis(rows, half, 1), rng.integers(0, documents, half.shape)])
    pairs = np.unique(np.stack([np.repeat(np.arange(sizes.queries), 20), picked.ravel()]), axis=1)
    return (scores, rows), Judgements(*pairs, rng.integers(0, 4, pairs.shape[1]), sizes.queries)


def _own(run_: tuple[np.ndarray, np.ndarray], judged: Judgements) -> float:
    start = time.perf_counter()
    places = places_in_run(*run_, judged)
    for *_, metric in _MEASURES.values():
        metric(places)
    return time.perf_counter() - start


def _dicts(run_: tuple[np.ndarray, np.ndarray], judged: Judgements) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same in pytrec_eval's dictionaries; to build them is not counted."""
    scores, rows = run_
    qrels: dict[str, dict[str, int]] = {str(q): {} for q in range(judged.queries)}
    for q, d, gain in zip(judged.query, judged.row, judged.gain, strict=True):
        qrels[str(q)][str(d)] = int(gain)
    lists = zip(rows.tolist(), scores.tolist(), strict=True)
    return qrels, {str(q): dict(zip(map(str, r), s, strict=True)) for q, (r, s) in enumerate(lists)}


def _pytrec(qrels: dict[str, Any], dicts: dict[str, Any]) -> float:
    start = time.perf_counter()
    _evaluated(qrels, dicts)
    return time.perf_counter() - start


def _evaluated(qrels: dict[str, Any], dicts: dict[str, Any]) -> dict[str, dict[str, float]]:
    try:
        import pytrec_eval
    except ImportError as error:
        raise ConfigError(
            f"the referee is missing ({error}); run: pip install pytrec-eval-terrier"
        ) from error
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {measure for measure, *_ in _MEASURES.values()})
    found: dict[str, dict[str, float]] = evaluator.evaluate(dicts)
    return found


def _difference(
    run_: tuple[np.ndarray, np.ndarray], judged: Judgements, qrels: dict[str, Any], dicts: dict[str, Any]
) -> float:
    """The largest one of any query and metric; queries with two equal float32 scores are ordered by nobody's rule and left out."""
    scores, _ = run_
    untied = (np.diff(np.sort(scores, axis=1), axis=1) > 0).all(1)
    places, found = places_in_run(*run_, judged), _evaluated(qrels, dicts)
    differences = [
        np.abs(metric(places) - [found[str(q)][key] for q in range(judged.queries)])[untied].max()
        for _, key, metric in _MEASURES.values()
    ]
    return float(max(differences))


class Generated:
    """An encoder that draws each text's vector from a generator seeded by the text: its number."""

    name, fingerprint = "generated", "generated"

    def encode(self, texts: list[str], side: str) -> np.ndarray:
        """float32 (len(texts), 384), the same for a text every time, whatever stands beside it."""
        keys = np.array([int(text) for text in texts], np.uint64)[:, None] * np.uint64(_DIM + 1)
        bits = keys + np.arange(_DIM, dtype=np.uint64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
            bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
        bits ^= bits >> np.uint64(31)
        uniform: np.ndarray = (bits >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
        return uniform


def _in_a_process(sizes: Sizes) -> dict[str, Any]:
    """The search in a process of its own, so that its peak is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory, (sizes,))


def _memory(sizes: Sizes) -> dict[str, Any]:
    def documents() -> Iterator[tuple[str, str]]:
        return ((str(i), str(i)) for i in range(sizes.passages))

    queries = {f"q{i}": str(sizes.passages + i) for i in range(sizes.asked)}
    data = SearchSet(documents, queries, {q: {} for q in queries}, {"documents": sizes.passages})
    before, start = _peak(), time.perf_counter()
    found = search(Generated(), data, "passages", depth=_TOP, progress=True)
    seconds, peak = time.perf_counter() - start, _peak()
    checked = min(_CHECKED, sizes.asked)
    return {
        "before_gb": before,
        "peak_gb": peak,
        "seconds": seconds,
        "checked": checked,
        "equal": int((found.rows[:checked] == _plainly(sizes, checked)).all(1).sum()),
    }


def _plainly(sizes: Sizes, checked: int) -> np.ndarray:
    """The same hits by scoring every passage and sorting: (checked, 100)."""
    encoder = Generated()

    def unit(first: int, last: int) -> np.ndarray:
        vectors = encoder.encode([str(i) for i in range(first, last)], "y").astype(np.float64)
        normed: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return normed

    queries = unit(sizes.passages, sizes.passages + checked)
    blocks = range(0, sizes.passages, 10_000)
    scores = np.hstack(
        [(queries @ unit(at, min(at + 10_000, sizes.passages)).T).astype(np.float32) for at in blocks]
    )
    return np.argsort(-scores, axis=1, kind="stable")[:, :_TOP]


def _peak() -> float:
    """Peak resident memory of this program, in GB; ru_maxrss would count the process that started it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """As a program of its own."""
    parser = common.parser("evaluation_retrieval", __doc__, repetitions=3)
    run(parser.parse_args())


if __name__ == "__main__":
    common.run(main)
