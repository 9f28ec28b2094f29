"""Paired tests: exact where they can be, right in how often they are wrong, corrected for many."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from eval_suite.correlation import resampled_correlations
from eval_suite.errors import EvalError
from eval_suite.significance import bootstrap_p, holm, mcnemar, randomisation

ROUNDS = 400


def test_mcnemar_is_the_binomial_test_of_the_discordant_examples() -> None:
    a = np.array([1] * 40 + [1] * 12 + [0] * 3 + [0] * 20)
    b = np.array([1] * 40 + [0] * 12 + [1] * 3 + [0] * 20)
    assert mcnemar(a, b) == pytest.approx(stats.binomtest(3, 15).pvalue, abs=1e-12)
    assert mcnemar(a, b) == mcnemar(b, a)
    assert mcnemar(a, a) == 1.0
    with pytest.raises(EvalError, match="0 and 1"):
        mcnemar([0.5, 1], [1, 1])


def test_few_examples_are_tested_exactly() -> None:
    values = np.random.default_rng(0).normal(0.5, 1, 9)
    sums = [abs(np.dot(signs, values)) for signs in itertools.product([-1, 1], repeat=9)]
    expected = np.mean(np.array(sums) >= abs(values.sum()) - 1e-12)
    assert randomisation(values[:, None])[0] == pytest.approx(expected)
    assert randomisation(np.ones((1, 1)))[0] == 1.0  # one query says nothing


def test_many_examples_are_tested_as_scipy_does() -> None:
    values = np.random.default_rng(1).normal(0.2, 1, (60, 3))
    for i, p in enumerate(randomisation(values, seed=2)):
        reference = stats.permutation_test(
            (values[:, i], np.zeros(60)), lambda x, y: np.mean(x - y), permutation_type="samples", rng=0
        )
        assert p == pytest.approx(reference.pvalue, abs=0.02)


def test_equal_models_do_not_differ() -> None:
    assert randomisation(np.zeros((30, 2))).tolist() == [1.0, 1.0]
    assert bootstrap_p(np.zeros(100)) == 1.0


@pytest.mark.parametrize("exact", [True, False])
def test_two_equal_classifiers_differ_in_five_per_cent_of_the_samples_at_most(exact: bool) -> None:
    """Under the null, at 5 %: McNemar's exact test stays under it, the randomisation test is near it."""
    rng = np.random.default_rng(3)
    hard = rng.random((250, ROUNDS))
    a, b = (rng.random((250, ROUNDS)) < 0.95 - 0.3 * hard for _ in range(2))
    p = (
        np.array([mcnemar(a[:, i], b[:, i]) for i in range(ROUNDS)])
        if exact
        else randomisation(a.astype(float) - b, resamples=1000)
    )
    rate = (p < 0.05).mean()
    assert rate <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / ROUNDS)
    assert rate >= (0.005 if exact else 0.02)


def test_two_equal_search_models_differ_in_about_five_per_cent_of_the_samples() -> None:
    rng = np.random.default_rng(4)
    a, b = (rng.beta(0.4, 0.3, (80, ROUNDS)) for _ in range(2))
    rate = (randomisation(a - b, resamples=1000) < 0.05).mean()
    assert 0.02 <= rate <= 0.08


def test_two_equal_similarity_models_differ_in_about_five_per_cent_of_the_samples() -> None:
    rng, p = np.random.default_rng(5), []
    for _ in range(200):
        gold = rng.normal(size=100)
        a, b = (gold + rng.normal(0, 1, 100) for _ in range(2))
        draws = resampled_correlations([a, b], gold, resamples=400, seed=1)
        p.append(bootstrap_p(draws[0] - draws[1]))
    assert 0.01 <= (np.array(p) < 0.05).mean() <= 0.095


def test_a_real_difference_is_found() -> None:
    rng = np.random.default_rng(6)
    gold = rng.normal(size=400)
    draws = resampled_correlations([gold + rng.normal(0, 0.5, 400), gold + rng.normal(0, 1.5, 400)], gold)
    assert bootstrap_p(draws[0] - draws[1]) < 0.001
    assert randomisation(rng.normal(0.3, 1, (400, 1)))[0] < 0.001


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([0.02]).tolist() == [0.02]
    assert holm([]).tolist() == []


def test_holm_keeps_the_error_of_the_whole_family() -> None:
    rng = np.random.default_rng(7)
    p = rng.random((2000, 10))
    assert ((p < 0.05).any(axis=1)).mean() > 0.3  # uncorrected: 40 % of the families
    wrong = np.mean([(holm(row) < 0.05).any() for row in p])
    assert 0.03 <= wrong <= 0.065


def test_bad_shapes_are_refused() -> None:
    for bad in (np.zeros(3), np.zeros((0, 2)), np.array([[np.nan]])):
        with pytest.raises(EvalError, match="finite differences"):
            randomisation(bad)
