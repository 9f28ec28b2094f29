"""The quick solver against the optimum that scikit-learn finds when it is told to go all the way."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from eval_suite import probe
from eval_suite.probe import FastFitter, Labelled
from eval_suite.probe_fast import solve_path

GRID = (0.25, 1.0, 8.0, 32.0)


def matrix(n: int, classes: int, dim: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    labels = rng.permutation(np.arange(n) % classes)
    centres = rng.normal(size=(classes, dim)) * 0.4
    return (3 + centres[labels] + rng.normal(size=(n, dim)) * 0.6).astype(np.float32), labels


def optimum(c: float, x: np.ndarray, y: np.ndarray) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LogisticRegression(C=c, tol=1e-9, max_iter=5000).fit(x.astype(np.float64), y)


@pytest.mark.parametrize("classes", [2, 4])
def test_every_fold_and_c_reaches_the_optimum(classes: int) -> None:
    x, y = matrix(300, classes)
    rng = np.random.default_rng(5)
    masks = [rng.random(300) < 0.7 for _ in range(5)]
    found = solve_path(x, y, masks, GRID)
    assert found.predicted.shape == (len(GRID), 5, 300)
    assert (found.n_iter >= 1).all()
    for i, c in enumerate(GRID):
        for j, mask in enumerate(masks):
            best = optimum(c, x[mask], y[mask])
            agreed = (best.predict(x.astype(np.float64)) == found.predicted[i, j]).mean()
            assert agreed > 0.995, (c, j)  # one example on the border may fall to either side


def test_the_digits_do_not_depend_on_the_workers() -> None:
    x, y = matrix(200, 3)
    masks = [np.random.default_rng(i).random(200) < 0.8 for i in range(40)]  # several blocks
    one, two = (solve_path(x, y, masks, GRID, workers=n) for n in (1, 2))
    assert np.array_equal(one.predicted, two.predicted)
    assert np.array_equal(one.n_iter, two.n_iter)


def test_columns_that_never_vary_and_rows_of_zeros_do_no_harm() -> None:
    x, y = matrix(120, 2)
    x[:, 3], x[:5] = 7.0, 0.0
    found = solve_path(x, y, [np.ones(120, bool)], GRID)
    best = optimum(1.0, x, y)
    assert (best.predict(x.astype(np.float64)) == found.predicted[1, 0]).mean() > 0.98
    constant = solve_path(np.ones((90, 4), np.float32), np.arange(90) % 3 % 2, [np.ones(90, bool)], GRID)
    assert (constant.predicted == 0).all()  # two thirds of the labels


def test_the_schemes_run_with_it_and_stay_near_the_exact_ones() -> None:
    x, y = matrix(400, 2)
    names = np.array([3, 8])[y]  # labels need not be 0 and 1
    data = Labelled(x, names)
    exact, fast = (
        probe.nested_kfold(data, kfold=3, workers=1, fitter=f) for f in (probe.ExactFitter, FastFitter)
    )
    assert fast.score == pytest.approx(exact.score, abs=1.0)
    assert set(fast.predicted) <= {3, 8}
    assert (fast.predicted == exact.predicted).mean() > 0.97
    train, test = Labelled(x[:300], names[:300]), Labelled(x[300:], names[300:])
    found = probe.kfold_then_test(train, test, kfold=3, workers=1, fitter=FastFitter)
    assert len(found.predicted) == 100
    assert probe.split(train, test, test, workers=1, fitter=FastFitter).dev_score is not None
