"""Hands over the training batches in their order, tokenised in worker processes, and knows how many it has handed over."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import xxhash
from torch.utils.data import DataLoader, Dataset

from data_prep.errors import DataError
from data_prep.shards import PairShards
from lightning_cpt.data.batch import PairBatch, make_batch
from lightning_cpt.data.dropout import drop_tokens
from lightning_cpt.data.order import WINDOW_CHUNKS, EpochOrder, batches_per_epoch, local_batch_size
from lightning_cpt.errors import ConfigError
from lightning_cpt.tokenization import PairTokenizer

STATE_VERSION = 2


class Records:
    """Records of shards by place, decoding each chunk once while it is among the last ``chunks`` used."""

    def __init__(self, shards: PairShards, chunks: int) -> None:
        self.shards = shards
        self._chunks = chunks
        self._decoded: OrderedDict[int, list[dict[str, Any]]] = OrderedDict()
        self._starts = (
            np.cumsum(shards.chunk_counts) - shards.chunk_counts
        )  # (n_chunks,) row of each first record

    def at(self, positions: np.ndarray) -> list[dict[str, Any]]:
        """The records at ``(chunk, row)`` pairs, int64 ``(n, 2)``."""
        return [self._chunk(chunk)[row] for chunk, row in positions.tolist()]

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Their places in the whole source, int64 ``(n,)``."""
        return self._starts[positions[:, 0]] + positions[:, 1]

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`rows`: int64 ``(n, 2)``."""
        chunk = np.searchsorted(self._starts, rows, side="right") - 1
        return np.stack([chunk, rows - self._starts[chunk]], axis=1)

    def _chunk(self, chunk: int) -> list[dict[str, Any]]:
        if chunk not in self._decoded:
            self._decoded[chunk] = self.shards.read_chunk(chunk)
            if len(self._decoded) > self._chunks:
                self._decoded.popitem(last=False)
        self._decoded.move_to_end(chunk)
        return self._decoded[chunk]


class TrainingBatches(Dataset[PairBatch | DataError]):
    """Batch ``number``, counted from the run's first and never from an epoch's, as this rank's share.

    Args:
        shards: The training split.
        tokenizer: Turns the texts into ids.
        batch_size: Pairs of all ranks together.
        seed: Seed of the order.
        window_chunks: Chunks that are shuffled together.
        hard_negatives: Most negatives taken from each record.
        token_dropout: Share of the tokens of x and y that are left out, at random.
        rank, world_size: Whose share.
    """

    def __init__(
        self,
        shards: PairShards,
        tokenizer: PairTokenizer,
        *,
        batch_size: int,
        seed: int = 0,
        window_chunks: int = WINDOW_CHUNKS,
        hard_negatives: int = 0,
        token_dropout: float = 0.0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if window_chunks < 1:
            raise ConfigError(f"data.window_chunks: {window_chunks} chunks cannot be shuffled; use 1 or more")
        self.per_epoch = batches_per_epoch(shards.count, batch_size)
        self.local = local_batch_size(batch_size, world_size)
        self.batch_size = batch_size
        self.seed = seed
        self.window_chunks = window_chunks
        self.shards = shards
        self._tokenizer = tokenizer
        self._hard_negatives = hard_negatives
        self.token_dropout = token_dropout
        self._rank = rank
        self._records = Records(shards, chunks=2 * window_chunks)
        self._order: EpochOrder | None = None

    @property
    def identity(self) -> dict[str, str | int | float]:
        """What gives a batch number its meaning; a checkpoint's position is good only for the same values."""
        return {
            "fingerprint": self.shards.fingerprint,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "window_chunks": self.window_chunks,
            "token_dropout": self.token_dropout,
            "hard_negatives": self._hard_negatives,
            "tokenization": self._tokenizer.fingerprint,
        }

    def positions(self, number: int) -> np.ndarray:
        """Chunk and row of the whole global batch's records, int64 ``(batch_size, 2)``."""
        epoch, batch = divmod(number, self.per_epoch)
        if self._order is None or self._order.epoch != epoch:
            self._order = EpochOrder(
                self.shards.chunk_counts, self.shards.fingerprint, self.seed, epoch, self.window_chunks
            )
        return self._order.positions(batch * self.batch_size, (batch + 1) * self.batch_size)

    def __getitem__(self, number: int) -> PairBatch | DataError:
        share = self.positions(number)[self._rank * self.local : (self._rank + 1) * self.local]
        rows = self._records.rows(share)
        try:
            records = self._records.at(share)
            batch = make_batch(
                records,
                self._tokenizer,
                rows=torch.from_numpy(rows),
                hashes=torch.from_numpy(self.shards.hashes[rows].view(np.int64)),
                hard_negatives=self._hard_negatives,
            )
        except DataError as error:
            return error  # raised in the main process: DataLoader would wrap it into a page of traceback
        if self.token_dropout:
            batch.x = drop_tokens(batch.x, self.token_dropout, self._key(number, "x"), rows)
            batch.y = drop_tokens(batch.y, self.token_dropout, self._key(number, "y"), rows)
        return batch

    def _key(self, number: int, side: str) -> int:
        return xxhash.xxh64_intdigest(f"dropout/{self.seed}/{number}/{side}".encode())


