"""Scores of an encoder on text: SentEval's seven tasks by the fast probe, STS-B by Spearman, SciFact by nDCG@10."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval_suite.encoder import Encoder
from eval_suite.run import run_task


def text_scores(
    encoder: Encoder, data: Path, tasks: Sequence[str], *, quick: bool = False
) -> dict[str, float]:
    """All scores, of 100 each; ``average`` is that of the tasks asked for. ``quick`` leaves the search out."""
    named = {"stsb": "STSB", **({} if quick else {"scifact": "SciFact"}), **{task: task for task in tasks}}
    found = {key: run_task(encoder, task, data, probe="fast").score for key, task in named.items()}
    if tasks:
        found["average"] = float(np.mean([found[task] for task in tasks]))
    return found
