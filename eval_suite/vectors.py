"""Checks what an encoder returned, one row of finite numbers for each text, and scales rows to length one."""

from __future__ import annotations

from typing import Any

import numpy as np

from eval_suite.errors import EvalError


def checked(name: str, output: Any, texts: list[str]) -> np.ndarray:
    """`output` as float32 (len(texts), d); `name` is the encoder's, for the message.

    Raises EvalError for something that is no array of numbers, a wrong shape, NaN or infinity.
    """
    try:
        vectors = np.asarray(output, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EvalError(f"encoder {name}: its output is no array of numbers ({error})") from error
    n = len(texts)
    if vectors.ndim != 2 or vectors.shape[0] != n or vectors.shape[1] == 0:
        raise EvalError(
            f"encoder {name}: {n} texts gave shape {vectors.shape}; return one row a text, ({n}, d)"
        )
    finite = np.isfinite(vectors).all(axis=1)  # (n,)
    if not finite.all():
        text = texts[int(np.flatnonzero(~finite)[0])]
        raise EvalError(
            f"encoder {name}: NaN or infinity for {int((~finite).sum())} of {n} texts, "
            f"the first being {text[:60]!r}; check the weights"
        )
    return vectors


def unit_rows(vectors: np.ndarray, dtype: Any = np.float64) -> np.ndarray:
    """Rows of length one, (n, d) of that dtype, in which they are scaled; rows of zeros stay."""
    rows = np.ascontiguousarray(vectors, dtype)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)  # (n, 1)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
