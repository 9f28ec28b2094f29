"""Writes the embeddings of `cpt predict` with their ids, in input order, each exactly once on any number of ranks."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_cpt.data.batch import PairBatch

SIDES = ("x", "y")


class PredictionWriter(Callback):
    """Writes FOLDER/x.npy and FOLDER/y.npy, float32 (n, dim), and FOLDER/ids.jsonl, n JSON strings.

    The ranks have consecutive shares of the input (:class:`lightning_cpt.data.evaluation.RankBatches`): each
    appends to files of its own, and rank 0 puts them behind each other. A side that the input lacks has no file.

    Args:
        folder: Where to write; the ranks must share it.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (*SIDES, "ids"):
            self._part(name, trainer.global_rank).unlink(missing_ok=True)
            if trainer.is_global_zero:
                self._final(name).unlink(missing_ok=True)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: PairBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        vectors: dict[str, Tensor] = outputs
        for side, rows in vectors.items():
            with self._part(side, trainer.global_rank).open("ab") as file:
                np.save(file, rows.float().cpu().numpy())
        with self._part("ids", trainer.global_rank).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(identity, ensure_ascii=False) + "\n" for identity in batch.ids)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.strategy.barrier("predictions")
        if not trainer.is_global_zero:
            return
        for name in (*SIDES, "ids"):
            parts = [p for rank in range(trainer.world_size) if (p := self._part(name, rank)).exists()]
            if parts:
                join = _join_text if name == "ids" else _join_arrays
                temporary = self.folder / f".{name}.part"
                join(parts, temporary)
                os.replace(temporary, self._final(name))
            for part in parts:
                part.unlink()
        print(f"embeddings: {self.folder}")

    def _part(self, name: str, rank: int) -> Path:
        return self.folder / f".{name}.rank{rank}.part"

    def _final(self, name: str) -> Path:
        return self.folder / (f"{name}.jsonl" if name == "ids" else f"{name}.npy")


def _join_text(parts: Sequence[Path], target: Path) -> None:
    target.write_bytes(b"".join(part.read_bytes() for part in parts))


def _join_arrays(parts: Sequence[Path], target: Path) -> None:
    """One array of all the blocks in the parts, never holding more than one block in memory."""
    shapes = [block.shape for block in _blocks(parts)]
    rows = sum(n for n, _ in shapes)
    joined = np.lib.format.open_memmap(target, mode="w+", dtype=np.float32, shape=(rows, shapes[0][1]))
    start = 0
    for block in _blocks(parts):
        joined[start : start + len(block)] = block
        start += len(block)
    joined.flush()


def _blocks(parts: Sequence[Path]) -> Any:
    for part in parts:
        with part.open("rb") as file:
            while file.peek(1):
                yield np.load(file)
