"""SentEval's seven classification tasks: encode, probe, record."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from eval_suite import diagnostics, probe
from eval_suite.encoder import Encoder, encode_texts, facts, symmetric_side
from eval_suite.errors import EvalError, did_you_mean
from eval_suite.probe_fast import TOLERANCE
from eval_suite.results import Result
from eval_suite.rng import rng_kept
from eval_suite.stats import bootstrap_interval
from eval_suite.task import Options, Task
from eval_suite.tasks import senteval
from eval_suite.tasks.files import downstream, edition_warnings
from eval_suite.tasks.senteval import Examples, SentEvalTask
from eval_suite.vectors import unit_rows

FAMILY = "probe"
FEATURES = ("raw", "unit", "standard")
_SOLVERS = {"exact": "logreg", "fast": "logreg-fast"}


@dataclass(frozen=True)
class Diagnosis:
    """What explains the score. truncated: share of the texts that were cut, None where unknown."""

    spread: diagnostics.Spread
    truncated: float | None


@dataclass(frozen=True)
class Measured:
    """A finished probe with what the record needs beside it. labels: of the test examples, (n_test,)."""

    probe: probe.ProbeScore
    labels: np.ndarray
    dim: int
    examples: dict[str, int]
    seconds: dict[str, float]
    seen: Diagnosis | None = None


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
        """Raises EvalError as `check_options` does."""
        check_options(options)
        return self.source.protocol(options.kfold, _SOLVERS[options.probe], options.features)

    def sha256(self, data: Path) -> str:
        return self.source.sha256(data)

    def examples(self, data: Path) -> list[tuple[str, ...]]:
        tested = list(self.source.read(data).values())[-1]
        return list(zip(*tested.columns, strict=True))

    def run(self, encoder: Encoder, data: Path, options: Options) -> Result:
        protocol = self.protocol(options)
        with rng_kept():
            sha256, parts = self.source.sha256(data), self.source.read(data)
            measured = measure(encoder, self.source.scheme, parts, options)
        return record(
            encoder,
            self.name,
            protocol,
            measured,
            data_sha256=sha256,
            seed=options.seed,
            with_f1=self.name == "MRPC",
            features=options.features,
            fast=options.probe == "fast",
            notes=edition_warnings(downstream(data), self.source.files),
        )


def check_options(options: Options) -> None:
    """Raises EvalError for options that name no probe or no features, or fewer than two folds."""
    if options.features not in FEATURES:
        raise EvalError(f"features {options.features!r}: {did_you_mean(options.features, FEATURES)}")
    if options.probe not in _SOLVERS:
        raise EvalError(f"probe {options.probe!r}: {did_you_mean(options.probe, _SOLVERS)}")
    if options.kfold < 2:
        raise EvalError(f"kfold {options.kfold}: must be 2 or more")


def measure(encoder: Encoder, scheme: str, parts: dict[str, Examples], options: Options) -> Measured:
    """Encode all parts, probe by the scheme, and keep what explains the score."""
    start = time.perf_counter()
    labelled, vectors = features_of(encoder, parts, options.progress)
    encoded = time.perf_counter()
    score = run_probe(scheme, scaled(labelled, options.features), options)
    seconds = {"encode": round(encoded - start, 2), "probe": round(time.perf_counter() - encoded, 2)}
    test = list(labelled.values())[-1]
    sizes = {part: len(examples.labels) for part, examples in parts.items()}
    texts = [text for part in parts.values() for column in part.columns for text in column]
    seen = Diagnosis(
        diagnostics.spread(vectors),
        diagnostics.truncated_share(encoder, texts),
    )
    return Measured(score, test.labels, test.features.shape[1], sizes, seconds, seen)


def run_probe(scheme: str, parts: dict[str, probe.Labelled], options: Options) -> probe.ProbeScore:
    """The scheme's probe on ready features: part -> features and labels."""
    how: dict[str, Any] = {"seed": options.seed, "workers": options.workers, "progress": options.progress}
    how["fitter"] = {"exact": probe.ExactFitter, "fast": probe.FastFitter}[options.probe]
    if scheme == "nested":
        return probe.nested_kfold(parts["all"], kfold=options.kfold, **how)
    if scheme == "kfold":
        return probe.kfold_then_test(parts["train"], parts["test"], kfold=options.kfold, **how)
    return probe.split(parts["train"], parts["dev"], parts["test"], **how)


