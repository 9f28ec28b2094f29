"""Paired tests between two models on the same examples, and Holm's correction for many of them."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

from eval_suite.errors import EvalError
from eval_suite.stats import DRAWS_AT_ONCE, RESAMPLES, Values, finite

_EXACT = 13  # up to so many examples all 2^n signs are tried


def mcnemar(a: Values, b: Values) -> float:
    """Two-sided exact p of McNemar's test (1947): a, b are right (1) or wrong (0) for the same n examples.

    Under the null each example on which only one model is right is a fair coin: min(1, 2 P(X <= the fewer)).
    Raises EvalError for other values or lengths.
    """
    first, second = finite(a), finite(b)
    if first.shape != second.shape or not np.isin([first, second], [0, 1]).all():
        raise EvalError("McNemar's test needs two lists of 0 and 1 of equal length")
    only_a, only_b = int((first > second).sum()), int((second > first).sum())
    return float(min(1.0, 2 * binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)))


def randomisation(differences: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """Two-sided p that the mean of each column is 0, by flipping signs (Fisher 1935): (tests,) for (n, tests).

    Under the null the two models are exchangeable in each example. Exact for 13 examples or fewer, else from
    `resamples` random flips, shared by the tests, with p = (1 + as extreme) / (1 + flips).
    Raises EvalError for another shape, NaN or infinity.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] == 0 or not np.isfinite(values).all():
        raise EvalError("randomisation test: finite differences (examples, tests) are needed")
    n, total = values.shape[0], values.sum(axis=0)  # (tests,)
    limit = np.abs(total) - 1e-9 * np.abs(values).sum(axis=0)  # rounding must not part equal sums
    if n <= _EXACT:
        flips = (np.arange(2**n)[:, None] >> np.arange(n)) & 1  # (2^n, n)
        return (np.abs(2 * flips @ values - total) >= limit).mean(axis=0)
    rng, extreme, block = np.random.default_rng(seed), np.zeros(values.shape[1]), max(1, DRAWS_AT_ONCE // n)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        raw = np.frombuffer(rng.bytes(rows * -(-n // 8)), np.uint8).reshape(rows, -1)
        flips = np.unpackbits(raw, axis=1)[:, :n].astype(np.float64)
        extreme += (np.abs(2 * flips @ values - total) >= limit).sum(axis=0)
    p: np.ndarray = (1 + extreme) / (1 + resamples)
    return p


def bootstrap_p(draws: np.ndarray) -> float:
    """Two-sided p that a difference is 0, from its resampled values `draws` (resamples,).

    The smallest level at which the percentile interval leaves out 0: 2 min(P(<= 0), P(>= 0)), never under 2 / (1 + resamples).
    """
    fewer = min((draws <= 0).sum(), (draws >= 0).sum())
    return float(min(1.0, 2 * (1 + fewer) / (1 + len(draws))))


def holm(p: Values) -> np.ndarray:
    """Holm's step-down correction (1979) for k tests: adjusted p (k,); under 0.05 keeps the family's error at 5 %."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * values[order]))
    return adjusted
