"""The LightningModule: encoder -> contrastive loss over all ranks -> log, and the fixed pool's scores."""

from __future__ import annotations

import os
import time
from typing import Any

import torch
import xxhash
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.optim import AdamW

from eval_suite.metrics import reciprocal_ranks
from lightning_cpt.chunks import plan_chunks
from lightning_cpt.data.batch import PairBatch
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError
from lightning_cpt.gather import all_gather_uneven, exchange_counts
from lightning_cpt.losses import Contrast, InfoNCE, info_nce
from lightning_cpt.optim import parameter_groups, warmup_cosine
from lightning_cpt.ragged import Ragged


class ContrastiveModule(LightningModule):
    """Trains an encoder so that each x finds its own y among the pairs of all ranks, and each y its own x.

    Args:
        encoder: The encoder of both sides; its keys stand right below, or under class_path and init_args for
            a subclass of yours.
        loss: The loss with its learned scale; its keys likewise.
        learning_rate: AdamW's peak learning rate.
        weight_decay: AdamW's decay of tensors of two and more dimensions; biases, norms and scale never decay.
        betas: AdamW's two betas.
        warmup_steps: Optimizer steps of linear warm-up, before half a cosine down to the run's end.
        final_fraction: Learning rate at the run's end, as a fraction of the peak.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        loss: InfoNCE | None = None,
        learning_rate: float = 2e-4,
        weight_decay: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.98),
        warmup_steps: int = 0,
        final_fraction: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.loss = InfoNCE() if loss is None else loss
        _check_range("learning_rate", learning_rate, learning_rate >= 0, "0 or more")
        _check_range("weight_decay", weight_decay, weight_decay >= 0, "0 or more")
        _check_range("betas", betas, all(0 <= beta < 1 for beta in betas), "from 0 to below 1")
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.betas = betas
        self.warmup_steps = warmup_steps
        self.final_fraction = final_fraction
        self.speed = Speed()
        self._pool: list[tuple[Tensor, Tensor]] = []  # embedded batches of the validation or test pool

    def setup(self, stage: str) -> None:
        if stage == "fit":
            check_precision(self.trainer.precision)

    def configure_optimizers(self) -> Any:
        """AdamW, and its learning rate's course over the whole run, moved once per optimizer step."""
        trainer: Any = self.trainer  # some of its attributes are set where no type checker sees them
        steps = trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise ConfigError(
                "trainer.max_steps: the learning rate's course needs an end; give a number of steps"
            )
        groups = parameter_groups(self, self.weight_decay)
        optimizer = AdamW(groups, lr=self.learning_rate, betas=self.betas)
        # A trial's step or two leave no room for a warm-up, and need none.
        warmup = 0 if trainer.fast_dev_run else self.warmup_steps
        scheduler = warmup_cosine(optimizer, warmup, int(steps), self.final_fraction)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        if self.trainer.accumulate_grad_batches > 1:
            rank_zero_warn(
                "trainer.accumulate_grad_batches sums the gradients of separate batches: each query still meets the "
                "negatives of one data.batch_size only; a larger data.batch_size fits, it is encoded in chunks"
            )

    def on_train_start(self) -> None:
        self.speed.restart()
        _count_resumed_epoch(self.trainer.fit_loop)

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        self._seed_step(batch_idx)
        contrast: Contrast = self.loss(*self._embed(batch.parts()))
        self.speed.add(batch)
        if (self.global_step + 1) % self._log_every == 0:
            self._log_step(batch, contrast)
        return contrast.loss

    @property
    def _log_every(self) -> int:
        trainer: Any = self.trainer
        return int(trainer.log_every_n_steps)

    def _seed_step(self, batch_idx: int) -> None:
        """Give each step's dropout its own seed, so that a resumed run draws what the unbroken one drew."""
        seed = os.environ.get("PL_GLOBAL_SEED", "0")
        name = f"{seed}/{self.global_step}/{batch_idx}/{self.global_rank}"
        torch.manual_seed(xxhash.xxh64_intdigest(name.encode()))

    def _embed(self, parts: list[Ragged]) -> list[Tensor]:
        """Unit vectors of each part, ``(len(part), dim)``, encoded together: longer batches waste less padding."""
        together = self.encoder(Ragged.cat(parts))  # (all, dim)
        return list(together.split([len(part) for part in parts]))

    def _log_step(self, batch: PairBatch, contrast: Contrast) -> None:
        means: dict[str, Any] = {
            "train/loss": contrast.loss.detach(),
            "train/accuracy_x_to_y": contrast.accuracy_x_to_y,
            "train/accuracy_y_to_x": contrast.accuracy_y_to_x,
            "train/padding": padding_share(Ragged.cat(batch.parts()), self.encoder.chunk_tokens),
        }
        pairs, tokens = self.speed.rates()
        rest: dict[str, Any] = {
            "train/scale": self.loss.scale.detach(),
            "train/learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"],
            "train/pairs_per_second": pairs * self.trainer.world_size,
            "train/tokens_per_second": tokens * self.trainer.world_size,
            "train/negatives_per_query": float(contrast.negatives_per_query),
        }
        self.log_dict(means, batch_size=len(batch), sync_dist=True)
        self.log_dict(rest, batch_size=len(batch))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        # Here and not in on_train_batch_end, which runs only after the checkpoint has been written.
        self.loss.clamp_()

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        self._embed_pool(batch)

    def test_step(self, batch: PairBatch, batch_idx: int) -> None:
        self._embed_pool(batch)

    def on_validation_epoch_end(self) -> None:
        self._score_pool("val")
        self.speed.restart()

    def on_test_epoch_end(self) -> None:
        self._score_pool("test")

    def predict_step(self, batch: PairBatch, batch_idx: int) -> dict[str, Tensor]:
        """Unit vectors of the sides that the batch has, each ``(n, dim)``."""
        sides = {side: ragged for side, ragged in (("x", batch.x), ("y", batch.y)) if len(ragged)}
        return dict(zip(sides, self._embed(list(sides.values())), strict=True)) if sides else {}

    def _embed_pool(self, batch: PairBatch) -> None:
        if len(batch):
            x, y = self._embed([batch.x, batch.y])
            self._pool.append((x, y))

    def _score_pool(self, stage: str) -> None:
        """Log the pool's loss and MRR both ways: one batch of all its pairs, the same for every recipe."""
        nothing = torch.empty(0, self.encoder.dim, device=self.device)
        x, y = (
            torch.cat([nothing, *side])
            for side in (zip(*self._pool, strict=True) if self._pool else ((), ()))
        )
        self._pool.clear()
        counts = [count for (count,) in exchange_counts([len(x)], self.device)]
        x, y = all_gather_uneven(x, counts), all_gather_uneven(y, counts)  # (pool, dim)
        scores: dict[str, Any] = {
            f"{stage}/mrr": float(reciprocal_ranks(x, y).mean()),
            f"{stage}/mrr_y_to_x": float(reciprocal_ranks(y, x).mean()),
            f"{stage}/loss": info_nce(x, y, self.loss.scale, rank=0, world_size=1, all_x=x, all_y=y).loss,
        }
        self.log_dict(scores, batch_size=len(x), sync_dist=True)  # equal on all ranks

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["encoder"] = self.encoder.to_dict()


