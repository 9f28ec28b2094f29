"""Bootstrap intervals for a mean and for the mean of paired differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval_suite.errors import EvalError

RESAMPLES = 10_000
_DRAWS_AT_ONCE = 2_000_000  # bounds the memory of one block of resamples to about 32 MB

Values = np.ndarray | Sequence[float]


def bootstrap_interval(values: Values, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval (low, high) of the mean of `values` (n,), from 10,000 resamples.

    The generator is local, so the same arguments give the same interval and nothing global moves.
    Raises EvalError for no values, or for values that are not finite.
    """
    sample = _checked(values)
    means = _resampled_means(sample, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_bootstrap(a: Values, b: Values, seed: int = 0, level: float = 0.95) -> tuple[float, float, float]:
    """(mean of a - b, low, high) for two scores of the same examples, (n,) each, in the same order."""
    first, second = _checked(a), _checked(b)
    if first.shape != second.shape:
        raise EvalError(f"paired bootstrap: {len(first)} and {len(second)} values; pair them one to one")
    difference = first - second
    low, high = bootstrap_interval(difference, seed, level)
    return float(difference.mean()), low, high


def _resampled_means(sample: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    n = len(sample)
    block = max(1, _DRAWS_AT_ONCE // n)
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, block):
        rows = min(block, RESAMPLES - start)
        means[start : start + rows] = sample[rng.integers(0, n, (rows, n))].mean(axis=1)
    return means


def _checked(values: Values) -> np.ndarray:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0:
        raise EvalError(f"bootstrap: a list of at least one value is needed, not shape {sample.shape}")
    if not np.isfinite(sample).all():
        raise EvalError("bootstrap: the values hold NaN or infinity; drop or fix those examples first")
    return sample
