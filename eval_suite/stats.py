"""Bootstrap intervals for a mean, for a mean over folds and for the mean of paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from eval_suite.errors import EvalError

RESAMPLES = 10_000
DRAWS_AT_ONCE = 2_000_000  # bounds the memory of one block of resamples to about 32 MB

Values = np.ndarray | Sequence[float]


def bootstrap_interval(
    values: Values, seed: int = 0, level: float = 0.95, folds: Values | None = None
) -> tuple[float, float]:
    """Percentile interval (low, high) of the mean of `values` (n,), from 10,000 resamples (Efron 1979).

    folds: the fold of each value, (n,). The score is then the mean of the folds' means, as in cross-validation, and
    resampling stays within each fold. The interval is about new examples for the classifiers that were trained;
    it does not hold what other training examples would change (no unbiased estimate of that exists for k folds:
    Bengio and Grandvalet 2004).
    The generator is local, so the same arguments give the same interval and nothing global moves.
    Raises EvalError for no values, for values that are not finite, or for folds of another length.
    """
    sample, rng = finite(values), np.random.default_rng(seed)
    if folds is None:
        means = _resampled_means(sample, rng)
    else:
        means = np.mean([_resampled_means(part, rng) for part in _parts(sample, np.asarray(folds))], axis=0)
    return percentiles(means, level)


def rounded_intervals(values: Mapping[str, Values], seed: int = 0) -> dict[str, list[float]]:
    """Name -> 95 % interval of the mean of its values, (n,) in 0..1 each, in per cent with two decimals."""
    found = {name: bootstrap_interval(100 * finite(each), seed) for name, each in values.items()}
    return {name: [round(low, 2), round(high, 2)] for name, (low, high) in found.items()}


def paired_bootstrap(a: Values, b: Values, seed: int = 0, level: float = 0.95) -> tuple[float, float, float]:
    """(mean of a - b, low, high) for two scores of the same examples, (n,) each, in the same order."""
    first, second = finite(a), finite(b)
    if first.shape != second.shape:
        raise EvalError(f"paired bootstrap: {len(first)} and {len(second)} values; pair them one to one")
    difference = first - second
    low, high = bootstrap_interval(difference, seed, level)
    return float(difference.mean()), low, high


def percentiles(draws: np.ndarray, level: float) -> tuple[float, float]:
    """The middle `level` of the resampled statistics `draws` (resamples,): (low, high)."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def finite(values: Values) -> np.ndarray:
    """`values` as float64 (n,). Raises EvalError for another shape, no values, NaN or infinity."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0:
        raise EvalError(f"bootstrap: a list of at least one value is needed, not shape {sample.shape}")
    if not np.isfinite(sample).all():
        raise EvalError("bootstrap: the values hold NaN or infinity; drop or fix those examples first")
    return sample


def _parts(sample: np.ndarray, folds: np.ndarray) -> list[np.ndarray]:
    if folds.shape != sample.shape:
        raise EvalError(f"bootstrap: {len(sample)} values but folds of shape {folds.shape}; one fold a value")
    return [sample[folds == fold] for fold in np.unique(folds)]


def _resampled_means(sample: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    n = len(sample)
    block = max(1, DRAWS_AT_ONCE // n)
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, block):
        rows = min(block, RESAMPLES - start)
        means[start : start + rows] = sample[rng.integers(0, n, (rows, n))].mean(axis=1)
    return means
