"""The numbers on disk: float32, float16 or int8 with a scale a row, and what the ranking loses by it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from lightning_cpt.errors import ConfigError

SAMPLE = 2000  # rows whose float32 vectors are kept beside, to measure the loss
QUERIES = 200  # of them
TOP = 10


def store(vectors: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The vectors ``(n, dim)`` as they are written, and for int8 the scale ``(n,)`` that each row is to be taken times.

    An int8 row uses the whole range from -127 to 127 for its own largest number: no other row decides on it, so that
    parts can be written one by one.

    Raises:
        ConfigError: a number is beyond what the type holds.
    """
    if dtype != "int8":
        most, room = float(np.abs(vectors).max(initial=0)), float(np.finfo(dtype).max)
        if most > room:
            raise ConfigError(
                f"--dtype {dtype}: the encoder gives numbers up to {most:.3g}, {dtype} holds {room:.6g}; "
                "take float32 or int8"
            )
        return vectors.astype(dtype), None
    largest = np.abs(vectors).max(axis=1)  # (n,)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(vectors / scales[:, None]).astype(np.int8), scales


def restore(stored: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
    """float32 ``(n, dim)`` of what :func:`store` gave."""
    wide = stored.astype(np.float32)
    return wide if scales is None else wide * scales[:, None]


def sampled(first: int, count: int, rows: int) -> np.ndarray:
    """Which of the ``count`` rows from ``first`` on are in the sample: a function of their places alone."""
    step = max(1, rows // SAMPLE)
    return np.flatnonzero((first + np.arange(count)) % step == 0)


class RankingLoss(NamedTuple):
    """How well the stored vectors rank as the float32 ones do.

    Args:
        recall: share of the float32 top 10 that is in the stored top 10.
        correlation: Spearman's, of all scores of a query.
        queries, rows: among how many it was measured.
    """

    recall: float
    correlation: float
    queries: int
    rows: int

    def __str__(self) -> str:
        return (
            f"recall@{TOP} {self.recall:.4f}, rank correlation {self.correlation:.6f} against float32 "
            f"({self.queries} queries among {self.rows} rows)"
        )


def ranking_loss(exact: np.ndarray, stored: np.ndarray) -> RankingLoss | None:
    """Compare rankings of the sample by itself, each row left out of its own; None where there are too few rows.

    Args:
        exact: float32 ``(m, dim)``.
        stored: the same rows after :func:`store` and :func:`restore`.
    """
    rows = len(exact)
    if rows < 2 * TOP:
        return None
    queries = np.unique(np.linspace(0, rows - 1, min(QUERIES, rows)).astype(np.int64))
    recalls, correlations = [], []
    for query in queries.tolist():
        others = np.arange(rows) != query
        a, b = exact[others] @ exact[query], stored[others] @ stored[query]  # (rows - 1,)
        top = [set(np.argsort(-scores, kind="stable")[:TOP].tolist()) for scores in (a, b)]
        recalls.append(len(top[0] & top[1]) / TOP)
        correlations.append(_spearman(a, b))
    return RankingLoss(float(np.mean(recalls)), float(np.mean(correlations)), len(queries), rows)


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    ranks = [rankdata(scores) for scores in (a, b)]
    if any(np.ptp(rank) == 0 for rank in ranks):  # all scores alike: nothing to rank
        return 1.0 if np.array_equal(*ranks) else 0.0
    return float(np.corrcoef(*ranks)[0, 1])
