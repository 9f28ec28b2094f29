"""SentEval's linear probe: logistic regression under its three ways of choosing C, digit for digit.

Every detail that moves a digit is kept: 0.25..8 for the nested and split schemes but 0.5..32 for
cross-validation with a test set; folds shuffled by seed 1111 whatever the seed where the engine
hard-codes it; accuracies rounded to two decimals before they are compared or averaged; the
smallest C on a tie; no scaling of features; scikit-learn's defaults but for C and the seed.
Independent fits run in parallel: the digits do not depend on how many at a time. Who fits is an argument:
`ExactFitter` is scikit-learn as SentEval calls it; `FastFitter`, whose digits differ, is another protocol.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from joblib import Parallel, cpu_count, delayed, parallel_config
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from eval_suite.errors import EvalError
from eval_suite.probe_fast import solve_path

SEED = 1111
NESTED_GRID: tuple[float, ...] = tuple(2.0**t for t in range(-2, 4))
KFOLD_GRID: tuple[float, ...] = tuple(2.0**t for t in range(-1, 6))


class Labelled(NamedTuple):
    """features: float (n, d), used as they are; labels: integers (n,)."""

    features: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class ProbeScore:
    """What a probe found. Scores are accuracies in per cent, rounded as SentEval rounds them.

    chosen_c, n_iter: one per final classifier (one per outer fold when nested); n_iter of 100 means that
    lbfgs stopped at scikit-learn's limit. fold_scores: test accuracy per outer fold (nested, stratified),
    dev accuracy per fold at the chosen C (kfold), none (split). predicted: the test examples' labels, (n_test,). folds: the outer fold of each, (n_test,),
    where the score is the mean of the folds' accuracies.
    """

    score: float
    dev_score: float | None
    grid: tuple[float, ...]
    chosen_c: list[float]
    n_iter: list[int]
    fold_scores: list[float]
    predicted: np.ndarray
    folds: np.ndarray | None = None

    @property
    def grid_edge_hits(self) -> int:
        """How many times the best C was the first or the last of the grid: then the grid may be too narrow."""
        return sum(c in (self.grid[0], self.grid[-1]) for c in self.chosen_c) if len(self.grid) > 1 else 0


class Fit(NamedTuple):
    """One fold's classifiers, one for each C. train, test: row numbers."""

    grid: tuple[float, ...]
    train: np.ndarray
    test: np.ndarray


class Outcome(NamedTuple):
    """accuracy: 0..1 on the test rows. predicted: their labels."""

    accuracy: float
    predicted: np.ndarray
    n_iter: int


class Fitter(Protocol):
    """Runs fits on one matrix; workers: None for one per core."""

    def __init__(self, data: Labelled, seed: int, workers: int | None, progress: bool) -> None: ...

    def run(self, fits: Sequence[Fit]) -> list[list[Outcome]]:
        """For each fit the outcome of each C."""
        ...


@dataclass(frozen=True)
class ExactFitter:
    """scikit-learn's own fits, in processes that share the matrix through a memory map, one BLAS thread each.

    A fold's rows are cut out once for its whole grid. Every fit starts from nothing, as in SentEval.
    """

    data: Labelled
    seed: int
    workers: int | None
    progress: bool

    def run(self, fits: Sequence[Fit]) -> list[list[Outcome]]:
        bar = tqdm(self._stream(fits), "probe", len(fits), False, disable=None if self.progress else True)
        return list(bar)

    def _stream(self, fits: Sequence[Fit]) -> Iterator[list[Outcome]]:
        if len(fits) == 1:  # the C of a lone fold are independent too
            whole = fits[0]
            yield [one for (one,) in self._stream_each([whole._replace(grid=(c,)) for c in whole.grid])]
        else:
            yield from self._stream_each(fits)

    def _stream_each(self, fits: Sequence[Fit]) -> Iterator[list[Outcome]]:
        workers = min(self.workers or cpu_count(), len(fits))
        if workers == 1:
            with threadpool_limits(1):
                for fit in fits:
                    yield _fit(self.data, fit, self.seed)
            return
        with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
            jobs: Iterable = (delayed(_fit)(self.data, fit, self.seed) for fit in fits)
            yield from Parallel(return_as="generator")(jobs)