def _count_resumed_epoch(loop: Any) -> None:
    """Count as begun the epoch behind a checkpoint that was written after an epoch's last batch.

    Lightning 2.6 counts the finished one as done, but not the next one as begun. The first continuation is
    right; a second one then trains an epoch too many.
    """
    progress = loop.epoch_progress
    if loop.restarted_mid_epoch and progress.current.ready == progress.current.processed:
        progress.increment_ready()
        progress.increment_started()


def _check_range(key: str, value: Any, good: bool, need: str) -> None:
    if not good:
        raise ConfigError(f"model.{key}: {value} is not {need}")


def check_precision(precision: str) -> None:
    """Refuse what would train wrongly.

    Raises:
        ConfigError: the trainer would keep weights in 16 bits.
    """
    if precision in ("bf16-true", "16-true"):
        raise ConfigError(
            f"trainer.precision: {precision} keeps weights and gradient sums in 16 bits, where sums over chunks are "
            f"per cents off and the scale stands still; use {precision.replace('true', 'mixed')} or 32-true"
        )


class Speed:
    """Pairs and tokens of this rank since the last reading, per second."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what was counted; validation is no training time."""
        self._since = time.perf_counter()
        self._pairs = self._tokens = 0

    def add(self, batch: PairBatch) -> None:
        self._pairs += len(batch)
        self._tokens += sum(part.ids.numel() for part in batch.parts())

    def rates(self) -> tuple[float, float]:
        """Pairs and tokens per second, counted anew from here."""
        seconds = max(time.perf_counter() - self._since, 1e-9)
        pairs, tokens = self._pairs / seconds, self._tokens / seconds
        self.restart()
        return pairs, tokens


def padding_share(batch: Ragged, chunk_tokens: int) -> float:
    """Share of the tokens that are padding once the batch is cut into length-sorted chunks."""
    lengths = batch.lengths.cpu()
    padded = sum(len(index) * int(lengths[index].max()) for index in plan_chunks(lengths, chunk_tokens))
    return 1 - int(lengths.sum()) / padded
