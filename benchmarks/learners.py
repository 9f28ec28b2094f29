"""Trains an encoder for so many steps or seconds, by ours or by sentence-transformers' trainer, on ready token ids."""

from __future__ import annotations

import logging
import math
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xxhash
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from lightning_cpt.data.batch import PairBatch
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.losses import InfoNCE
from lightning_cpt.module import ContrastiveModule
from lightning_cpt.optim import parameter_groups
from lightning_cpt.ragged import Ragged
from lightning_cpt.tokenization import PairTokenizer

WARMUP = 0.05  # share of the course
BETAS = (0.9, 0.98)
DECAY = 0.01
CLIP = 1.0


@dataclass(frozen=True)
class Pairs:
    """Training pairs as token ids, with the hashes that false negatives are known by, ``(n, 3)``."""

    x: Ragged
    y: Ragged
    hashes: Tensor

    @classmethod
    def of(cls, tokenization: PairTokenizer, records: Sequence[dict[str, Any]]) -> Pairs:
        """Tokenise records."""
        texts = [[r["x"], r["y"], str(r["meta"].get("document", r["id"]))] for r in records]
        hashed = [[xxhash.xxh64_intdigest(text.encode()) for text in row] for row in texts]
        hashes = torch.from_numpy(np.array(hashed, np.uint64).view(np.int64))
        x, y = (tokenization([record[side] for record in records], side) for side in ("x", "y"))
        return cls(x, y, hashes)

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, rows: Tensor) -> PairBatch:
        ids = [str(row) for row in rows.tolist()]
        return PairBatch(self.x.select(rows), self.y.select(rows), None, ids, rows, self.hashes[rows])


class Course:
    """How far a training is: by steps, or by the clock from :meth:`begin` on; the learning rate follows it.

    Args:
        steps, seconds: Where it ends; one of the two.
    """

    def __init__(self, *, steps: int | None = None, seconds: float | None = None) -> None:
        self.steps, self.seconds = steps, seconds
        self._began: float | None = None
        self.done = 0

    def begin(self) -> None:
        self._began = time.perf_counter()

    @property
    def elapsed(self) -> float:
        return 0.0 if self._began is None else time.perf_counter() - self._began

    def share(self) -> float:
        """From 0 to 1."""
        if self.steps is not None:
            return min(1.0, self.done / self.steps)
        return min(1.0, self.elapsed / (self.seconds or 1.0))

    def count(self) -> bool:
        """Note a step; true where it was the last."""
        self.done += 1
        return self.share() >= 1.0

    def factor(self, _: int = 0) -> float:
        """Share of the peak learning rate: a line up, then half a cosine down to 0."""
        share = self.share()
        if share < WARMUP:
            return max(share / WARMUP, 0.02)
        return (1 + math.cos(math.pi * (share - WARMUP) / (1 - WARMUP))) / 2


def orders(count: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Rows of each batch, without end: every epoch in an order of its own, without the last that is not full."""
    made = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=made)[: count // batch_size * batch_size].split(batch_size)


class _Batches:
    """A loader of Lightning's: sized, over the pairs in memory."""

    def __init__(self, pairs: Pairs, batch_size: int, seed: int) -> None:
        self._pairs, self._orders = pairs, orders(len(pairs), batch_size, seed)
        self._length = len(pairs) // batch_size

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[PairBatch]:
        for _ in range(self._length):
            yield self._pairs.batch(next(self._orders))


class _Module(ContrastiveModule):
    """The LightningModule, with the learning rate on a course that may be a clock's."""

    course: Course

    def configure_optimizers(self) -> Any:
        optimizer = AdamW(parameter_groups(self, self.weight_decay), lr=self.learning_rate, betas=self.betas)
        scheduler = LambdaLR(optimizer, self.course.factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class _Stop(Callback):
    def __init__(self, course: Course) -> None:
        self._course = course

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self._course.begin()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if self._course.count():
            trainer.should_stop = True


def train_ours(
    encoder: TextEncoder,
    pairs: Pairs,
    course: Course,
    *,
    batch_size: int,
    learning_rate: float,
    seed: int,
    temperature: float = 0.05,
) -> dict[str, float]:
    """Train by Lightning's Trainer and our module, as `cpt fit` does; the encoder is changed in place."""
    module = _Module(encoder, InfoNCE(temperature), learning_rate, DECAY, BETAS)
    module.course = course
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=-1,
            max_epochs=-1,
            gradient_clip_val=CLIP,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=10**9,
            callbacks=[_Stop(course)],
        )
        trainer.fit(module, train_dataloaders=_Batches(pairs, batch_size, seed))
    return {"steps": course.done, "seconds": course.elapsed, "pairs_seen": course.done * batch_size}


def train_peer(
    model: Any,
    loss: Any,
    pairs: Pairs,
    course: Course,
    *,
    batch_size: int,
    learning_rate: float,
    seed: int,
    by_length: bool = False,
) -> dict[str, float]:
    """Train by SentenceTransformerTrainer, which gets our token ids from its collator; the model is changed in place."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from transformers import PrinterCallback, TrainerCallback

    class Stop(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            course.begin()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = course.count()

    rows = list(range(len(pairs)))
    collator: Any = Collator(pairs, by_length)  # not of its class, which tokenises
    model.train()
    optimizer = AdamW(parameter_groups(model, DECAY), lr=learning_rate, betas=BETAS)
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch_size,
            max_steps=10**6,
            max_grad_norm=CLIP,
            dataloader_drop_last=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            seed=seed,
        )
        trainer = SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict({"anchor": rows, "positive": rows}),
            loss=loss,
            data_collator=collator,
            callbacks=[Stop()],
            optimizers=(optimizer, LambdaLR(optimizer, course.factor)),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return {"steps": course.done, "seconds": course.elapsed, "pairs_seen": course.done * batch_size}


class Collator:
    """Rows of the pairs -> the features that sentence-transformers' own collator makes of texts.

    Args:
        pairs: All pairs.
        by_length: Order each batch by its pairs' tokens: mini-batches then hold less padding.
    """

    valid_label_columns = ("label",)

    def __init__(self, pairs: Pairs, by_length: bool) -> None:
        self._pairs, self._by_length = pairs, by_length

    def __call__(self, rows: Sequence[dict[str, int]]) -> dict[str, Tensor]:
        index = torch.tensor([row["anchor"] for row in rows])
        x, y = self._pairs.x.select(index), self._pairs.y.select(index)
        if self._by_length:
            order = (x.lengths + y.lengths).argsort(stable=True)  # (n,)
            x, y = x.select(order), y.select(order)
        batch: dict[str, Tensor] = {}
        for column, side in (("anchor", x), ("positive", y)):
            batch[f"{column}_input_ids"] = side.pad(0)
            batch[f"{column}_attention_mask"] = side.mask().long()
        return batch
