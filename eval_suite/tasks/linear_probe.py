"""SentEval's seven classification tasks: encode, probe, record."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from eval_suite import probe
from eval_suite.encoder import Encoder, encode_texts, facts, symmetric_side
from eval_suite.results import Result
from eval_suite.rng import rng_kept
from eval_suite.stats import bootstrap_interval
from eval_suite.task import Options, Task
from eval_suite.tasks import senteval
from eval_suite.tasks.senteval import Examples, SentEvalTask

FAMILY = "probe"


@dataclass(frozen=True)
class Measured:
    """A finished probe with what the record needs beside it. labels: of the test examples, (n_test,)."""

    probe: probe.ProbeScore
    labels: np.ndarray
    dim: int
    examples: dict[str, int]
    seconds: dict[str, float]


@dataclass(frozen=True)
class ProbeTask:
    """One of SentEval's tasks by its scikit-learn protocol.

    Both texts of a pair are encoded alike, on the encoder's symmetric side ("x" unless it names another).
    """

    source: SentEvalTask
    family: str = FAMILY

    @property
    def name(self) -> str:
        return self.source.name

    def protocol(self, options: Options) -> str:
        return self.source.protocol(options.kfold)

    def sha256(self, data: Path) -> str:
        return self.source.sha256(data)

    def examples(self, data: Path) -> list[tuple[str, ...]]:
        tested = list(self.source.read(data).values())[-1]
        return list(zip(*tested.columns, strict=True))

    def run(self, encoder: Encoder, data: Path, options: Options) -> Result:
        with rng_kept():
            sha256, parts = self.source.sha256(data), self.source.read(data)
            measured = _measure(encoder, self.source, parts, options)
        return record(
            encoder,
            self.name,
            self.protocol(options),
            measured,
            data_sha256=sha256,
            seed=options.seed,
            with_f1=self.name == "MRPC",
        )


def _measure(encoder: Encoder, task: SentEvalTask, parts: dict[str, Examples], options: Options) -> Measured:
    start = time.perf_counter()
    labelled = _features(encoder, parts, options.progress)
    encoded = time.perf_counter()
    how: dict[str, Any] = {"seed": options.seed, "workers": options.workers, "progress": options.progress}
    if task.scheme == "nested":
        score = probe.nested_kfold(labelled["all"], kfold=options.kfold, **how)
    elif task.scheme == "kfold":
        score = probe.kfold_then_test(labelled["train"], labelled["test"], kfold=options.kfold, **how)
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
    """The result record of a finished probe. `dim` is how many features the classifier saw: 2 d for pairs."""
    found, labels = measured.probe, measured.labels
    right = (found.predicted == labels).astype(float)  # (n_test,)
    low, high = bootstrap_interval(100.0 * right, seed)
    scores = {"accuracy": found.score}
    if found.dev_score is not None:
        scores["dev_accuracy"] = found.dev_score
    if with_f1:
        scores["f1"] = round(100 * float(f1_score(labels, found.predicted)), 2)
    return Result(
        task=task,
        family=FAMILY,
        score=found.score,
        metric="accuracy",
        scores=scores,
        interval=[round(low, 2), round(high, 2)],
        protocol=protocol,
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        side=symmetric_side(encoder),
        dtype="float32",
        dim=measured.dim,
        seed=seed,
        examples=measured.examples,
        data_sha256=data_sha256,
        settings={"grid": list(found.grid), "classifier": LogisticRegression(random_state=seed).get_params()},
        details={
            "fold_scores": found.fold_scores,
            "chosen_c": found.chosen_c,
            "n_iter": found.n_iter,
            "grid_edge_hits": found.grid_edge_hits,
        },
        per_example={"accuracy": right.tolist()},
        model=facts(encoder),
        seconds=measured.seconds,
    )


TASKS: dict[str, Task] = {name: ProbeTask(task) for name, task in senteval.TASKS.items()}
