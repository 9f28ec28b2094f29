"""Correlations of subsets and pools against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from eval_suite import similarity
from eval_suite.errors import EvalError


def sample(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 6, n).astype(float)  # many ties
    return np.round(gold / 5 + rng.normal(size=n), 1), gold


def test_the_aggregations_are_three_numbers() -> None:
    subsets = {"a": sample(60, 1), "b": (sample(20, 2)[0] + 5, sample(20, 2)[1])}
    each = [stats.spearmanr(*pair).statistic for pair in subsets.values()]
    found = similarity.correlations(subsets)
    assert found["spearman_mean"] == pytest.approx(np.mean(each))
    assert found["spearman_wmean"] == pytest.approx((60 * each[0] + 20 * each[1]) / 80)
    pooled = [np.concatenate(side) for side in zip(*subsets.values(), strict=True)]
    assert found["spearman"] == pytest.approx(stats.spearmanr(*pooled).statistic)
    assert found["pearson"] == pytest.approx(stats.pearsonr(*pooled).statistic)
    assert len({round(v, 6) for k, v in found.items() if "spearman" in k}) == 3
    assert set(similarity.correlations({"only": sample(30)})) == {"spearman", "pearson"}


def test_cosines_of_zero_rows_are_zero_and_equal_pairs_tie() -> None:
    rng = np.random.default_rng(0)
    u = rng.normal(size=(50, 33)).astype(np.float32)
    assert len(set(similarity.pair_cosines(u, u).tolist())) == 1
    v = u.copy()
    v[0] = 0
    assert similarity.pair_cosines(u, v)[0] == 0.0
    with pytest.raises(EvalError, match="must be the same"):
        similarity.pair_cosines(u, u[:3])


def test_every_aggregation_has_an_interval_around_it() -> None:
    rng = np.random.default_rng(0)
    gold = {name: rng.normal(size=n) for name, n in (("a", 60), ("b", 90))}
    subsets = {name: (one + rng.normal(size=len(one)), one) for name, one in gold.items()}
    scores, around = similarity.correlations(subsets), similarity.intervals(subsets, seed=1)
    assert around.keys() == scores.keys()
    assert all(around[name][0] < scores[name] < around[name][1] for name in scores)
