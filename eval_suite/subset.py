"""The score of a result over some of its examples, from the numbers that it keeps of each."""

from __future__ import annotations

import numpy as np

from eval_suite.correlation import correlation, correlation_interval
from eval_suite.errors import EvalError
from eval_suite.results import Result
from eval_suite.stats import bootstrap_interval


def subset_score(result: Result, keep: np.ndarray) -> tuple[float, list[float]]:
    """(score in per cent, its 95 % interval) over the examples that `keep`, bool (n,), marks.

    Similarity: Spearman of the cosines that are kept. Everything else: the mean of the main metric over examples.

    Raises:
        EvalError: numbers of another count of examples, or none that are kept.
    """
    for name, values in result.per_example.items():
        if len(values) != len(keep):
            raise EvalError(
                f"result {result.task} of {result.encoder}: has {name} of {len(values)} examples, the data hold "
                f"{len(keep)}; run the task again on these data"
            )
    if not keep.any():
        raise EvalError(f"result {result.task} of {result.encoder}: no examples are left")
    if "cosine" in result.per_example:
        cosine, gold = (np.asarray(result.per_example[name])[keep] for name in ("cosine", "gold"))
        score = correlation(cosine, gold)
        low, high = correlation_interval(cosine, gold, seed=result.seed)
        return round(100 * score, 2), [round(100 * low, 2), round(100 * high, 2)]
    if result.metric not in result.per_example:
        raise EvalError(f"result {result.task} of {result.encoder}: keeps no {result.metric} of its examples")
    values = 100 * np.asarray(result.per_example[result.metric], float)[keep]
    low, high = bootstrap_interval(values, result.seed)
    return round(float(values.mean()), 2), [round(low, 2), round(high, 2)]
