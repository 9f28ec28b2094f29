"""Reads and tokenises one worker's records of each global batch: those of the chunks that are its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import xxhash
from torch import Tensor
from torch.utils.data import Dataset

from data_prep.errors import CorruptChunk, DataError
from lightning_cpt.data.dropout import drop_tokens
from lightning_cpt.data.order import local_batch_size
from lightning_cpt.data.part import Part
from lightning_cpt.data.plan import Places, Plan, encoders, readers
from lightning_cpt.data.records import Records
from lightning_cpt.tokenization import SIDES, PairTokenizer

OnCorrupt = Literal["stop", "substitute"]


@dataclass(frozen=True, slots=True)
class Share:
    """The records of a batch that one worker of one rank reads.

    Args:
        places: Places of the whole batch.
        mine: Those of the records here, int64 ``(m,)``.
        records: The records.
        rows: Their rows in the training set, int64 ``(m,)``.
        replaced: What is wrong with the damaged chunks that others stand in for.
    """

    places: Places
    mine: np.ndarray
    records: list[dict[str, Any]]
    rows: np.ndarray
    replaced: list[str]


class ShareReader:
    """Reads the chunks that are one worker's own.

    Args:
        plan: The records of every batch.
        on_corrupt: ``stop`` at a damaged chunk, or ``substitute``: fill its places from the sound chunk before it
            in the order of the pass, a function of the data alone.
        rank, world_size: Whose; the ranks share the batch evenly.
        workers: Of each rank.
    """

    def __init__(
        self, plan: Plan, on_corrupt: OnCorrupt = "stop", rank: int = 0, world_size: int = 1, workers: int = 0
    ) -> None:
        local_batch_size(plan.mixture.batch_size, world_size)
        self.plan = plan
        self.on_corrupt = on_corrupt
        self.rank, self.world_size, self.workers = rank, world_size, max(1, workers)
        # A worker's own chunks of two windows, and the one before each where damage is filled.
        chunks = 2 * -(-plan.window_chunks // (world_size * self.workers)) + 2
        self._records = [Records(shards, chunks) for shards in plan.data.shards]
        self._damaged: dict[tuple[int, int], str] = {}  # source and chunk -> what is wrong with it

    def read(self, number: int, worker: int) -> Share:
        """Worker ``worker``'s records of batch ``number``, counted from the run's first and never from an epoch's.

        Raises:
            DataError: a chunk that is damaged or cannot be read.
        """
        places = self.plan.places(number)
        own = self.rank + self.world_size * worker
        mine = np.flatnonzero(readers(places, self.world_size, self.workers) == own)
        keys = np.stack([places.source, places.number, places.place, places.chunk], axis=1)[mine]  # (m, 4)
        records: list[dict[str, Any]] = [{}] * len(mine)
        rows, replaced = np.empty(len(mine), np.int64), []
        chunks, which = np.unique(keys, axis=0, return_inverse=True)
        for number_of_key, (source, pass_, place, chunk) in enumerate(chunks.tolist()):
            sound = self._sound(source, chunk, place, pass_)
            if sound != chunk:
                replaced.append(self._damaged[source, chunk])
            found = self._records[source].chunk(sound)
            for at in np.flatnonzero(which.reshape(-1) == number_of_key).tolist():
                row = int(places.row[mine[at]]) % len(found)
                records[at], rows[at] = found[row], self.plan.data.row(source, sound, row)
        return Share(places, mine, records, rows, replaced)

    def _sound(self, source: int, chunk: int, place: int, number: int) -> int:
        """The chunk itself, or the first sound one before it where damage is to be filled."""
        chunks = len(self.plan.data.shards[source].chunk_counts)
        for back in range(chunks):
            if back:
                chunk = self.plan.order(source, number).chunk_at(place - back)
            if self._is_sound(source, chunk):
                return chunk
        raise DataError(f"{self.plan.data.shards[source].folder}: not one sound chunk; prepare it again")

    def _is_sound(self, source: int, chunk: int) -> bool:
        """Read a chunk if it is not there yet; damage counts when it is found twice, so that no hiccup does.

        Raises:
            CorruptChunk: it is damaged, and nothing is to stand in for it.
        """
        if (source, chunk) in self._damaged:
            return False
        for last in (False, True):
            try:
                self._records[source].chunk(chunk)
            except CorruptChunk as error:
                if last and self.on_corrupt == "stop":
                    message = f"{error} (another order: a new run); or go on with --data.on_corrupt substitute"
                    raise CorruptChunk(error.shard, error.chunk, message, error.number, error.cure) from None
                if last:
                    self._damaged[source, chunk] = str(error)
            else:
                return True
        return False


class TrainingReader(Dataset[Tensor | DataError]):
    """Part ``worker`` of batch ``number``, tokenised.

    Args:
        shares: Reads the records.
        tokenizer: Turns their texts into ids.
        hard_negatives: Most negatives taken from each record.
        token_dropout: Share of the tokens of x and y that are left out, at random.
    """

    def __init__(
        self,
        shares: ShareReader,
        tokenizer: PairTokenizer,
        *,
        hard_negatives: int = 0,
        token_dropout: float = 0.0,
    ) -> None:
        self.shares = shares
        self.plan = shares.plan
        self.tokenizer = tokenizer
        self.hard_negatives = hard_negatives
        self.token_dropout = token_dropout

    @property
    def identity(self) -> dict[str, Any]:
        """What gives a batch number its meaning; a checkpoint's position is good only for the same values."""
        mixture = self.plan.mixture
        fingerprints = [shards.fingerprint for shards in self.plan.data.shards]
        return {
            "sources": dict(zip(self.plan.data.names, fingerprints, strict=True)),
            "batch_size": mixture.batch_size,
            "seed": self.plan.seed,
            "window_chunks": self.plan.window_chunks,
            "token_dropout": self.token_dropout,
            "hard_negatives": self.hard_negatives,
            "tokenization": self.tokenizer.fingerprint,
            "mixing": "mixed" if mixture.mixed else "single_source",
            "exhausted": mixture.exhausted,
            "weights": dict(zip(self.plan.data.names, mixture.weights.tolist(), strict=True)),
            "steps_per_epoch": mixture.per_epoch,
        }

    def __getitem__(self, key: tuple[int, int]) -> Tensor | DataError:
        """The part as bytes, uint8 ``(size,)``: one block of shared memory for each, however many workers there are."""
        number, worker = key
        try:
            part = self._part(number, self.shares.read(number, worker))
            return torch.frombuffer(bytearray(part.to_bytes()), dtype=torch.uint8)
        except DataError as error:
            return error  # raised in the main process: DataLoader would wrap it into a page of traceback

    def _part(self, number: int, share: Share) -> Part:
        part = Part.of(
            share.records,
            self.tokenizer,
            places=share.mine,
            ranks=self._encoders(share.places)[share.mine],
            rows=share.rows,
            hard_negatives=self.hard_negatives,
            replaced=share.replaced,
        )
        if self.token_dropout:
            part.x = drop_tokens(part.x, self.token_dropout, self._key(number, "x"), share.rows)
            part.y = drop_tokens(part.y, self.token_dropout, self._key(number, "y"), share.rows)
        return part

    def _encoders(self, places: Places) -> np.ndarray:
        """The rank that encodes each record of a batch, ``(n,)``."""
        if self.shares.world_size == 1:
            return np.zeros(len(places), np.int64)
        most = [self.tokenizer.max_length[side] for side in SIDES]
        return encoders(self.plan.data.weigh(places, most), self.shares.world_size)

    def _key(self, number: int, side: str) -> int:
        return xxhash.xxh64_intdigest(f"dropout/{self.plan.seed}/{number}/{side}".encode())


def global_batch(shares: Sequence[ShareReader], number: int) -> list[dict[str, Any]]:
    """The records of a whole batch in its order, put together from what every worker of every rank reads.

    Args:
        shares: One reader per rank.
        number: Of the batch.

    Raises:
        DataError: a damaged chunk, or a record that two workers read, or none.
    """
    found: dict[int, dict[str, Any]] = {}
    read = 0
    for reader in shares:
        for worker in range(reader.workers):
            share = reader.read(number, worker)
            read += len(share.mine)
            found.update(zip(share.mine.tolist(), share.records, strict=True))
    if not len(found) == read == shares[0].plan.mixture.batch_size:
        raise DataError(f"batch {number}: {read} records read for {len(found)} places; please report this")
    return [found[place] for place in sorted(found)]
