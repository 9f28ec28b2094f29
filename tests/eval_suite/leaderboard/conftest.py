"""A maker of results with numbers per example, of any family."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from eval_suite.results import Result


@pytest.fixture
def make() -> Callable[..., Result]:
    """`make("CR", "name", 0.8)`: a probe of 400 examples, 80 % of them right; any field can be replaced."""

    def of(task: str, encoder: str, share: float, n: int = 400, **changes: object) -> Result:
        right = (np.random.default_rng(len(task)).permutation(n) < round(share * n)).astype(float)
        score = round(100 * float(right.mean()), 2)
        facts: dict[str, object] = {
            "task": task, "family": "probe", "score": score, "metric": "accuracy", "scores": {"accuracy": score},
            "interval": [score - 2, score + 2], "protocol": "senteval/nested10/logreg/raw", "encoder": encoder,
            "fingerprint": encoder * 3, "side": "x", "dtype": "float32", "dim": 8, "seed": 1111,
            "examples": {"all": n}, "data_sha256": f"data of {task}", "settings": {"grid": [0.5, 1.0]},
            "per_example": {"accuracy": right.tolist()}, "versions": {"numpy": "2.4.6"},
        }  # fmt: skip
        return Result(**{**facts, **changes})  # type: ignore[arg-type]

    return of