class PairLoader:
    """The training loader: sized, stateful, the same batches for any number of workers.

    Its state is the number of batches handed over since the run began. Lightning stops by count and never
    exhausts an iterator, so the number is increased before each ``yield``, never after the last.
    The workers get batch numbers without end: they live through epochs and never see one.

    Args:
        batches: What to load.
        workers: Processes that read and tokenise; 0 does it in the training process.
    """

    def __init__(self, batches: TrainingBatches, workers: int = 0) -> None:
        self.batches = batches
        self.workers = workers
        self.wait = (0.0, 0.0)  # when the last batch was asked for, and when it was there
        self._handed_over = 0
        self._stream: Iterator[PairBatch | DataError] | None = None

    def __len__(self) -> int:
        """Batches of a whole epoch, also where the next epoch to come is a resumed one and shorter."""
        return self.batches.per_epoch

    def __iter__(self) -> Iterator[PairBatch]:
        for _ in range(len(self) - self._handed_over % len(self)):
            asked = time.perf_counter()
            if self._stream is None:
                self._stream = self._open(self._handed_over)
            batch = next(self._stream)
            self.wait = (asked, time.perf_counter())
            if isinstance(batch, DataError):
                self.close()
                raise batch
            self._handed_over += 1
            yield batch

    def _open(self, first: int) -> Iterator[PairBatch | DataError]:
        loader = DataLoader(
            self.batches,
            batch_size=None,
            sampler=_From(first),
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # else every start would move the global generator
        )
        return iter(loader)

    def close(self) -> None:
        """End the workers; the next batch starts new ones."""
        self._stream = None

    def state_dict(self) -> dict[str, Any]:
        return {"version": STATE_VERSION, "batches": self._handed_over, **self.batches.identity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the last batch that was handed over.

        Raises:
            ConfigError: the state belongs to other data, another batch size, seed or window.
        """
        if state["version"] != STATE_VERSION:
            raise ConfigError(
                f"ckpt_path: data state version {state['version']}, this version reads {STATE_VERSION}"
            )
        for field, now in self.batches.identity.items():
            if state[field] != now:
                raise ConfigError(self._mismatch(field, state[field], now))
        if state["batches"] != self._handed_over:
            self._handed_over = state["batches"]
            self.close()

    def _mismatch(self, field: str, then: Any, now: Any) -> str:
        if field == "fingerprint":
            return (
                f"data.folder: {self.batches.shards.folder} (fingerprint {now}) is not the data of the checkpoint "
                f"({then}); name the folder it was trained on, or start a new run"
            )
        if field == "tokenization":
            return (
                "model.encoder: tokenizer, delimiters, lengths or drop_repeats are not the checkpoint's; leave them, or "
                "start a new run"
            )
        return f"data.{field}: {now}, but the checkpoint was made with {then}; leave it at {then}, or start a new run"


class _From:
    """The numbers from ``first`` on, without end: a sampler for batches."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        number = self._first
        while True:
            yield number
            number += 1