def scaled(parts: dict[str, probe.Labelled], features: str) -> dict[str, probe.Labelled]:
    """The features as the classifier sees them.

    "raw": as encoded. "unit": every row of length 1. "standard": every column less its mean and over its deviation in
    the first part: the training part, or all examples where folds are cut from them. No label is used for it.
    """
    if features == "unit":
        return {
            name: probe.Labelled(unit_rows(part.features, np.float32), part.labels)
            for name, part in parts.items()
        }
    if features == "standard":
        first = next(iter(parts.values())).features.astype(np.float64)
        mean, deviation = first.mean(axis=0), first.std(axis=0)  # (d,)
        deviation[deviation < 1e-12] = 1.0
        return {
            name: probe.Labelled(((part.features - mean) / deviation).astype(np.float32), part.labels)
            for name, part in parts.items()
        }
    return parts


def features_of(
    encoder: Encoder, parts: dict[str, Examples], progress: bool
) -> tuple[dict[str, probe.Labelled], np.ndarray]:
    """Part -> its features (u for single texts, |u - v| beside u * v for pairs), and all vectors, encoded in one go."""
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
    return features, vectors


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
    features: str = "raw",
    fast: bool = False,
    notes: Sequence[str] = (),
) -> Result:
    """The result record of a finished probe. `dim` is how many features the classifier saw: 2 d for pairs."""
    found, labels = measured.probe, measured.labels
    right = (found.predicted == labels).astype(float)  # (n_test,)
    low, high = bootstrap_interval(100.0 * right, seed, folds=found.folds)
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
        settings={"grid": list(found.grid), "features": features, "classifier": _classifier(seed, fast)},
        details={
            "fold_scores": found.fold_scores,
            "chosen_c": found.chosen_c,
            "n_iter": found.n_iter,
            "grid_edge_hits": found.grid_edge_hits,
            **_explained(measured.seen),
        },
        warnings=[*notes, *_warnings(encoder, measured)],
        per_example={"accuracy": right.tolist()},
        model=facts(encoder),
        seconds=measured.seconds,
    )


def _classifier(seed: int, fast: bool) -> dict[str, Any]:
    if fast:
        return {"solver": "batched truncated Newton, warm along the grid", "tol": TOLERANCE, "penalty": "l2"}
    params: dict[str, Any] = LogisticRegression(random_state=seed).get_params()
    return params


def _explained(seen: Diagnosis | None) -> dict[str, Any]:
    if seen is None:
        return {}
    return {
        "effective_rank": round(seen.spread.effective_rank, 2),
        "mean_cosine": round(seen.spread.mean_cosine, 4),
        "truncated_share": seen.truncated,
    }


def _warnings(encoder: Encoder, measured: Measured) -> list[str]:
    found, seen, lines = measured.probe, measured.seen, []
    last = sum(c == found.grid[-1] for c in found.chosen_c)
    if len(found.grid) > 1 and 2 * last > len(found.chosen_c):
        lines.append(
            f"the best C was the last of the grid, {found.grid[-1]:g}, for {last} of {len(found.chosen_c)} classifiers: "
            "the features are small for this grid; features=standard is another protocol that scales them"
        )
    if seen:
        lines += diagnostics.collapse_warnings(seen.spread)
        lines += diagnostics.truncation_warnings(seen.truncated, diagnostics.token_limit(encoder))
    return lines


TASKS: dict[str, Task] = {name: ProbeTask(senteval.TASKS[name]) for name in senteval.SEVEN}
