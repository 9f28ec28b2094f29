"""What a result holds for a paired test of one of its metrics, and the test that fits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from eval_suite.correlation import KINDS, correlation, resampled_correlations
from eval_suite.errors import EvalError
from eval_suite.results import Result
from eval_suite.significance import bootstrap_p, mcnemar, randomisation
from eval_suite.stats import RESAMPLES, bootstrap_interval, percentiles

MCNEMAR, RANDOMISATION, BOOTSTRAP = "McNemar, exact", "paired randomisation", "paired bootstrap"


@dataclass(frozen=True)
class Sample:
    """One model's numbers for the n examples of a task, and how they make its score.

    kind: "mean", "spearman" or "pearson". values: (n,) per example; gold: (n,) for a correlation.
    """

    kind: str
    values: np.ndarray
    gold: np.ndarray | None = None

    @property
    def test(self) -> str:
        """The test for two of these."""
        if self.kind != "mean":
            return BOOTSTRAP
        return MCNEMAR if np.isin(self.values, (0.0, 1.0)).all() else RANDOMISATION


@dataclass(frozen=True)
class Difference:
    """a - b in points of a per cent, its interval and the p that it is 0."""

    low: float
    high: float
    p: float
    test: str


def sample_of(result: Result, metric: str | None = None) -> Sample | None:
    """The sample behind `metric` (the main one by default); None where the result has none that explains its score.

    Per-example numbers count only if they give the reported score to within one example: an average over
    subsets, say, is not the mean or the correlation of all examples, and testing that would test something else.
    """
    metric = metric or result.metric
    score, records = result.scores.get(metric, result.score), result.per_example
    if metric in KINDS and records.get("cosine") and records.get("gold"):
        found = Sample(metric, np.array(records["cosine"]), np.array(records["gold"]))
        fits = len(found.values) == len(records["gold"]) and abs(100 * _value(found) - score) <= 0.1
    elif records.get(metric):
        values = np.array(records[metric], dtype=np.float64)
        values = values / 100 if values.max() > 1 else values  # some tasks keep per cents
        found = Sample("mean", values)
        fits = abs(100 * _value(found) - score) <= 0.1 + 100 / len(values)
    else:
        return None
    return found if fits else None


def difference(a: Sample, b: Sample, seed: int = 0, level: float = 0.95) -> Difference:
    """The paired difference of two models on the same examples. Raises EvalError where the examples are not the same."""
    _check([a, b])
    if a.kind == "mean":
        low, high = bootstrap_interval(a.values - b.values, seed, level)
        p, test = _mean_p([a, b], [(0, 1)], seed), _test([a, b])
        return Difference(100 * low, 100 * high, float(p[0]), test)
    draws = _draws([a, b], seed, RESAMPLES)
    gap = draws[0] - draws[1]
    low, high = percentiles(gap, level)
    return Difference(100 * low, 100 * high, bootstrap_p(gap), BOOTSTRAP)


def all_pairs(samples: Sequence[Sample], seed: int = 0, alpha: float = 0.05) -> dict[tuple[int, int], float]:
    """p of the difference of every two of m models, uncorrected: {(i, j): p} with i < j.

    As many resamples as it takes for Holm's smallest threshold, alpha / pairs, to be reachable.
    """
    _check(samples)
    pairs = list(combinations(range(len(samples)), 2))
    if not pairs:
        return {}
    resamples = max(RESAMPLES, int(np.ceil(4 * len(pairs) / alpha)))
    if samples[0].kind == "mean":
        found = _mean_p(samples, pairs, seed, resamples)
    else:
        draws = _draws(samples, seed, resamples)
        found = np.array([bootstrap_p(draws[i] - draws[j]) for i, j in pairs])
    return {pair: float(p) for pair, p in zip(pairs, found, strict=True)}


def _mean_p(
    samples: Sequence[Sample], pairs: Sequence[tuple[int, int]], seed: int, resamples: int = RESAMPLES
) -> np.ndarray:
    values = [sample.values for sample in samples]
    if _test(samples) == MCNEMAR:
        return np.array([mcnemar(values[i], values[j]) for i, j in pairs])
    gaps = np.stack([values[i] - values[j] for i, j in pairs], axis=1)  # (n, pairs)
    return randomisation(gaps, seed, resamples)


def _test(samples: Sequence[Sample]) -> str:
    tests = {sample.test for sample in samples}
    return tests.pop() if len(tests) == 1 else RANDOMISATION


def _draws(samples: Sequence[Sample], seed: int, resamples: int) -> np.ndarray:
    gold: Any = samples[0].gold
    return resampled_correlations(
        [s.values for s in samples], gold, samples[0].kind, seed=seed, resamples=resamples
    )


def _value(sample: Sample) -> float:
    if sample.kind == "mean":
        return float(sample.values.mean())
    return correlation(sample.values, sample.gold, sample.kind)  # type: ignore[arg-type]


def _check(samples: Sequence[Sample]) -> None:
    first = samples[0] if samples else None
    for other in samples[1:]:
        same = first is not None and first.kind == other.kind and first.values.shape == other.values.shape
        if not same or not np.array_equal(_gold(samples[0]), _gold(other)):
            raise EvalError(
                "two results of the same data have different examples; run the task again for both"
            )


def _gold(sample: Sample) -> np.ndarray:
    return np.empty(0) if sample.gold is None else sample.gold
