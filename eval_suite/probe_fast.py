"""Many logistic regressions on one matrix at once: the quick solver behind the `fast` protocol.

Each problem is scikit-learn's own (half the squared weights plus C times the summed log-loss, intercepts free,
two labels binomial, more multinomial) on some of the rows, but solved to its optimum: scikit-learn's lbfgs
stops before it, at a point that depends on where it began, so its digits cannot be had this way.

The problems of all folds share the rows, so a pass over the data is one matrix product for all of them.
Along the grid each C starts from the solution of the one before. A truncated Newton method takes a few passes:
its inner conjugate gradients are preconditioned by the eigenvectors of the rows' Gram matrix, taken once.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

_COLUMNS = (
    32  # weight columns a block holds: fixed, so that the digits do not depend on the number of workers
)
_NEWTON_STEPS = 30
_CG_STEPS = 30
TOLERANCE = 1e-5  # of the gradient of the mean log-loss; scikit-learn's is 1e-4


@dataclass(frozen=True)
class Fits:
    """What a path gave. predicted: label numbers (grid, problems, n). n_iter: Newton steps (grid, problems)."""

    predicted: np.ndarray
    n_iter: np.ndarray


@dataclass(frozen=True)
class _Shared:
    """The rows and what every block of problems uses. A column of ones is kept apart: intercepts are not shrunk."""

    rows: np.ndarray  # (n, d), centred
    codes: np.ndarray  # (n,), 0 .. classes - 1
    outputs: int  # 1 for two labels, else the number of labels
    basis: np.ndarray  # (d, d): eigenvectors of rows.T @ rows
    spectrum: np.ndarray  # (d,)


def solve_path(
    features: np.ndarray,
    codes: np.ndarray,
    masks: Sequence[np.ndarray],
    grid: Sequence[float],
    *,
    workers: int = 1,
    progress: bool = False,
) -> Fits:
    """Fit every problem at every C, smallest first, and predict all rows.

    features: float (n, d). codes: labels 0 .. k-1, (n,). masks: per problem the rows it learns from, bool (n,);
    all labels must occur in each. grid: ascending. The digits do not depend on `workers` (threads).
    """
    shared = _share(features, codes)
    each = max(1, _COLUMNS // shared.outputs)  # problems a block
    blocks = [np.array(masks[i : i + each]) for i in range(0, len(masks), each)]
    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        solved = pool.map(lambda block: _solve_block(shared, block, grid), blocks)
        bar = tqdm(solved, "probe", len(blocks), leave=False, disable=None if progress else True)
        parts = list(bar)
    return Fits(np.concatenate([p for p, _ in parts], axis=1), np.concatenate([i for _, i in parts], axis=1))


def _share(features: np.ndarray, codes: np.ndarray) -> _Shared:
    rows = np.ascontiguousarray(features, dtype=np.float32)
    rows = rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32)  # free intercepts: the same problem
    gram = (rows.T @ rows).astype(np.float64)
    spectrum, basis = np.linalg.eigh(gram)
    classes = int(codes.max()) + 1
    return _Shared(
        rows,
        codes,
        1 if classes == 2 else classes,
        basis.astype(np.float32),
        np.clip(spectrum, 0, None).astype(np.float32),
    )


def _solve_block(shared: _Shared, masks: np.ndarray, grid: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    problem = _Problem(shared, masks)
    predicted, steps = [], []
    for c in grid:
        steps.append(problem.solve(c))
        predicted.append(problem.predict())
    return np.array(predicted), np.array(steps)


class _Problem:
    """A block of b problems with k outputs each; weights (d, b k), intercepts (b k,), all float32."""

    def __init__(self, shared: _Shared, masks: np.ndarray) -> None:
        self.shared, self.b, self.k = shared, len(masks), shared.outputs
        n = len(shared.codes)
        self.mask = np.repeat(masks.T[:, :, None], self.k, axis=2).astype(np.float32)  # (n, b, k)
        if self.k == 1:
            self.target = np.broadcast_to(
                (shared.codes == 1).astype(np.float32)[:, None, None], (n, self.b, 1)
            )
        else:
            one_hot = np.eye(self.k, dtype=np.float32)[shared.codes]  # (n, k)
            self.target = np.broadcast_to(one_hot[:, None, :], (n, self.b, self.k))
        self.size = masks.sum(axis=1).astype(np.float32)  # (b,)
        self.weights = np.zeros((shared.rows.shape[1], self.b * self.k), np.float32)
        self.intercepts = self._base_rates(masks)
        self.scores = self._outputs(self.weights, self.intercepts)  # (n, b, k)

    def _base_rates(self, masks: np.ndarray) -> np.ndarray:
        """Intercepts that give the labels' shares: the solution without weights."""
        counts = np.array([np.bincount(self.shared.codes[mask], minlength=2) for mask in masks], np.float32)
        if self.k == 1:
            return np.log(counts[:, 1] / counts[:, 0])  # (b,)
        logs = np.log(counts)
        return np.asarray((logs - logs.mean(axis=1, keepdims=True)).reshape(-1))

    def solve(self, c: float) -> np.ndarray:
        """Newton steps from where the weights are, until every gradient is small; returns steps per problem, (b,)."""
        steps = np.zeros(self.b, int)
        loss = self._losses(self.weights, self.scores, c)
        for _ in range(_NEWTON_STEPS):
            p = self._probabilities(self.scores)
            gradient = self._gradient(p, c)
            active = self._largest(gradient) > TOLERANCE * self.size * c
            if not active.any():
                break
            steps += active
            direction = self._newton_direction(p, gradient, c, active)
            loss = self._step(direction, gradient, loss, c, active)
        return steps

    def predict(self) -> np.ndarray:
        """Label numbers of all rows: (b, n)."""
        if self.k == 1:
            return np.ascontiguousarray((self.scores[:, :, 0] > 0).T).astype(np.int16)
        return np.ascontiguousarray(self.scores.argmax(axis=2).T).astype(np.int16)

    def _outputs(self, weights: np.ndarray, intercepts: np.ndarray) -> np.ndarray:
        return (self.shared.rows @ weights + intercepts).reshape(-1, self.b, self.k)

    def _probabilities(self, scores: np.ndarray) -> np.ndarray:
        if self.k == 1:
            half = np.tanh(scores * np.float32(0.5))
            return np.asarray((half + 1) * np.float32(0.5))
        e = np.exp(scores - scores.max(axis=2, keepdims=True))
        return np.asarray(e / e.sum(axis=2, keepdims=True))

    def _losses(self, weights: np.ndarray, scores: np.ndarray, c: float) -> np.ndarray:
        """The objective of each problem: (b,) float64."""
        if self.k == 1:
            log_loss = np.logaddexp(np.float32(0), scores) - self.target * scores
        else:
            top = scores.max(axis=2, keepdims=True)
            total = np.log(np.exp(scores - top).sum(axis=2, keepdims=True)) + top
            log_loss = total / self.k - self.target * scores  # summed over k it counts the total once
        summed = np.einsum("nbk,nbk->b", log_loss, self.mask, dtype=np.float64, casting="same_kind")
        return np.asarray(
            c * summed + 0.5 * self._per_problem(np.square(weights, dtype=np.float64).sum(axis=0))
        )

    def _gradient(self, p: np.ndarray, c: float) -> tuple[np.ndarray, np.ndarray]:
        residual = ((p - self.target) * self.mask).reshape(len(p), -1)  # (n, b k)
        weights = np.float32(c) * (self.shared.rows.T @ residual) + self.weights
        return weights, np.float32(c) * residual.sum(axis=0)

    def _curvature(
        self, p: np.ndarray, v: tuple[np.ndarray, np.ndarray], c: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """The Hessian times v."""
        s = self._outputs(*v)  # (n, b, k)
        d = p * (1 - p) * s if self.k == 1 else p * (s - (p * s).sum(axis=2, keepdims=True))
        d = (d * self.mask).reshape(len(p), -1)
        return np.float32(c) * (self.shared.rows.T @ d) + v[0], np.float32(c) * d.sum(axis=0)

    def _newton_direction(
        self, p: np.ndarray, gradient: tuple[np.ndarray, np.ndarray], c: float, active: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Preconditioned conjugate gradients for H direction = -gradient, until a tenth of the gradient is left."""
        scale = self._mean_curvature(p)  # (b k,)
        x = (np.zeros_like(gradient[0]), np.zeros_like(gradient[1]))
        r = (-gradient[0], -gradient[1])
        z = self._precondition(r, scale, c)
        q, rz = z, self._dot(r, z)
        goal = 0.01 * rz  # in the preconditioner's norm, squared
        for _ in range(_CG_STEPS):
            going = active & (rz > goal)
            if not going.any():
                break
            h = self._curvature(p, q, c)
            alpha = np.where(going, rz / np.maximum(self._dot(q, h), 1e-30), 0)
            x, r = self._add(x, alpha, q), self._add(r, -alpha, h)
            z = self._precondition(r, scale, c)
            now = self._dot(r, z)
            q = self._add(z, np.where(going, now / np.maximum(rz, 1e-30), 0), q)
            rz = np.where(going, now, rz)
        return x

    def _step(
        self,
        direction: tuple[np.ndarray, np.ndarray],
        gradient: tuple[np.ndarray, np.ndarray],
        loss: np.ndarray,
        c: float,
        active: np.ndarray,
    ) -> np.ndarray:
        """Go along the direction, halving the step of problems whose objective does not fall; returns the objectives."""
        slope = self._dot(direction, gradient)  # (b,), negative
        moved = self._outputs(*direction)  # (n, b, k)
        length = active.astype(np.float64)
        for _ in range(20):
            scores = self.scores + self._wide(length)[None] * moved
            weights = self.weights + self._flat(length) * direction[0]
            now = self._losses(weights, scores, c)
            slack = 1e-6 * np.abs(loss)  # float32 cannot tell smaller falls
            worse = active & (now > loss + 1e-4 * length * slope + slack)
            if not worse.any():
                break
            length = np.where(worse, length / 2, length)
        self.weights, self.scores = weights, scores
        self.intercepts = self.intercepts + self._flat(length) * direction[1]
        return now

    def _mean_curvature(self, p: np.ndarray) -> np.ndarray:
        """Mean of p (1 - p) over each problem's rows, times their share of all rows: (b k,)."""
        total = np.einsum("nbk,nbk->bk", p * (1 - p), self.mask)
        return np.asarray(np.maximum(total, 1e-6).reshape(-1))

    def _precondition(
        self, v: tuple[np.ndarray, np.ndarray], scale: np.ndarray, c: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Divide by the Hessian of rows that were all of their mean curvature: diagonal in the Gram's eigenvectors."""
        shared = self.shared
        ratio = np.float32(c) * scale / np.float32(len(shared.rows))
        divisor = shared.spectrum[:, None] * ratio + 1  # (d, b k)
        return shared.basis @ ((shared.basis.T @ v[0]) / divisor), v[1] / (np.float32(c) * scale)

    def _dot(self, a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        columns = np.einsum("ij,ij->j", a[0], b[0], dtype=np.float64, casting="same_kind") + a[1] * b[1]
        return self._per_problem(columns)  # (b,)

    def _add(
        self, a: tuple[np.ndarray, np.ndarray], factor: np.ndarray, b: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        f = self._flat(factor)
        return a[0] + f * b[0], a[1] + f * b[1]

    def _largest(self, gradient: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        columns = np.maximum(np.abs(gradient[0]).max(axis=0), np.abs(gradient[1]))
        return np.asarray(columns.reshape(self.b, self.k).max(axis=1))

    def _per_problem(self, columns: np.ndarray) -> np.ndarray:
        return np.asarray(columns.reshape(self.b, self.k).sum(axis=1))

    def _flat(self, factor: np.ndarray) -> np.ndarray:
        return np.repeat(factor, self.k).astype(np.float32)  # (b k,)

    def _wide(self, factor: np.ndarray) -> np.ndarray:
        return np.asarray(factor, np.float32)[:, None]  # (b, 1)
