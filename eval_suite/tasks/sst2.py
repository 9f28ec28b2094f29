"""SST-2 beyond the phrase probe: whole sentences, zero-shot from label texts, and nearest neighbours (paper, section 3.1.1 and Table 3)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval_suite import diagnostics
from eval_suite.encoder import Encoder, encode_texts, facts, symmetric_side
from eval_suite.results import Result
from eval_suite.rng import rng_kept
from eval_suite.stats import bootstrap_interval
from eval_suite.task import Options, Task
from eval_suite.tasks import senteval
from eval_suite.tasks.files import downstream, edition_warnings
from eval_suite.tasks.linear_probe import ProbeTask
from eval_suite.tasks.senteval import Examples, SentEvalTask
from eval_suite.vectors import unit_rows

K = 256
_QUERIES_AT_ONCE = 256
WORDS = ("negative", "positive")
PROMPTS = tuple(f"this is an example of a {word} movie review." for word in WORDS)


@dataclass(frozen=True)
class ZeroShotTask:
    """The label whose text lies nearest by cosine. labels: the texts of label 0, 1, ...

    Where k labels tie for the nearest and the right one is among them, the example counts 1/k: so an encoder that
    returns one vector for everything scores chance. Everything is encoded on the encoder's symmetric side.
    """

    name: str
    source: SentEvalTask
    labels: tuple[str, ...]
    family: str = "zero-shot"

    def protocol(self, options: Options) -> str:
        return f"zero-shot/{self.source.variant}/cosine"

    def sha256(self, data: Path) -> str:
        return self.source.sha256(data)

    def examples(self, data: Path) -> list[tuple[str, ...]]:
        return [(text,) for text in self.source.read(data)["test"].columns[0]]

    def run(self, encoder: Encoder, data: Path, options: Options) -> Result:
        start = time.perf_counter()
        test = self.source.read(data)["test"]
        with rng_kept():
            vectors = encode_texts(
                encoder, [*self.labels, *test.columns[0]], symmetric_side(encoder), options.progress
            )
        encoded = time.perf_counter()
        cosines = unit_rows(vectors[len(self.labels) :]) @ unit_rows(vectors[: len(self.labels)]).T
        scores = cosines.astype(np.float32)  # (n, labels)
        right = nearest_label(scores, test.labels)
        return _record(
            self,
            encoder,
            data,
            options,
            test=test,
            right=right,
            vectors=vectors,
            settings={"label_texts": list(self.labels), "similarity": "cosine", "ties": "an equal share"},
            details={
                "tie_rate": round(float(((scores == scores.max(1, keepdims=True)).sum(1) > 1).mean()), 4)
            },
            times=(start, encoded),
        )


@dataclass(frozen=True)
class NeighboursTask:
    """The commonest label among the k nearest training examples by cosine.

    Equal cosines at the edge of the k: the example earlier in SentEval's order is taken. Equal votes: the label of
    the nearest of the tied labels' examples. Fewer than k training examples: all of them vote.
    """

    name: str
    source: SentEvalTask
    k: int = K
    family: str = "knn"

    def protocol(self, options: Options) -> str:
        return f"knn/{self.source.variant}/cosine/k{self.k}/majority"

    def sha256(self, data: Path) -> str:
        return self.source.sha256(data)

    def examples(self, data: Path) -> list[tuple[str, ...]]:
        return [(text,) for text in self.source.read(data)["test"].columns[0]]

    def run(self, encoder: Encoder, data: Path, options: Options) -> Result:
        start = time.perf_counter()
        parts = self.source.read(data)
        train, test = parts["train"], parts["test"]
        with rng_kept():
            texts = [*train.columns[0], *test.columns[0]]
            vectors = encode_texts(encoder, texts, symmetric_side(encoder), options.progress)
        encoded = time.perf_counter()
        n = len(train.labels)
        predicted, tied = vote(vectors[:n], train.labels, vectors[n:], self.k)
        return _record(
            self,
            encoder,
            data,
            options,
            test=test,
            right=(predicted == test.labels).astype(float),
            vectors=vectors,
            settings={"k": self.k, "similarity": "cosine", "vote": "majority", "ties": "nearest of the tied"},
            details={"tied_votes": tied},
            times=(start, encoded),
            train=n,
        )


def nearest_label(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1 where the right label has the highest score alone, 1/k where k tie for it, else 0: scores (n, labels), (n,)."""
    best = scores == scores.max(axis=1, keepdims=True)  # (n, labels)
    return np.asarray(best[np.arange(len(labels)), labels] / best.sum(axis=1))


