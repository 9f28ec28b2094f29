"""Cosines of pairs, and the aggregations of their correlations with human judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from eval_suite.correlation import KINDS, correlation, correlation_interval
from eval_suite.errors import EvalError


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


def correlations(subsets: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """All aggregations of a task's subsets, each by its name; values -1..1.

    subsets: name -> (cosines, judgements), (n,) each. `spearman` and `pearson` are of all pairs pooled into one
    list (SimCSE's and mteb's "all"); `*_mean` is the plain mean of the subsets' correlations and `*_wmean` the mean
    weighted by their numbers of pairs (both SentEval's). A task of one subset has only the pooled ones.
    """
    pooled = pool(subsets)
    found = {kind: correlation(*pooled, kind) for kind in KINDS}
    if len(subsets) > 1:
        sizes = [len(gold) for _, gold in subsets.values()]
        for name in KINDS:
            each = [correlation(cosines, gold, name) for cosines, gold in subsets.values()]
            found |= {
                f"{name}_mean": float(np.mean(each)),
                f"{name}_wmean": float(np.average(each, weights=sizes)),
            }
    return found


def intervals(
    subsets: Mapping[str, tuple[np.ndarray, np.ndarray]], seed: int
) -> dict[str, tuple[float, float]]:
    """The 95 % bootstrap interval of each of `correlations`, by the same names."""
    pooled = pool(subsets)
    found = {kind: correlation_interval(*pooled, kind, seed=seed) for kind in KINDS}
    if len(subsets) > 1:
        label = np.repeat(np.arange(len(subsets)), [len(gold) for _, gold in subsets.values()])
        for kind in KINDS:
            for name, weighted in ((f"{kind}_mean", False), (f"{kind}_wmean", True)):
                found[name] = correlation_interval(*pooled, kind, subsets=label, weighted=weighted, seed=seed)
    return found


def pool(subsets: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """All pairs in one list, in the order of the subsets: (cosines, judgements)."""
    parts: Sequence[tuple[np.ndarray, np.ndarray]] = list(subsets.values())
    return np.concatenate([cosines for cosines, _ in parts]), np.concatenate([gold for _, gold in parts])
