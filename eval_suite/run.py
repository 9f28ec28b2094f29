"""Runs one task on one encoder: read, encode, probe, record."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from eval_suite import probe
from eval_suite.encoder import Encoder, encode_texts, symmetric_side
from eval_suite.errors import EvalError
from eval_suite.results import Result
from eval_suite.rng import rng_kept
from eval_suite.stats import bootstrap_interval
from eval_suite.tasks.senteval import Examples, SentEvalTask, find_task

KFOLD = 10  # the setting of the published tables; the engine's own default is 5


@dataclass(frozen=True)
class Measured:
    """A finished probe with what the record needs beside it. labels: of the test examples, (n_test,)."""

    probe: probe.ProbeScore
    labels: np.ndarray
    dim: int
    examples: dict[str, int]
    seconds: dict[str, float]


def run_task(
    encoder: Encoder,
    task_name: str,
    data: Path | str,
    *,
    kfold: int = KFOLD,
    seed: int = probe.SEED,
    workers: int | None = None,
    progress: bool = False,
) -> Result:
    """Score `encoder` on one of SentEval's seven tasks by SentEval's scikit-learn protocol.

    data: the folder that holds `downstream`, or `downstream` itself. kfold: folds at every level.
    workers: processes for the probe, one per core by default; the digits do not depend on it.
    All tasks are symmetric: both texts of a pair are encoded alike, on the encoder's symmetric side ("x"
    unless it names another). Python's, numpy's and torch's global generators are left as they were.
    Raises EvalError for an unknown task, missing data, or vectors of a wrong shape or with NaN.
    """
    task = find_task(task_name)
    with rng_kept():
        sha256, parts = task.sha256(Path(data)), task.read(Path(data))
        measured = _measure(encoder, task, parts, kfold, seed, workers, progress)
    return record(
        encoder,
        task.name,
        task.protocol(kfold),
        measured,
        data_sha256=sha256,
        seed=seed,
        with_f1=task.name == "MRPC",
    )


def _measure(
    encoder: Encoder,
    task: SentEvalTask,
    parts: dict[str, Examples],
    kfold: int,
    seed: int,
    workers: int | None,
    progress: bool,
) -> Measured:
    start = time.perf_counter()
    labelled = _features(encoder, parts, progress)
    encoded = time.perf_counter()
    how: dict[str, Any] = {"seed": seed, "workers": workers, "progress": progress}
    if task.scheme == "nested":
        score = probe.nested_kfold(labelled["all"], kfold=kfold, **how)
    elif task.scheme == "kfold":
        score = probe.kfold_then_test(labelled["train"], labelled["test"], kfold=kfold, **how)
    else:
        score = probe.split(labelled["train"], labelled["dev"], labelled["test"], **how)
    seconds = {"encode": round(encoded - start, 2), "probe": round(time.perf_counter() - encoded, 2)}
    test = list(labelled.values())[-1]
    sizes = {part: len(examples.labels) for part, examples in parts.items()}
    return Measured(score, test.labels, test.features.shape[1], sizes, seconds)


def _features(encoder: Encoder, parts: dict[str, Examples], progress: bool) -> dict[str, probe.Labelled]:
    """Part -> its features: u for single texts, |u - v| beside u * v for pairs. All parts are encoded in one go."""
    texts = [text for part in parts.values() for column in part.columns for text in column]
    vectors = encode_texts(encoder, texts, symmetric_side(encoder), progress)
    features, start = {}, 0
    for name, part in parts.items():
        n = len(part.labels)
        columns = [
            vectors[start + i * n : start + (i + 1) * n] for i in range(len(part.columns))
        ]  # (n, d) each
        start += n * len(columns)
        features[name] = probe.Labelled(columns[0] if len(columns) == 1 else _pair(*columns), part.labels)
    return features


def _pair(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.concatenate([np.abs(u - v), u * v], axis=1)  # (n, 2 d)


def record(
    encoder: Encoder,
    task: str,
    protocol: str,
    measured: Measured,
    *,
    data_sha256: str,
    seed: int,
    with_f1: bool = False,
) -> Result:
    """The result record of a finished probe."""
    found, labels = measured.probe, measured.labels
    low, high = bootstrap_interval(100.0 * (found.predicted == labels), seed)
    return Result(
        task=task,
        score=found.score,
        dev_score=found.dev_score,
        f1=round(100 * f1_score(labels, found.predicted), 2) if with_f1 else None,
        metric="accuracy",
        protocol=protocol,
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        side=symmetric_side(encoder),
        dtype="float32",
        dim=measured.dim,
        seed=seed,
        examples=measured.examples,
        interval=[round(low, 2), round(high, 2)],
        fold_scores=found.fold_scores,
        grid=list(found.grid),
        chosen_c=found.chosen_c,
        n_iter=found.n_iter,
        grid_edge_hits=found.grid_edge_hits,
        data_sha256=data_sha256,
        classifier=LogisticRegression(random_state=seed).get_params(),
        seconds=measured.seconds,
    )


def texts_sha256(texts: Sequence[str], labels: Sequence[Any]) -> str:
    """A hash of data that came as lists, not as files."""
    if len(texts) != len(labels):
        raise EvalError(f"{len(texts)} texts but {len(labels)} labels; give one label a text")
    return hashlib.sha256(json.dumps([list(texts), [str(x) for x in labels]]).encode()).hexdigest()
