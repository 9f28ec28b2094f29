"""Linear probes during training: logistic regression on the embeddings of SentEval's seven tasks."""

from __future__ import annotations

from eval_suite.task import Options
from lightning_cpt.callbacks.evaluation import TaskScores


class LinearProbe(TaskScores):
    """Logs `probe/TASK` (accuracy in per cent) and `probe/mean`, which a ModelCheckpoint can monitor.

    All ranks encode, each a share of the texts; rank 0 probes. Module modes and random states are put back.

    Args:
        tasks: Names of tasks, such as MR, CR, SUBJ, MPQA, SST2, TREC, MRPC, or `senteval` for these seven.
        data: Folder that `cpt eval fetch senteval --to` has filled.
        every_n_steps: Optimizer steps between two probes.
        kfold: Folds of the tasks without a test split; 10 is the published setting.
        workers: Processes for the probes' folds; all cores if null.
        probe: `exact`, SentEval's protocol, or `fast`, a quicker one with a name of its own.
        features: `raw` as SentEval takes them, `unit` or `standard`.
        max_seconds: Time for one evaluation; tasks that begin later have no score this time, and there is no
            mean without all.
        out: Folder for the result records; null keeps none.
    """

    prefix = "probe"

    def __init__(
        self,
        tasks: list[str],
        data: str,
        every_n_steps: int,
        kfold: int = 10,
        workers: int | None = None,
        probe: str = "exact",
        features: str = "raw",
        max_seconds: float | None = None,
        out: str | None = None,
    ) -> None:
        super().__init__(tasks, data, every_n_steps, max_seconds, out)
        self.options = Options(workers=workers, kfold=kfold, probe=probe, features=features)
