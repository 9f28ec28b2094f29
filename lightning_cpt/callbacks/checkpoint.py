"""Writes a run's last.ckpt every N steps, whole or not at all, and says how to go on from it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from data_prep.errors import DataError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it there.

    Lightning writes to the system's folder for temporary files and moves it; where that is another file system,
    the move is a copy, and a kill in the middle leaves half a last.ckpt and no whole one.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        if "://" in str(path):  # object stores show a file only when it is whole
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        with part.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)


class RunCheckpoint(ModelCheckpoint):
    """Keeps FOLDER/last.ckpt up to date, beside any checkpoint callbacks of the recipe.

    Args:
        folder: The run's folder.
        every_n_steps: Optimizer steps between two writes; the last step is written too.
    """

    def __init__(self, folder: str, every_n_steps: int) -> None:
        super().__init__(
            dirpath=folder,
            every_n_train_steps=every_n_steps,
            save_last=True,
            save_top_k=0,
            enable_version_counter=False,
        )

    def state_dict(self) -> dict[str, Any]:
        return {}  # always the same file: nothing to remember

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._last_global_step_saved != trainer.global_step:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save before bad data or SIGTERM stops the run, and print how to go on.

        Bad data shows between two batches; between those of one step the gradient so far would be lost, and the
        checkpoint before serves. A checkpoint needs all ranks, so all have to have seen it.
        """
        done = trainer.fit_loop.epoch_loop.batch_progress.current
        # At an epoch's end Lightning has counted the epoch, but not yet its batches back to 0.
        within = done.ready == done.completed < trainer.num_training_batches
        whole = within and done.ready % trainer.accumulate_grad_batches == 0
        together = trainer.world_size == 1 or getattr(exception, "on_all_ranks", False)
        between = isinstance(exception, DataError | SIGTERMException) and trainer.training and whole
        if between and together and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
        # A mistake found before the first step has its own line, and there is nothing to go on from.
        if trainer.is_global_zero and (
            self._last_global_step_saved or isinstance(exception, KeyboardInterrupt | SIGTERMException)
        ):
            print(f"\ncpt: stopped{self._way_on(trainer)}", file=sys.stderr)

    def _way_on(self, trainer: Trainer) -> str:
        if step := self._last_global_step_saved:
            last = Path(str(self.dirpath)) / "last.ckpt"
            return f"; go on from step {step} with: cpt fit --ckpt_path {_short(last)}"
        before = f" before the first checkpoint (run.checkpoint_every: {self._every_n_train_steps})"
        if trainer.ckpt_path:
            return f"{before}; go on as this time: cpt fit --ckpt_path {_short(Path(trainer.ckpt_path))}"
        return before


def _short(path: Path) -> str:
    """The path as one would type it from here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


class KeepConfig(Callback):
    """Writes the run's configuration to FOLDER/config.yaml and into each checkpoint, under "config".

    Args:
        folder: The run's folder.
        text: The resolved configuration as YAML.
    """

    def __init__(self, folder: str, text: str) -> None:
        self.folder = Path(folder)
        self.text = text

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "config.yaml").write_text(self.text, encoding="utf-8")

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["config"] = self.text
