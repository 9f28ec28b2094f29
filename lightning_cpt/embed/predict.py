"""Embeds parts through Lightning's predict: each rank takes its share of those that are missing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from lightning_cpt.embed.parts import Work
from lightning_cpt.embed.spool import Spool
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError, TrainingError
from lightning_cpt.ragged import Ragged
from lightning_cpt.tokenization import Side

_NOTHING = (
    -1
)  # the part of a rank that has none: Lightning ends one without batches early, and the others wait
_PATIENCE = timedelta(days=7)  # of a rank that has nothing left to do, for the others
Item = tuple[int, Ragged | list[str]]


class Parts(Dataset[Item]):
    """Numbers and contents of parts, tokenised where the encoder is ours; runs in worker processes."""

    def __init__(self, spool: Spool, numbers: list[int], encoder: Any, side: Side) -> None:
        self._spool, self._numbers, self._side = spool, numbers, side
        self._tokenization = encoder.tokenization if isinstance(encoder, TextEncoder) else None

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Item:
        number = self._numbers[index]
        if number == _NOTHING:
            return number, []
        _, texts = self._spool.read(number)
        return number, texts if self._tokenization is None else self._tokenization(texts, self._side)


class Sized:
    """A loader that Lightning takes as it is; a DataLoader it would build anew with a sampler of its own."""

    def __init__(self, loader: DataLoader[Item]) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._loader)


def _as_it_is(item: Any) -> Any:
    return item


class PartEmbedder(LightningModule):
    """Embeds one part a step and writes it.

    Args:
        encoder: a TextEncoder, or any encoder of eval_suite's protocol.
        side: of the texts.
        dtype: of the numbers on disk.
        work: where the parts go, and where the texts are once the ranks have begun.
        workers: processes that tokenise.
    """

    def __init__(self, encoder: Any, side: Side, dtype: str, work: Work, workers: int = 0) -> None:
        super().__init__()
        self._encoder = (encoder,)  # in a tuple, so that only what has weights becomes a part of this module
        inner = encoder if isinstance(encoder, nn.Module) else getattr(encoder, "model", None)
        if isinstance(inner, nn.Module):
            self.inner = inner  # Lightning moves it to the rank's device
        self._side, self._stored_as = side, dtype
        self._work, self._workers = work, workers
        self._bar: Any = None

    def setup(self, stage: str) -> None:
        """Find the texts: under torchrun all processes start at once, and the first reads the input meanwhile."""
        spool = Spool.open(self._work.folder)
        if spool is None:
            raise ConfigError(
                f"{self._work.folder}: no texts there; all machines must share the folder of --out"
            )
        self._spool = spool

    def predict_dataloader(self) -> Sized:
        """This rank's parts: each rank has every so-many-th, whatever of them is done, so that all agree unasked."""
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        numbers = [part for part in self._work.missing(self._spool) if part % ranks == rank]
        parts = Parts(self._spool, numbers or [_NOTHING], self._encoder[0], self._side)
        return Sized(DataLoader(parts, batch_size=None, num_workers=self._workers, collate_fn=_as_it_is))

    def on_predict_start(self) -> None:
        self._bar = tqdm(total=self._spool.rows, unit="row", disable=None if self.global_rank == 0 else True)
        done = self._spool.parts - len(self._work.missing(self._spool))
        self._bar.update(min(self._spool.rows, done * self._spool.part_rows))

    def predict_step(self, batch: Item, batch_idx: int) -> None:
        number, content = batch
        if number == _NOTHING:
            return
        self._work.write(number, self._embed(content), self._stored_as, self._spool)
        self._bar.update(len(content) * self.trainer.world_size)

    def on_predict_end(self) -> None:
        self._bar.close()

    def _embed(self, content: Ragged | list[str]) -> np.ndarray:
        (encoder,) = self._encoder
        if isinstance(content, Ragged):
            vectors: np.ndarray = encoder.encode_tokens(content)
            if not np.isfinite(vectors).all():
                raise TrainingError(
                    f"encoder {encoder.name}: some vectors are not finite; check the weights, or take --precision 32-true"
                )
            return vectors
        from eval_suite.vectors import checked

        return checked(encoder.name, encoder.encode(content, self._side), content)

    def transfer_batch_to_device(self, batch: Item, device: Any, dataloader_idx: int) -> Item:
        """The encoder moves its chunks itself."""
        return batch


def strategy(ranks: int) -> Strategy | str:
    """DDP where there are several ranks; a fast one waits for a slow one as long as it takes."""
    return DDPStrategy(timeout=_PATIENCE) if ranks > 1 else "auto"
