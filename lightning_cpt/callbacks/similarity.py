"""Sentence similarity during training: cosines of the embeddings against people's judgements."""

from __future__ import annotations

from lightning_cpt.callbacks.evaluation import TaskScores


class Similarity(TaskScores):
    """Logs `similarity/TASK` (Spearman times 100) and `similarity/mean`, of tasks such as STS12, STSB or the group `sts`."""

    prefix = "similarity"