def vote(train: np.ndarray, labels: np.ndarray, test: np.ndarray, k: int) -> tuple[np.ndarray, int]:
    """(predicted labels (n_test,), how many votes were tied). train (n, d), labels (n,) >= 0, test (n_test, d)."""
    k, kinds = min(k, len(labels)), int(labels.max()) + 1
    known, predicted, tied = unit_rows(train).astype(np.float32), [], 0
    for start in range(0, len(test), _QUERIES_AT_ONCE):
        asked = unit_rows(test[start : start + _QUERIES_AT_ONCE]).astype(np.float32)
        for scores in asked @ known.T:  # (n,)
            edge = -np.partition(-scores, k - 1)[k - 1]
            above, level = np.flatnonzero(scores > edge), np.flatnonzero(scores == edge)
            rows = np.concatenate([above, level[: k - len(above)]])
            rows = rows[np.argsort(-scores[rows], kind="stable")]  # the nearest first
            votes = np.bincount(labels[rows], minlength=kinds)
            winners = votes == votes.max()
            tied += int(winners.sum() > 1)
            predicted.append(labels[rows][winners[labels[rows]]][0])
    return np.array(predicted), tied


def _record(
    task: ZeroShotTask | NeighboursTask,
    encoder: Encoder,
    data: Path,
    options: Options,
    *,
    test: Examples,
    right: np.ndarray,
    vectors: np.ndarray,
    settings: dict[str, Any],
    details: dict[str, Any],
    times: tuple[float, float],
    train: int | None = None,
) -> Result:
    score = round(100 * float(right.mean()), 2)
    low, high = bootstrap_interval(100 * right, options.seed)
    spread, cut = diagnostics.spread(vectors), diagnostics.truncated_share(encoder, test.columns[0])
    return Result(
        task=task.name,
        family=task.family,
        score=score,
        metric="accuracy",
        scores={"accuracy": score},
        interval=[round(low, 2), round(high, 2)],
        protocol=task.protocol(options),
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        side=symmetric_side(encoder),
        dtype="float32",
        dim=vectors.shape[1],
        seed=options.seed,
        examples={**({"train": train} if train else {}), "test": len(right)},
        data_sha256=task.sha256(data),
        settings=settings,
        details={
            **details,
            "effective_rank": round(spread.effective_rank, 2),
            "mean_cosine": round(spread.mean_cosine, 4),
            "truncated_share": cut,
        },
        warnings=[
            *edition_warnings(downstream(data), task.source.files),
            *diagnostics.collapse_warnings(spread),
            *diagnostics.truncation_warnings(cut, diagnostics.token_limit(encoder)),
        ],
        per_example={"accuracy": right.tolist()},
        model=facts(encoder),
        seconds={
            "encode": round(times[1] - times[0], 2),
            "score": round(time.perf_counter() - times[1], 2),
        },
    )


_PHRASES = senteval.TASKS["SST2"]
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        ProbeTask(senteval.TASKS["SST2-sentences"]),
        ZeroShotTask("SST2-zero-shot", _PHRASES, WORDS),
        ZeroShotTask("SST2-zero-shot-prompt", _PHRASES, PROMPTS),
        NeighboursTask("SST2-knn", _PHRASES),
    )
}
