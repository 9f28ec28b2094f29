"""Correlations of cosines with human judgements, and their bootstrap interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata

from eval_suite.errors import EvalError
from eval_suite.stats import RESAMPLES

_DRAWS_AT_ONCE = 2_000_000  # bounds a block of resamples to about 100 MB


def pair_cosines(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Cosine of row i of u and row i of v, both (n, d): (n,) float32, summed in float64; 0 where a row is zero.

    Rounded to float32 at the end, so that pairs of equal texts tie and do not fall in an order of rounding errors.
    """
    if u.shape != v.shape or u.ndim != 2:
        raise EvalError(f"cosines: shapes {u.shape} and {v.shape} must be the same (n, d)")
    a, b = u.astype(np.float64), v.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)  # (n,)
    dots = np.einsum("nd,nd->n", a, b)
    return np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0).astype(np.float32)


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation, -1..1; 0 where either side is constant or there are fewer than two values."""
    if len(a) < 2 or _constant(a) or _constant(b):
        return 0.0
    x, y = (np.asarray(side, np.float64) - np.mean(side, dtype=np.float64) for side in (a, b))
    scale = np.sqrt((x * x).sum() * (y * y).sum())
    return float(np.clip((x * y).sum() / scale, -1, 1)) if scale > 0 else 0.0


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation, -1..1, ties at their mean rank; 0 where either side is constant."""
    return pearson(rankdata(a), rankdata(b))


def _constant(values: np.ndarray) -> bool:
    return bool((np.asarray(values) == values[0]).all())


def correlations(subsets: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """All aggregations of a task's subsets, each by its name; values -1..1.

    subsets: name -> (cosines, judgements), (n,) each. `spearman` and `pearson` are of all pairs pooled into one
    list (SimCSE's and mteb's "all"); `*_mean` is the plain mean of the subsets' correlations and `*_wmean` the mean
    weighted by their numbers of pairs (both SentEval's). A task of one subset has only the pooled ones.
    """
    pooled = pool(subsets)
    found = {"spearman": spearman(*pooled), "pearson": pearson(*pooled)}
    if len(subsets) > 1:
        sizes = [len(gold) for _, gold in subsets.values()]
        for name, correlation in (("spearman", spearman), ("pearson", pearson)):
            each = [correlation(cosines, gold) for cosines, gold in subsets.values()]
            found |= {
                f"{name}_mean": float(np.mean(each)),
                f"{name}_wmean": float(np.average(each, weights=sizes)),
            }
    return found


def pool(subsets: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """All pairs in one list, in the order of the subsets: (cosines, judgements)."""
    parts: Sequence[tuple[np.ndarray, np.ndarray]] = list(subsets.values())
    return np.concatenate([cosines for cosines, _ in parts]), np.concatenate([gold for _, gold in parts])


def spearman_interval(
    a: np.ndarray, b: np.ndarray, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval (low, high) of Spearman's correlation over 10,000 resamples of the pairs, (n,) each.

    Every resample is ranked anew. Nothing is sorted for that: a value's rank follows from how often the values below
    it were drawn. A resample whose values are all equal counts as 0.
    """
    (group_a, order_a), (group_b, order_b) = _groups(a), _groups(b)
    n, rng = len(group_a), np.random.default_rng(seed)
    found = np.empty(RESAMPLES)
    block = max(1, _DRAWS_AT_ONCE // n)
    for start in range(0, RESAMPLES, block):
        rows = min(block, RESAMPLES - start)
        drawn = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(
            rows, n
        )  # how often each pair was drawn
        ranks = [
            _centred_ranks(counts, group, order) for group, order in ((group_a, order_a), (group_b, order_b))
        ]
        covariance = np.einsum("rn,rn,rn->r", counts, *ranks)
        scale = np.sqrt(np.prod([np.einsum("rn,rn,rn->r", counts, rank, rank) for rank in ranks], axis=0))
        found[start : start + rows] = np.divide(covariance, scale, out=np.zeros(rows), where=scale > 0)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _groups(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(group of each value, (n,): equal values share one and groups ascend; rows in the groups' order, (n,))."""
    _, group = np.unique(values, return_inverse=True)
    return group, np.argsort(group, kind="stable")


def _centred_ranks(counts: np.ndarray, group: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Mean ranks within each resample less their mean: (resamples, n)."""
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    size = np.add.reduceat(counts[:, order], starts, axis=1)  # (resamples, groups)
    rank = np.cumsum(size, axis=1) - (size - 1) / 2
    return np.asarray(rank[:, group] - (counts.shape[1] + 1) / 2)