def _fit(data: Labelled, fit: Fit, seed: int) -> list[Outcome]:
    x, y = data.features[fit.train], data.labels[fit.train]
    x_test, y_test = data.features[fit.test], data.labels[fit.test]
    outcomes = []
    with warnings.catch_warnings(), config_context(assume_finite=True):  # the vectors were checked
        warnings.simplefilter("ignore", ConvergenceWarning)  # n_iter in the result says it
        for c in fit.grid:
            model = LogisticRegression(C=c, random_state=seed).fit(x, y)
            predicted = model.predict(x_test)
            outcomes.append(Outcome(accuracy_score(y_test, predicted), predicted, int(model.n_iter_.max())))
    return outcomes


@dataclass(frozen=True)
class FastFitter:
    """All folds solved together, each C from the solution of the one before: see `probe_fast`. Threads, not processes."""

    data: Labelled
    seed: int  # of no effect: nothing is drawn
    workers: int | None
    progress: bool

    def run(self, fits: Sequence[Fit]) -> list[list[Outcome]]:
        names, codes = np.unique(self.data.labels, return_inverse=True)
        found: dict[int, list[Outcome]] = {}
        for grid in dict.fromkeys(fit.grid for fit in fits):
            at = [i for i, fit in enumerate(fits) if fit.grid == grid]
            masks = [np.isin(np.arange(len(codes)), fits[i].train) for i in at]
            solved = solve_path(
                self.data.features,
                codes,
                masks,
                grid,
                workers=self.workers or cpu_count(),
                progress=self.progress,
            )
            for column, i in enumerate(at):
                test = fits[i].test
                found[i] = [
                    Outcome(float((guess[test] == codes[test]).mean()), names[guess[test]], int(steps))
                    for guess, steps in zip(
                        solved.predicted[:, column], solved.n_iter[:, column], strict=True
                    )
                ]
        return [found[i] for i in range(len(fits))]


def nested_kfold(
    data: Labelled,
    *,
    kfold: int = 10,
    seed: int = SEED,
    workers: int | None = None,
    progress: bool = False,
    fitter: type[Fitter] = ExactFitter,
) -> ProbeScore:
    """MR, CR, SUBJ, MPQA: an inner cross-validation chooses C for each outer fold. 6 k^2 + k fits.

    The dev score is the mean of the outer folds' best inner scores. Both levels of folds are shuffled by
    1111: the engine ignores its seed there. Raises EvalError where a class has fewer than `kfold` members.
    """
    fits = fitter(data, seed, workers, progress)
    outer = _folds(data.labels, kfold, SEED)
    inner = [
        Fit(NESTED_GRID, train[a], train[b])
        for train, _ in outer
        for a, b in _folds(data.labels[train], kfold, SEED)
    ]
    accuracy = _accuracies(fits.run(inner)).reshape(kfold, kfold, -1)  # (outer, inner, grid)
    chosen = [_best(folds.T, NESTED_GRID) for folds in accuracy]
    finals = _only(fits.run([Fit((c,), *fold) for (c, _), fold in zip(chosen, outer, strict=True)]))
    fold_scores = [round(100 * o.accuracy, 2) for o in finals]
    return ProbeScore(
        score=float(round(np.mean(fold_scores), 2)),
        dev_score=float(round(np.mean([dev for _, dev in chosen]), 2)),
        grid=NESTED_GRID,
        chosen_c=[c for c, _ in chosen],
        n_iter=[o.n_iter for o in finals],
        fold_scores=fold_scores,
        predicted=_in_place([o.predicted for o in finals], outer),
        folds=_in_place([np.full(len(test), k) for k, (_, test) in enumerate(outer)], outer),
    )


def kfold_then_test(
    train: Labelled,
    test: Labelled,
    *,
    kfold: int = 10,
    seed: int = SEED,
    workers: int | None = None,
    progress: bool = False,
    fitter: type[Fitter] = ExactFitter,
) -> ProbeScore:
    """TREC, MRPC: cross-validation on train chooses C, a fit on all of train is tested. 7 k + 1 fits.

    Folds are shuffled by `seed`. Raises EvalError where a class has fewer than `kfold` members.
    """
    fits, n = fitter(_stack(train, test), seed, workers, progress), len(train.labels)
    folds = _folds(train.labels, kfold, seed)
    accuracy = _accuracies(fits.run([Fit(KFOLD_GRID, a, b) for a, b in folds])).T  # (grid, folds)
    c, dev = _best(accuracy, KFOLD_GRID)
    fold_scores = [round(100 * float(a), 2) for a in accuracy[KFOLD_GRID.index(c)]]
    (final,) = _only(fits.run([Fit((c,), np.arange(n), np.arange(n, n + len(test.labels)))]))
    return _tested(final, dev, KFOLD_GRID, c, fold_scores)


