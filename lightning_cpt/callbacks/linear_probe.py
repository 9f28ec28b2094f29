"""Scores the encoder with eval_suite's linear probes every N steps, leaving the training as if it had not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from torch import nn

from eval_suite.registry import find_task
from eval_suite.run import run_task
from lightning_cpt.encoder import QuietEncoder
from lightning_cpt.errors import ConfigError

# The other ranks sit in one collective while rank 0 probes; their usual time-out (10 to 30 minutes) is too short.
_PATIENCE = timedelta(days=1)


class LinearProbe(Callback):
    """Logs `probe/TASK` (accuracy in per cent) and `probe/mean`, which a ModelCheckpoint can monitor.

    Rank 0 encodes and probes, the others wait. Module modes and random states are put back.

    Args:
        tasks: Names of SentEval tasks, such as MR, CR, SUBJ, MPQA, SST2, TREC, MRPC.
        data: Folder that `cpt eval fetch senteval --to` has filled.
        every_n_steps: Optimizer steps between two probes.
        kfold: Folds of the tasks without a test split; 10 is the published setting.
        workers: Processes for the probes' folds; all cores if null.
    """

    def __init__(
        self, tasks: list[str], data: str, every_n_steps: int, kfold: int = 10, workers: int | None = None
    ) -> None:
        if every_n_steps < 1:
            raise ConfigError(f"LinearProbe.every_n_steps: {every_n_steps} is too small; use 1 or more")
        if not tasks:
            raise ConfigError("LinearProbe.tasks: name at least one task, such as [CR]")
        self.tasks = tasks
        self.data = Path(data).expanduser()
        self.every_n_steps = every_n_steps
        self.kfold = kfold
        self.workers = workers
        self._last_step = 0
        self._group: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the tasks and read their data once, before the first step.

        Raises:
            EvalError: an unknown task, or data that is not there.
            ConfigError: a strategy that splits the weights, of which rank 0 alone cannot encode.
        """
        if stage != "fit":
            return
        if isinstance(trainer.strategy, FSDPStrategy | ModelParallelStrategy):
            raise ConfigError(
                "LinearProbe: needs whole weights on rank 0; use strategy ddp, or `cpt eval run` afterwards"
            )
        for task in self.tasks:
            find_task(task).sha256(self.data)
        if trainer.world_size > 1:
            self._group = dist.new_group(backend="gloo", timeout=_PATIENCE)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._last_step or step % self.every_n_steps:  # also batches that only add to the gradient
            return
        self._last_step = step
        encoder = QuietEncoder(pl_module.encoder, f"step{step}", f"step{step}")  # type: ignore[arg-type]
        scores = self._share(self._scores(encoder) if trainer.is_global_zero else None)
        # For monitors. Not for the loggers, which would be given the same scores again at every later step.
        pl_module.log_dict(scores, batch_size=1, logger=False)
        for logger in trainer.loggers:
            logger.log_metrics(
                scores, step=step - 1
            )  # the step's number on Lightning's axis, which begins at 0

    def _scores(self, encoder: QuietEncoder) -> dict[str, float] | Exception:
        """Scores by their logged names; an error is a value here, as the other ranks have to hear of it."""
        try:
            with modes_kept(encoder.encoder):
                scores = {
                    f"probe/{task}": run_task(
                        encoder, task, self.data, kfold=self.kfold, workers=self.workers
                    ).score
                    for task in self.tasks
                }
        except Exception as error:
            return error
        return {**scores, "probe/mean": sum(scores.values()) / len(scores)}

    def _share(self, scores: dict[str, float] | Exception | None) -> dict[str, float]:
        if self._group is not None:
            box = [scores]
            dist.broadcast_object_list(box, src=0, group=self._group)
            scores = box[0]
        if isinstance(scores, Exception):
            raise scores
        assert scores is not None
        return scores


@contextmanager
def modes_kept(module: nn.Module) -> Iterator[None]:
    """Put each submodule back into the mode, train or eval, in which it was."""
    modes = {part: part.training for part in module.modules()}
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
