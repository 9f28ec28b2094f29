"""Sentence similarity during training: cosines of the embeddings against people's judgements."""

from __future__ import annotations

from eval_suite.task import Options
from lightning_cpt.callbacks.evaluation import TaskScores


class Similarity(TaskScores):
    """Logs `similarity/TASK` (Spearman times 100) and `similarity/mean`, which a ModelCheckpoint can monitor.

    All ranks encode, each a share of the texts. Module modes and random states are put back.

    Args:
        tasks: Names of similarity tasks, such as STS12, STSB or SICK-R, or `sts` for all.
        data: Folder that holds their files, as for `cpt eval run --data`.
        every_n_steps: Optimizer steps between two evaluations.
        max_seconds: Time for one evaluation; tasks that begin later have no score this time, and there is no
            mean without all.
        out: Folder for the result records; null keeps none.
    """

    def __init__(
        self,
        tasks: list[str],
        data: str,
        every_n_steps: int,
        max_seconds: float | None = None,
        out: str | None = None,
    ) -> None:
        super().__init__(
            tasks,
            data,
            every_n_steps,
            max_seconds=max_seconds,
            out=out,
            options=Options(),
            prefix="similarity",
        )
