"""Runs one task on one encoder, leaving the global random generators as they were."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval_suite.encoder import Encoder
from eval_suite.errors import EvalError
from eval_suite.registry import find_task
from eval_suite.results import Result
from eval_suite.rng import rng_kept
from eval_suite.task import Options


def run_task(encoder: Encoder, task_name: str, data: Path | str, **options: Any) -> Result:
    """Score `encoder` on the task of that name.

    data: the folder that holds the task's files. options: fields of `task.Options`, such as kfold, seed,
    workers, progress. Python's, numpy's and torch's global generators are left as they were.
    Raises EvalError for an unknown task, missing data, or vectors of a wrong shape or with NaN.
    """
    task = find_task(task_name)
    with rng_kept():
        return task.run(encoder, Path(data), Options(**options))


def texts_sha256(texts: Sequence[str], labels: Sequence[Any]) -> str:
    """A hash of data that came as lists, not as files."""
    if len(texts) != len(labels):
        raise EvalError(f"{len(texts)} texts but {len(labels)} labels; give one label a text")
    return hashlib.sha256(json.dumps([list(texts), [str(x) for x in labels]]).encode()).hexdigest()
