"""Search during training: queries against a corpus, text or code."""

from __future__ import annotations

from lightning_cpt.callbacks.evaluation import TaskScores


class Retrieval(TaskScores):
    """Logs `retrieval/TASK` (its main score in per cent) and `retrieval/mean`, of tasks such as SciFact, Cranfield or CoSQA."""

    prefix = "retrieval"
