"""Scores the encoder on eval_suite's tasks every N steps, leaving the training as if it had not."""

from __future__ import annotations

import hashlib
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from eval_suite.registry import find_tasks
from eval_suite.results import Result
from eval_suite.rng import rng_kept
from eval_suite.task import Options, Task
from lightning_cpt.callbacks.team import OutOfTime, Team, TeamEncoder, TokenCache, portable
from lightning_cpt.console import say
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError
from lightning_cpt.scored import facts

# The other ranks wait for rank 0's arithmetic; their usual time-out (10 to 30 minutes) is too short.
_PATIENCE = timedelta(days=1)


class TaskScores(Callback):
    """Logs `PREFIX/TASK` (in per cent) and `PREFIX/mean`, which a ModelCheckpoint can monitor.

    All ranks encode, each a share of the texts, under any strategy; rank 0 does the rest. Texts are tokenised
    once. Module modes and random states are put back.

    Where the time did not suffice for a mean, a monitor goes on seeing the one before.

    Args:
        tasks: Names of tasks or groups of them, as `cpt eval list` prints them.
        data: Folder that holds the tasks' files, as for `cpt eval run --data`.
        every_n_steps: Optimizer steps between two evaluations.
        max_seconds: Time for one evaluation. A task that begins to encode later has no score this time, and
            there is no mean without all; the first task of the next evaluation is then the first that was left out.
        out: Folder for the results of every evaluation, as of `cpt eval run`; null keeps none.
    """

    prefix = "eval"  # what the logged names begin with

    def __init__(
        self,
        tasks: list[str],
        data: str,
        every_n_steps: int,
        max_seconds: float | None = None,
        out: str | None = None,
    ) -> None:
        name = type(self).__name__
        if every_n_steps < 1:
            raise ConfigError(f"{name}.every_n_steps: {every_n_steps} is too small; use 1 or more")
        if not tasks:
            raise ConfigError(f"{name}.tasks: name at least one task; `cpt eval list` names all")
        if max_seconds is not None and max_seconds <= 0:
            raise ConfigError(f"{name}.max_seconds: {max_seconds} leaves no time; use more, or null")
        self.tasks = tasks
        self.data = Path(data).expanduser()
        self.every_n_steps = every_n_steps
        self.max_seconds = max_seconds
        self.out = None if out is None else Path(out).expanduser()
        self.options = Options()
        self._found: list[Task] = []
        self._first = 0  # which task is the next evaluation's first
        self._last_step = 0
        self._team: Team | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the tasks and their data once, before the first step.

        Raises:
            EvalError: an unknown task or option, or data that is not there; on all ranks.
        """
        if stage != "fit":
            return
        self._found = find_tasks(self.tasks)
        group = dist.new_group(backend="gloo", timeout=_PATIENCE) if trainer.world_size > 1 else None
        self._team = Team(group, TokenCache())
        _raised(self._team.broadcast(self._missing() if trainer.is_global_zero else None))

    def _missing(self) -> Exception | None:
        """What keeps rank 0 from running the tasks; a value, as the other ranks wait for it."""
        try:
            for task in self._found:
                task.protocol(self.options)
                task.sha256(self.data)
        except Exception as error:
            return portable(error)
        return None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._last_step or step % self.every_n_steps:  # also batches that only add to the gradient
            return
        self._last_step = step
        scores = self.evaluate(pl_module.encoder, step, Path(trainer.default_root_dir).name)  # type: ignore[arg-type]
        # For monitors. Not for the loggers, which would be given the same scores again at every later step.
        pl_module.log_dict(scores, batch_size=1, logger=False)
        for logger in trainer.loggers:
            logger.log_metrics(
                scores, step=step - 1
            )  # the step's number on Lightning's axis, which begins at 0

    def evaluate(self, encoder: TextEncoder, step: int, run: str) -> dict[str, float]:
        """The scores by their logged names, on all ranks; each of them has to call this.

        Raises:
            Exception: what went wrong on rank 0, on all ranks.
        """
        assert self._team is not None
        with rng_kept():
            if self._team.rank:
                return _raised(self._team.follow(encoder))
            return _raised(self._team.finish(self._lead(encoder, step, run)))

    def _lead(self, encoder: TextEncoder, step: int, run: str) -> dict[str, float] | Exception:
        """Rank 0's evaluation; an error is a value here, as the other ranks have to hear of it."""
        try:
            return self._scores(self._subject(encoder, step, run))
        except Exception as error:
            return portable(error)

    def _subject(self, encoder: TextEncoder, step: int, run: str) -> TeamEncoder:
        assert self._team is not None
        cut = encoder.in_step  # weights in pieces over the ranks have no hash here
        return TeamEncoder(
            encoder,
            self._team,
            name=f"{run}/step-{step}",
            fingerprint=_of_run(run, step) if cut else encoder.fingerprint,
            facts={**facts(encoder), "step": step},
            deadline=None if self.max_seconds is None else time.monotonic() + self.max_seconds,
        )

    def _scores(self, subject: TeamEncoder) -> dict[str, float]:
        order = self._found[self._first :] + self._found[: self._first]
        scores: dict[str, float] = {}
        for task in order:
            try:
                result = task.run(subject, self.data, self.options)
            except OutOfTime:
                continue  # the others may need no encoding
            scores[f"{self.prefix}/{task.name}"] = result.score
            if self.out is not None:
                self._write(result)
        left_out = [task for task in order if f"{self.prefix}/{task.name}" not in scores]
        if left_out:
            self._first = self._found.index(left_out[0])
            names = ", ".join(task.name for task in left_out)
            say(f"{type(self).__name__}: no time for {names} (max_seconds: {self.max_seconds:g})")
        else:
            scores[f"{self.prefix}/mean"] = sum(scores.values()) / len(scores)
        return scores

    def _write(self, result: Result) -> None:
        """Write one result; a full disk costs the file, and not the training."""
        assert self.out is not None
        try:
            result.write(self.out)
        except OSError as error:
            say(f"{type(self).__name__}: {self.out}: {result.task} cannot be written ({error.strerror})")


def _of_run(run: str, step: int) -> str:
    """What stands for weights that have no hash. Hashed: result files are named by its first characters."""
    return hashlib.sha256(f"{run} step {step}".encode()).hexdigest()


def _raised(found: Any) -> Any:
    if isinstance(found, Exception):
        raise found
    return found
