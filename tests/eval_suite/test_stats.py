"""Bootstrap intervals: right width, repeatable, and no global random numbers used."""

from __future__ import annotations

import numpy as np
import pytest

from eval_suite.errors import EvalError
from eval_suite.stats import bootstrap_interval, paired_bootstrap


def test_the_interval_is_the_normal_one_for_many_values() -> None:
    values = np.random.default_rng(0).normal(3, 2, size=2000)
    low, high = bootstrap_interval(values, seed=1)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_a_lower_level_is_narrower() -> None:
    values = np.random.default_rng(0).normal(size=100)
    wide, narrow = bootstrap_interval(values), bootstrap_interval(values, level=0.5)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_the_seed_decides_and_nothing_global_moves() -> None:
    values, before = [0.0, 1.0, 1.0, 0.5], np.random.get_state()[1].copy()
    assert bootstrap_interval(values, seed=5) == bootstrap_interval(values, seed=5)
    assert (np.random.get_state()[1] == before).all()


def test_pairing_sees_what_two_intervals_cannot() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(400)
    a = hard + 0.02 + rng.normal(0, 0.01, 400)
    difference, low, high = paired_bootstrap(a, hard, seed=1)
    assert difference == pytest.approx(0.02, abs=0.003)
    assert 0 < low < difference < high
    assert bootstrap_interval(a)[0] < bootstrap_interval(hard)[1]  # they overlap


def test_bad_values_are_refused() -> None:
    with pytest.raises(EvalError, match="one to one"):
        paired_bootstrap([1.0], [1.0, 2.0])
    with pytest.raises(EvalError, match="at least one"):
        bootstrap_interval([])
    with pytest.raises(EvalError, match="NaN"):
        bootstrap_interval([1.0, float("nan")])


def test_folds_are_resampled_each_by_itself() -> None:
    """Folds of very different difficulty: the spread between them is no part of the interval."""
    rng = np.random.default_rng(2)
    folds = np.repeat(np.arange(4), 100)
    values = folds + rng.normal(0, 0.1, 400)
    low, high = bootstrap_interval(values, folds=folds)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 0.1 / 20, rel=0.15)
    plain = bootstrap_interval(values)
    assert plain[1] - plain[0] > 5 * (high - low)
    with pytest.raises(EvalError, match="one fold a value"):
        bootstrap_interval(values, folds=[1, 2])


def test_folds_of_unequal_size_count_alike() -> None:
    low, high = bootstrap_interval([1.0] * 10 + [0.0] * 2, folds=[0] * 10 + [1] * 2)
    assert (low, high) == (0.5, 0.5)


def test_intervals_cover_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 accuracies of 200 examples; 95 % would miss 15."""
    monkeypatch.setattr("eval_suite.stats.RESAMPLES", 500)
    rng = np.random.default_rng(3)
    folds = np.arange(200) % 5
    plain = folded = 0
    for seed in range(300):
        values = (rng.random(200) < 0.85).astype(float)
        low, high = bootstrap_interval(values, seed)
        plain += not low <= 0.85 <= high
        low, high = bootstrap_interval(values, seed, folds=folds)
        folded += not low <= 0.85 <= high
    assert 5 <= plain <= 28
    assert 5 <= folded <= 28
