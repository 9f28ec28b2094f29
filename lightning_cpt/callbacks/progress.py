"""One bar over the run's optimizer steps with loss, accuracy, scale and speed; plain lines where no terminal is."""

from __future__ import annotations

import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

# Logged name, and how it is shown.
SHOWN = {
    "train/loss": ("loss", "{:.3f}"),
    "train/accuracy_x_to_y": ("acc", "{:.3f}"),
    "train/scale": ("scale", "{:.1f}"),
    "train/pairs_per_second": ("pairs/s", "{:.0f}"),
    "val/mrr": ("val mrr", "{:.3f}"),
}


class RunProgress(TQDMProgressBar):
    """Shows the numbers of the last logged step (`trainer.log_every_n_steps`), so that no step waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self._lines = not sys.stdout.isatty()
        if self._lines:
            self.disable()

    def init_train_tqdm(self) -> Tqdm:
        return Tqdm(
            desc="fit",
            unit="step",
            disable=self.is_disabled,
            leave=True,
            dynamic_ncols=True,
            file=sys.stdout,
            smoothing=0.1,
        )

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        self.train_progress_bar = self.init_train_tqdm()
        self.train_progress_bar.total = int(trainer.estimated_stepping_batches)
        self.train_progress_bar.initial = self.train_progress_bar.n = trainer.global_step
        self._steps = trainer.global_step

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        pass  # the bar counts the run's steps, not an epoch's batches

    def on_train_batch_end(
        self, trainer: Any, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:  # Any: log_every_n_steps is set where no type checker sees it
        if trainer.global_step == self._steps:  # a batch that only adds to the gradient
            return
        self._steps = trainer.global_step
        self.train_progress_bar.update(1)
        if self._steps % trainer.log_every_n_steps == 0:
            self._show(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pass

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.val_progress_bar.close()
        self.reset_dataloader_idx_tracker()

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The shown metrics that were logged so far, as text."""
        logged = trainer.callback_metrics
        return {name: form.format(float(logged[key])) for key, (name, form) in SHOWN.items() if key in logged}

    def _show(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = self.get_metrics(trainer, pl_module)
        self.train_progress_bar.set_postfix(metrics)
        if self._lines and trainer.is_global_zero:
            numbers = "  ".join(f"{name} {value}" for name, value in metrics.items())
            print(f"step {self._steps}/{self.train_progress_bar.total}  {numbers}", flush=True)
