"""The quickstart's frozen pool of installed packages as an evaluation task, for any encoder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from data_prep.errors import DataError
from data_prep.shards import open_splits
from eval_suite.errors import EvalError
from eval_suite.tasks.code_search import CodePool, PoolTask
from lightning_cpt.data.evaluation import fixed_pool
from lightning_cpt.quickstart.place import POOL, SEED

NAME = "InstalledPackages"


def tasks() -> dict[str, PoolTask]:
    """What the entry-point group `eval_suite.tasks` asks for: docstring to function among 1,000 functions."""
    settings = {"docstrings": "stripped", "candidates": POOL}
    return {NAME: PoolTask(NAME, read_pool, pool_hash, f"quickstart-pool/{POOL}", settings=settings)}


def read_pool(data: Path) -> list[CodePool]:
    """The pool of the quickstart whose folder is `data`, or `quickstart` in it.

    Raises:
        EvalError: there are no pairs of a quickstart, or they cannot be read.
    """
    pairs = next((data / below for below in ("pairs", "quickstart/pairs") if (data / below).is_dir()), None)
    if pairs is None:
        raise EvalError(
            f"data {data}: no `pairs` of a quickstart in it; make them with: cpt quickstart --out {data}"
        )
    try:
        pool = fixed_pool(open_splits(pairs)["test"], SEED, POOL)
    except (DataError, KeyError) as error:
        raise EvalError(
            f"data {pairs}: no readable test split ({error}); run the quickstart again"
        ) from error
    columns = ([str(record[key]) for record in pool] for key in ("x", "y", "id"))
    queries, codes, ids = columns
    return [CodePool(queries, codes, np.arange(len(pool)), ids)]


def pool_hash(data: Path) -> str:
    """Over the pool's ids and texts: other versions of the packages are other data."""
    pools = [[pool.ids, pool.queries, pool.codes] for pool in read_pool(data)]
    return hashlib.sha256(json.dumps(pools).encode()).hexdigest()
