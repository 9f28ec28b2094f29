"""The probe against a plain serial re-implementation written from the protocol's description."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from eval_suite import probe
from eval_suite.errors import EvalError
from eval_suite.probe import Labelled
from eval_suite.tasks.senteval import find_task

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def matrix(n: int, seed: int, classes: int = 2, dim: int = 6) -> Labelled:
    """Overlapping classes in float32, so that accuracies differ between the values of C."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    centres = np.random.default_rng(99).normal(size=(classes, dim)) * 0.4
    return Labelled((centres[labels] + rng.normal(size=(n, dim)) * 0.5).astype(np.float32), labels)


def accuracy(c, seed, x, y, x_test, y_test):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LogisticRegression(C=c, random_state=seed).fit(x, y).score(x_test, y_test)


def referee_nested(x, y, k, seed):
    grid = [2**t for t in range(-2, 4)]
    devs, tests, chosen = [], [], []
    for train, test in StratifiedKFold(k, shuffle=True, random_state=1111).split(x, y):
        x_train, y_train = x[train], y[train]
        per_c = []
        for c in grid:
            inner = StratifiedKFold(k, shuffle=True, random_state=1111).split(x_train, y_train)
            accs = [accuracy(c, seed, x_train[a], y_train[a], x_train[b], y_train[b]) for a, b in inner]
            per_c.append(round(100 * np.mean(accs), 2))
        best = grid[np.argmax(per_c)]
        chosen.append(best)
        devs.append(np.max(per_c))
        tests.append(round(100 * accuracy(best, seed, x_train, y_train, x[test], y[test]), 2))
    return round(np.mean(tests), 2), round(np.mean(devs), 2), chosen


def referee_kfold(train, test, k, seed):
    grid, per_c = [2**t for t in range(-1, 6)], []
    for c in grid:
        folds = StratifiedKFold(k, shuffle=True, random_state=seed).split(*train)
        accs = [accuracy(c, seed, train[0][a], train[1][a], train[0][b], train[1][b]) for a, b in folds]
        per_c.append(round(100 * np.mean(accs), 2))
    best = grid[np.argmax(per_c)]
    return round(100 * accuracy(best, seed, *train, *test), 2), np.max(per_c), [best]


def referee_split(train, dev, test, seed):
    grid = [2**t for t in range(-2, 4)]
    per_c = [round(100 * accuracy(c, seed, *train, *dev), 2) for c in grid]
    best = grid[np.argmax(per_c)]
    return round(100 * accuracy(best, seed, *train, *test), 2), np.max(per_c), [best]


def digits(found: probe.ProbeScore):
    return found.score, found.dev_score, found.chosen_c


@pytest.mark.parametrize("seed", [1111, 7])
def test_nested_equals_the_referee_to_the_digit(seed: int) -> None:
    data = matrix(130, seed)
    found = probe.nested_kfold(data, kfold=4, seed=seed, workers=1)
    assert digits(found) == referee_nested(*data, 4, seed)
    assert len(set(found.chosen_c)) > 1  # or the comparison says little


@pytest.mark.parametrize("seed", [1111, 7])
def test_kfold_equals_the_referee_to_the_digit(seed: int) -> None:
    train, test = matrix(120, seed, classes=3), matrix(60, seed + 1, classes=3)
    assert digits(probe.kfold_then_test(train, test, kfold=4, seed=seed, workers=1)) == referee_kfold(
        train, test, 4, seed
    )


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_split_equals_the_referee_to_the_digit(seed: int) -> None:
    train, dev, test = matrix(90, seed), matrix(70, seed + 1), matrix(80, seed + 2)
    assert digits(probe.split(train, dev, test, workers=1)) == referee_split(train, dev, test, 1111)


@pytest.mark.data
def test_the_real_cr_equals_the_referee_to_the_digit(real_data: Path, hash_encoder) -> None:
    examples = find_task("CR").read(real_data)["all"]
    data = Labelled(hash_encoder.encode(examples.columns[0], "x"), examples.labels)
    assert digits(probe.nested_kfold(data, kfold=3, workers=1)) == referee_nested(*data, 3, 1111)


def test_processes_do_not_change_the_digits() -> None:
    data = matrix(90, 2)
    one, two = (probe.nested_kfold(data, kfold=3, workers=n) for n in (1, 2))
    assert digits(one) == digits(two)
    assert one.fold_scores == two.fold_scores
    assert one.n_iter == two.n_iter
    assert (one.predicted == two.predicted).all()


def test_smallest_c_wins_a_tie_and_counts_as_the_grids_edge() -> None:
    labels = np.arange(40) % 2
    found = probe.nested_kfold(Labelled(labels[:, None] * 8.0 - 4.0, labels), kfold=2, workers=1)
    assert found.chosen_c == [0.25, 0.25]
    assert found.score == 100.0
    assert found.grid_edge_hits == 2


def test_each_example_is_predicted_by_the_fold_that_held_it_out() -> None:
    labels = np.random.default_rng(0).permutation(np.arange(60) % 3)
    features = np.eye(3, dtype=np.float32)[labels] * 5
    found = probe.stratified(Labelled(features, labels), c=1.0, workers=1)
    assert (found.predicted == labels).all()
    assert found.fold_scores == [100.0] * 5


def test_the_nested_score_is_the_mean_of_rounded_fold_scores() -> None:
    found = probe.nested_kfold(matrix(130, 1), kfold=4, workers=1)
    assert found.score == round(np.mean(found.fold_scores), 2)
    assert all(score == round(score, 2) for score in found.fold_scores)


def test_a_rare_label_is_named() -> None:
    labels = np.array([0] * 20 + [1] * 3)
    with pytest.raises(EvalError, match="label 1 has 3 examples"):
        probe.nested_kfold(Labelled(np.zeros((23, 2), np.float32), labels), kfold=10, workers=1)


def test_each_example_has_the_fold_that_held_it_out() -> None:
    data = matrix(60, 5)
    for found in (
        probe.nested_kfold(data, kfold=3, workers=1),
        probe.stratified(data, c=1.0, kfold=3, workers=1),
    ):
        assert found.folds is not None
        right = found.predicted == data.labels
        means = [round(100 * right[found.folds == fold].mean(), 2) for fold in range(3)]
        assert means == found.fold_scores
    assert probe.kfold_then_test(data, data, kfold=3, workers=1).folds is None
