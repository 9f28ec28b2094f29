"""The LightningModule: encoder -> contrastive loss over all ranks -> log, and the fixed pool's scores."""

from __future__ import annotations

import os
from typing import Any

import torch
import xxhash
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.optim import AdamW

from eval_suite.metrics import reciprocal_ranks
from lightning_cpt.chunks import Work
from lightning_cpt.console import say
from lightning_cpt.data.batch import PairBatch
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError
from lightning_cpt.gather import all_gather_uneven, exchange_counts
from lightning_cpt.guards import Named, check_gradient, check_loss, gradient_norm
from lightning_cpt.losses import Contrast, InfoNCE, info_nce
from lightning_cpt.optim import parameter_groups, warmup_cosine
from lightning_cpt.ragged import Ragged
from lightning_cpt.strategy import shard_modules


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
        self._first_step = 0
        self._said = False
        self._stepped: list[Named] = []  # records whose gradients the next optimizer step takes
        self._pools: dict[int, list[list[Tensor]]] = {}  # embedded batches of each source's pool

    def setup(self, stage: str) -> None:
        if stage == "fit":
            check_precision(self.trainer.precision)
            self.encoder.memory.ranks_here = int(getattr(self.trainer, "num_devices", 1))

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
        self._first_step = self.global_step
        _count_resumed_epoch(self.trainer.fit_loop)

    def configure_model(self) -> None:
        """Under FSDP2, cut the weights over the ranks."""
        if isinstance(self.trainer.strategy, ModelParallelStrategy) and not self.encoder.in_step:
            assert self.device_mesh is not None
            if self.encoder.compiled:
                raise ConfigError(
                    "model.encoder.compile: does not go with weights that are cut over the ranks; leave it out"
                )
            shard_modules(self.encoder, self.loss, self.device_mesh)
            self.encoder.in_step = True

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        self._seed_step(batch_idx)
        vectors = self._embed(batch.parts())
        hard = vectors[2] if batch.negatives is not None else None
        contrast: Contrast = self.loss(vectors[0], vectors[1], hard, batch.keys())
        check_loss(contrast.loss, vectors, batch, self.global_step)
        self._stepped.append(Named.of(batch))
        if (self.global_step + 1) % self._log_every == 0:
            self._log_step(batch, contrast)
        return contrast.loss * self._of_short_step(batch_idx)

    def _of_short_step(self, batch_idx: int) -> float:
        """Makes up for Lightning's dividing by `accumulate_grad_batches` where an epoch's last step has fewer batches."""
        parts, batches = self.trainer.accumulate_grad_batches, self.trainer.num_training_batches
        rest = batches % parts if batches < float("inf") else 0
        return parts / rest if rest and batch_idx >= batches - rest else 1.0

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
        }
        rest: dict[str, Any] = {
            "train/scale": self.loss.scale.detach(),
            "train/masked_per_query": float(contrast.masked_per_query),
            "train/learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"],
            "train/negatives_per_query": float(contrast.negatives_per_query),
        }
        self.log_dict(means, batch_size=len(batch), sync_dist=True)
        self.log_dict(rest, batch_size=len(batch))

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        batches, self._stepped = self._stepped, []
        if self.trainer.precision == "16-mixed":
            return  # the gradient scaler looks for overflows, and skips the step
        norm = gradient_norm(self.parameters())
        check_gradient(norm, batches, self.global_step)
        if (self.global_step + 1) % self._log_every == 0:
            self.log("train/gradient_norm", norm)

    def on_train_batch_end(self, *_: Any) -> None:
        memory = self.encoder.memory
        if self.global_step > self._first_step and not memory.settled:
            memory.settle(self.device)
        elif self.global_step >= self._first_step + 2 and self.encoder.work is not None and not self._said:
            self._said = self._say_kept(self.encoder.work)

    def _say_kept(self, work: Work) -> bool:
        """Say once how many chunks keep their activations, and what the others cost."""
        memory = self.encoder.memory
        if work.chunks == 1 or memory.bytes_per_token is None:
            return False
        kept = (work.padded_tokens - work.recomputed_tokens) * memory.bytes_per_token
        text = f"{work.kept_chunks} of {work.chunks} chunks keep their activations ({kept / 2**30:.2f} GiB"
        if memory.budget < float("inf"):
            text += f" of {memory.budget / 2**30:.2f}"
        if work.recomputed_tokens:  # a step is three forward passes' work; the backward pass takes two
            text += f"); computing the others again is {work.recomputed_tokens / work.padded_tokens / 3:.0%} more work"
        else:
            text += ")"
        say(text)
        return True

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        # Here and not in on_train_batch_end, which runs only after the checkpoint has been written.
        self.loss.clamp_()

    def validation_step(self, batch: PairBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._embed_pool(batch, dataloader_idx)

    def test_step(self, batch: PairBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._embed_pool(batch, dataloader_idx)

    def on_validation_epoch_end(self) -> None:
        self._score_pools("val", "validation")

    def on_test_epoch_end(self) -> None:
        self._score_pools("test", "test")

    def predict_step(self, batch: PairBatch, batch_idx: int) -> dict[str, Tensor]:
        """Unit vectors of the sides that the batch has, each ``(n, dim)``."""
        sides = zip("xy", self._embed_both(batch), strict=True)
        return {side: vectors for side, vectors in sides if len(vectors)}

    def _embed_pool(self, batch: PairBatch, pool: int) -> None:
        self._pools.setdefault(pool, []).append(self._embed_both(batch))

    def _embed_both(self, batch: PairBatch) -> list[Tensor]:
        """Unit vectors of x and of y; in step with the other ranks, one without rows has to take part too."""
        if len(batch) or self.encoder.in_step:
            return self._embed([batch.x, batch.y])
        return [torch.empty(0, self.encoder.dim, device=self.device) for _ in "xy"]

    def _score_pools(self, stage: str, split: str) -> None:
        """Log each pool's scores by its source's name, and their mean; without the name where there is one pool."""
        found = [self._score_pool(self._pools[pool]) for pool in sorted(self._pools)]
        self._pools.clear()
        pool_names = getattr(getattr(self.trainer, "datamodule", None), "pool_names", None)
        names = pool_names(split) if pool_names else [str(pool) for pool in range(len(found))]
        scores = {f"{stage}/{key}": sum(one[key] for one in found) / len(found) for key in found[0]}
        if len(found) > 1:
            for name, one in zip(names, found, strict=True):
                scores |= {f"{stage}/{key}/{name}": value for key, value in one.items()}
        self.log_dict(scores, sync_dist=True)  # equal on all ranks

    def _score_pool(self, vectors: list[list[Tensor]]) -> dict[str, Any]:
        """Loss and MRR both ways of a pool: one batch of all its pairs, the same for every recipe."""
        x, y = (torch.cat(side) for side in zip(*vectors, strict=True))
        counts = [count for (count,) in exchange_counts([len(x)], self.device)]
        x, y = all_gather_uneven(x, counts), all_gather_uneven(y, counts)  # (pool, dim)
        return {
            "mrr": float(reciprocal_ranks(x, y).mean()),
            "mrr_y_to_x": float(reciprocal_ranks(y, x).mean()),
            "loss": info_nce(x, y, self.loss.scale, rank=0, world_size=1, all_x=x, all_y=y).loss,
        }

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
