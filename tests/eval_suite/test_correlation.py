"""Correlations: scipy's digits, the same in every resample, intervals that cover, differences of two models."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from eval_suite.correlation import correlation, correlation_interval, resampled_correlations
from eval_suite.errors import EvalError

TRUE = 6 / np.pi * np.arcsin(0.7 / 2)  # Spearman's correlation of two normal variables with Pearson 0.7


def pairs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return x, 0.7 * x + np.sqrt(1 - 0.49) * rng.normal(size=n)


def test_one_correlation_is_scipys_with_and_without_ties() -> None:
    x, y = pairs(300, 0)
    for gold in (y, np.round(y * 2) / 2):
        assert correlation(x, gold) == pytest.approx(stats.spearmanr(x, gold).statistic, abs=1e-12)
        assert correlation(x, gold, "pearson") == pytest.approx(stats.pearsonr(x, gold).statistic, abs=1e-12)


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_each_resample_is_what_sorting_it_would_give(kind: str) -> None:
    x, y = pairs(57, 1)
    gold = np.round(y)
    found = resampled_correlations([x, -x], gold, kind, seed=3, resamples=20)
    drawn = np.random.default_rng(3).integers(0, 57, (20, 57))
    reference = stats.spearmanr if kind == "spearman" else stats.pearsonr
    expected = [reference(x[rows], gold[rows]).statistic for rows in drawn]
    np.testing.assert_allclose(found[0], expected, atol=1e-12)
    np.testing.assert_allclose(found[1], -found[0], atol=1e-12)  # the same resamples


@pytest.mark.parametrize("weighted", [False, True])
def test_subsets_are_resampled_apart_and_averaged(weighted: bool) -> None:
    x, y = pairs(400, 2)
    subsets = np.repeat([0, 1], [300, 100])
    y[300:] = -y[300:]  # pooled they would nearly cancel
    parts = [correlation(x[subsets == s], y[subsets == s]) for s in (0, 1)]
    expected = np.average(parts, weights=[3, 1] if weighted else None)
    low, high = correlation_interval(x, y, subsets=subsets, weighted=weighted)
    assert low < expected < high
    assert high - low < 0.15


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """200 samples of 120 pairs; 95 % would miss 10, and the percentile interval is known to miss a little more."""
    missed = 0
    for seed in range(200):
        x, y = pairs(120, seed)
        draws = resampled_correlations([x], y, seed=seed, resamples=400)[0]
        low, high = np.quantile(draws, [0.025, 0.975])
        missed += not low <= TRUE <= high
    assert 3 <= missed <= 20


def test_a_constant_encoder_has_no_correlation() -> None:
    gold = np.arange(10.0)
    for kind in ("spearman", "pearson"):
        assert correlation(np.ones(10), gold, kind) == 0.0
        assert correlation_interval(np.full(10, 0.3), gold, kind) == (0.0, 0.0)
    assert correlation([1.0], [2.0]) == 0.0


def test_bad_input_is_one_line() -> None:
    with pytest.raises(EvalError, match="3 scores but 2 gold"):
        correlation([1, 2, 3], [1, 2])
    with pytest.raises(EvalError, match="NaN"):
        correlation([1, float("nan")], [1, 2])
    with pytest.raises(EvalError, match="unknown correlation 'kendall'"):
        correlation([1, 2], [1, 2], "kendall")
    with pytest.raises(EvalError, match="one a pair"):
        resampled_correlations([[1, 2]], [1, 2], subsets=[0])
