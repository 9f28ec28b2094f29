"""Scores of an encoder on text: SentEval's seven tasks, STS-B by Spearman, SciFact by nDCG@10 with exact search."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from eval_suite.encoder import Encoder, encode_texts, symmetric_side
from eval_suite.run import run_task
from lightning_cpt.errors import ConfigError

SENTEVAL = "raw/senteval"
STSB = "raw/senteval/downstream/STS/STSBenchmark/sts-test.csv"
SCIFACT = "derived/scifact_beir"
_CUT = 10


def text_scores(encoder: Encoder, data: Path, tasks: Sequence[str], *, quick: bool = False) -> dict[str, Any]:
    """All scores, of 100 each; ``average`` is that of the tasks asked for."""
    found: dict[str, Any] = {
        "stsb": stsb(encoder, data / STSB),
        "scifact": scifact(encoder, data / SCIFACT, quick),
    }
    for task in tasks:
        found[task] = run_task(encoder, task, data / SENTEVAL).score
    if tasks:
        found["average"] = float(np.mean([found[task] for task in tasks]))
    return found


def stsb(encoder: Encoder, path: Path) -> float:
    """100 times Spearman's correlation of cosine and judgement on the test pairs.

    Raises:
        ConfigError: no such file.
    """
    _check(path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if len(row) >= 7]
    sides = [encode_texts(encoder, [row[at] for row in rows], symmetric_side(encoder)) for at in (5, 6)]
    cosines = (_unit(sides[0]) * _unit(sides[1])).sum(1)  # (n,)
    return float(100 * spearmanr(cosines, [float(row[4]) for row in rows]).statistic)


def scifact(encoder: Encoder, folder: Path, quick: bool = False) -> float:
    """100 times the mean nDCG@10 of the test claims; with ``quick`` among few documents, which is no score."""
    relevant = read_relevant(folder / "qrels" / "test.tsv")
    queries = {row["_id"]: row["text"] for row in _rows(folder / "queries.jsonl") if row["_id"] in relevant}
    documents = {row["_id"]: f"{row['title']} {row['text']}" for row in _rows(folder / "corpus.jsonl")}
    if quick:
        queries = dict(list(queries.items())[:50])
        documents = {name: documents[name] for query in queries for name in relevant[query]}
    names = list(documents)
    found = _unit(encode_texts(encoder, list(documents.values()), "y"))  # (documents, d)
    asked = _unit(encode_texts(encoder, list(queries.values()), "x"))  # (queries, d)
    best = np.argsort(-(asked @ found.T), axis=1, kind="stable")[:, :_CUT]  # (queries, 10)
    scores = [
        ndcg([relevant[query].get(names[at], 0) for at in row], relevant[query].values())
        for query, row in zip(queries, best.tolist(), strict=True)
    ]
    return float(100 * np.mean(scores))


def ndcg(gains: Sequence[int], ideal: Any) -> float:
    """nDCG of the first ten, gains as judged."""
    best = sorted(ideal, reverse=True)[:_CUT]
    return _discounted(gains[:_CUT]) / _discounted(best) if any(best) else 0.0


def _discounted(gains: Sequence[int]) -> float:
    return float(sum(gain / np.log2(rank + 2) for rank, gain in enumerate(gains)))


def read_relevant(path: Path) -> Mapping[str, dict[str, int]]:
    """Query -> document -> judgement."""
    _check(path)
    relevant: dict[str, dict[str, int]] = defaultdict(dict)
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        query, document, score = line.split("\t")
        relevant[query][document] = int(score)
    return relevant


def _rows(path: Path) -> list[dict[str, str]]:
    _check(path)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _check(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"--data: no {path.name} below the folder that was given ({path.parent.name}/)")


def _unit(vectors: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return scaled
