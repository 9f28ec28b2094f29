"""Correlations and their bootstrap: pairs are resampled, and all resamples are ranked without sorting any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval_suite.errors import EvalError
from eval_suite.stats import DRAWS_AT_ONCE, RESAMPLES, Values, finite, percentiles

KINDS = ("spearman", "pearson")


def correlation(x: Values, gold: Values, kind: str = "spearman") -> float:
    """Spearman's (average ranks for ties) or Pearson's correlation, -1..1, of n pairs; 0 where one side is constant."""
    columns, target = _checked([x], gold, kind)
    return float(_correlations(columns, target, kind, np.ones((1, len(target))))[0, 0])


def correlation_interval(
    x: Values,
    gold: Values,
    kind: str = "spearman",
    *,
    subsets: Sequence[int] | np.ndarray | None = None,
    weighted: bool = False,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval (low, high) of the correlation of x with gold, (n,) each; see `resampled_correlations`."""
    draws = resampled_correlations([x], gold, kind, subsets=subsets, weighted=weighted, seed=seed)
    return percentiles(draws[0], level)


def resampled_correlations(
    columns: Sequence[Values],
    gold: Values,
    kind: str = "spearman",
    *,
    subsets: Sequence[int] | np.ndarray | None = None,
    weighted: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> np.ndarray:
    """The correlation of each of m columns (n,) with gold (n,) in the same `resamples` resamples: (m, resamples).

    The columns share their resamples, so the difference of two rows is a paired bootstrap of two models.
    subsets: None for one correlation over all pairs (the pooled score). Else the subset of each pair, (n,): the
    statistic is the mean of the subsets' correlations (weighted: by their sizes), resampled within each.
    A resample in which one side is constant counts 0. Raises EvalError for shapes that do not fit, NaN or an unknown kind.
    """
    matrix, target = _checked(columns, gold, kind)
    rng = np.random.default_rng(seed)
    if subsets is None:
        return _draws(matrix, target, kind, rng, resamples)
    label = np.asarray(subsets)
    if label.shape != target.shape:
        raise EvalError(f"correlation: {len(target)} pairs but subsets of shape {label.shape}; one a pair")
    names, sizes = np.unique(label, return_counts=True)
    weights = sizes / sizes.sum() if weighted else np.full(len(names), 1 / len(names))
    parts = [_draws(matrix[:, label == s], target[label == s], kind, rng, resamples) for s in names]
    total: np.ndarray = sum(w * part for w, part in zip(weights, parts, strict=True))
    return total


@dataclass(frozen=True)
class _Ranker:
    """Average ranks of one column in resamples that are given as counts: the column is sorted once, not each resample.

    order: the rows by value; starts: where each different value begins in that order; group: row -> its value's number.
    """

    order: np.ndarray
    starts: np.ndarray
    group: np.ndarray

    @classmethod
    def of(cls, column: np.ndarray) -> _Ranker:
        _, group, sizes = np.unique(column, return_inverse=True, return_counts=True)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return cls(np.argsort(column, kind="stable"), starts, group)

    def ranks(self, counts: np.ndarray) -> np.ndarray:
        """counts: how often each row was drawn, (block, n); the ranks are centred: (block, n), exact halves."""
        same = np.add.reduceat(counts[:, self.order], self.starts, axis=1)  # (block, values)
        middle = np.cumsum(same, axis=1) - (same - 1) / 2  # the average rank of each value
        centred: np.ndarray = middle[:, self.group] - (counts.shape[1] + 1) / 2
        return centred


def _draws(
    columns: np.ndarray, gold: np.ndarray, kind: str, rng: np.random.Generator, resamples: int
) -> np.ndarray:
    n = len(gold)
    block = max(1, DRAWS_AT_ONCE // n)
    draws = np.empty((len(columns), resamples))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(0, n, (rows, n)) + np.arange(rows)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)
        draws[:, start : start + rows] = _correlations(columns, gold, kind, counts)
    return draws


def _correlations(columns: np.ndarray, gold: np.ndarray, kind: str, counts: np.ndarray) -> np.ndarray:
    """columns (m, n), gold (n,), counts (block, n): the weighted correlations (m, block)."""
    centre = _centred_values if kind == "pearson" else _centred_ranks
    y = centre(gold, counts)  # (block, n)
    wy = counts * y
    yy = np.einsum("ij,ij->i", wy, y)
    found = np.empty((len(columns), len(counts)))
    for row, column in zip(found, columns, strict=True):
        x = centre(column, counts)
        xx, xy = np.einsum("ij,ij,ij->i", counts, x, x), np.einsum("ij,ij->i", wy, x)
        norm = np.sqrt(xx * yy)
        row[:] = np.where(norm > 1e-9, xy / np.maximum(norm, 1e-9), 0.0)
    return found


def _centred_ranks(column: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return _Ranker.of(column).ranks(counts)


def _centred_values(column: np.ndarray, counts: np.ndarray) -> np.ndarray:
    spread = np.ptp(column)
    unit = (column - column.mean()) / (spread if spread > 0 else 1.0)
    return unit[None, :] - (counts @ unit / counts.shape[1])[:, None]


def _checked(columns: Sequence[Values], gold: Values, kind: str) -> tuple[np.ndarray, np.ndarray]:
    if kind not in KINDS:
        raise EvalError(f"unknown correlation {kind!r}; known: {', '.join(KINDS)}")
    target, rows = finite(gold), [finite(column) for column in columns]
    for row in rows:
        if row.shape != target.shape:
            raise EvalError(
                f"correlation: {len(row)} scores but {len(target)} gold values; pair them one to one"
            )
    return np.stack(rows), target