def split(
    train: Labelled,
    dev: Labelled,
    test: Labelled,
    *,
    seed: int = SEED,
    workers: int | None = None,
    progress: bool = False,
    fitter: type[Fitter] = ExactFitter,
) -> ProbeScore:
    """SST2: dev chooses C; the test is of the fit on train alone. 7 fits."""
    fits = fitter(_stack(train, dev, test), seed, workers, progress)
    ends = np.cumsum([len(part.labels) for part in (train, dev, test)])
    rows = [np.arange(a, b) for a, b in zip([0, *ends], ends, strict=False)]
    accuracy = _accuracies(fits.run([Fit(NESTED_GRID, rows[0], rows[1])])).T  # (grid, 1)
    c, best = _best(accuracy, NESTED_GRID)
    (final,) = _only(fits.run([Fit((c,), rows[0], rows[2])]))
    return _tested(final, best, NESTED_GRID, c, [])


def stratified(
    data: Labelled,
    *,
    c: float,
    kfold: int = 5,
    seed: int = SEED,
    workers: int | None = None,
    progress: bool = False,
    fitter: type[Fitter] = ExactFitter,
) -> ProbeScore:
    """Not SentEval's: plain cross-validation at one given C, for quick embedded tasks. k fits."""
    folds = _folds(data.labels, kfold, seed)
    finals = _only(fitter(data, seed, workers, progress).run([Fit((c,), *fold) for fold in folds]))
    fold_scores = [round(100 * o.accuracy, 2) for o in finals]
    return ProbeScore(
        score=float(round(np.mean(fold_scores), 2)),
        dev_score=None,
        grid=(c,),
        chosen_c=[c] * kfold,
        n_iter=[o.n_iter for o in finals],
        fold_scores=fold_scores,
        predicted=_in_place([o.predicted for o in finals], folds),
        folds=_in_place([np.full(len(test), k) for k, (_, test) in enumerate(folds)], folds),
    )


def _accuracies(outcomes: Sequence[Sequence[Outcome]]) -> np.ndarray:
    return np.array([[one.accuracy for one in each] for each in outcomes])  # (fits, grid)


def _only(outcomes: Sequence[Sequence[Outcome]]) -> list[Outcome]:
    """Of fits at one C each."""
    return [one for (one,) in outcomes]


def _tested(final: Outcome, dev: float, grid: tuple[float, ...], c: float, folds: list[float]) -> ProbeScore:
    return ProbeScore(round(100 * final.accuracy, 2), dev, grid, [c], [final.n_iter], folds, final.predicted)


def _best(accuracy: np.ndarray, grid: tuple[float, ...]) -> tuple[float, float]:
    """(C, its score in per cent) from accuracies (grid, folds): rounded first, so that near-ties go to the smaller C."""
    scores = [float(round(100 * np.mean(folds), 2)) for folds in accuracy]
    return grid[int(np.argmax(scores))], max(scores)


def _folds(labels: np.ndarray, kfold: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    values, counts = np.unique(labels, return_counts=True)
    if kfold < 2 or len(values) < 2 or counts.min() < kfold:
        rarest = (
            f"label {values[counts.argmin()]} has {counts.min()} examples"
            if len(values)
            else "there are none"
        )
        raise EvalError(
            f"{kfold} folds need 2 or more labels with {max(kfold, 2)} or more examples each; {rarest}"
        )
    splitter = StratifiedKFold(n_splits=kfold, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(labels)), labels))


def _stack(*parts: Labelled) -> Labelled:
    """One matrix for all parts, so that the workers get it once."""
    return Labelled(np.concatenate([p.features for p in parts]), np.concatenate([p.labels for p in parts]))


def _in_place(values: Sequence[np.ndarray], folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Each example's value, from the fold that held it out: (n,)."""
    return np.concatenate(values)[np.argsort(np.concatenate([test for _, test in folds]))]
