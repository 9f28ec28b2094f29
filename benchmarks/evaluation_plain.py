"""SentEval's probe written plainly: one fit after another on one core, as the engine itself runs it. The peer of the benchmark."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from eval_suite.probe import Labelled

_SEED = 1111
_NESTED = [2.0**t for t in range(-2, 4)]
_KFOLD = [2.0**t for t in range(-1, 6)]


def plain_probe(scheme: str, parts: dict[str, Labelled], kfold: int) -> dict[str, Any]:
    """Score, dev score and chosen C of the scheme."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lbfgs stops at its limit, here as in the engine
        if scheme == "nested":
            return _nested(*parts["all"], kfold)
        if scheme == "kfold":
            return _kfold(parts["train"], parts["test"], kfold)
        return _split(parts["train"], parts["dev"], parts["test"])


def _accuracy(c: float, x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> float:
    return float(LogisticRegression(C=c, random_state=_SEED).fit(x, y).score(x_test, y_test))


def _folds(x: np.ndarray, y: np.ndarray, kfold: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(StratifiedKFold(kfold, shuffle=True, random_state=_SEED).split(x, y))


def _nested(x: np.ndarray, y: np.ndarray, kfold: int) -> dict[str, Any]:
    devs, tests, chosen = [], [], []
    for train, test in _folds(x, y, kfold):
        x_train, y_train = x[train], y[train]
        dev = _over_grid(x_train, y_train, _NESTED, kfold)
        best = _NESTED[int(np.argmax(dev))]
        chosen.append(best)
        devs.append(max(dev))
        tests.append(round(100 * _accuracy(best, x_train, y_train, x[test], y[test]), 2))
    return {"score": float(round(np.mean(tests), 2)), "dev": float(round(np.mean(devs), 2)), "c": chosen}


def _kfold(train: Labelled, test: Labelled, kfold: int) -> dict[str, Any]:
    dev = _over_grid(*train, _KFOLD, kfold)
    best = _KFOLD[int(np.argmax(dev))]
    return {"score": round(100 * _accuracy(best, *train, *test), 2), "dev": max(dev), "c": [best]}


def _split(train: Labelled, dev: Labelled, test: Labelled) -> dict[str, Any]:
    found = [round(100 * _accuracy(c, *train, *dev), 2) for c in _NESTED]
    best = _NESTED[int(np.argmax(found))]
    return {"score": round(100 * _accuracy(best, *train, *test), 2), "dev": max(found), "c": [best]}


def _over_grid(x: np.ndarray, y: np.ndarray, grid: list[float], kfold: int) -> list[float]:
    """Mean accuracy over the folds for each C, in per cent, rounded as the engine rounds."""
    found = []
    for c in grid:
        accuracies = [_accuracy(c, x[a], y[a], x[b], y[b]) for a, b in _folds(x, y, kfold)]
        found.append(float(round(100 * np.mean(accuracies), 2)))
    return found
