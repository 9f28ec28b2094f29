"""Reads and tokenises one worker's records of each global batch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xxhash
from torch import Tensor
from torch.utils.data import Dataset

from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.shards import PairShards
from data_prep.shards.index import text_rows
from lightning_cpt.data.dropout import drop_tokens
from lightning_cpt.data.items import ItemPairs
from lightning_cpt.data.order import local_batch_size
from lightning_cpt.data.part import Part
from lightning_cpt.data.plan import Places, Plan, encoders, readers
from lightning_cpt.data.source_readers import ChunkReader, ItemReader, OnCorrupt, SourceReader, StreamReader
from lightning_cpt.data.sources import Pairs
from lightning_cpt.data.streams import StreamPairs
from lightning_cpt.data.token_shards import check_tokenizer
from lightning_cpt.tokenization import SIDES, PairTokenizer


@dataclass(frozen=True, slots=True)
class Share:
    """The records of a batch that one worker of one rank reads.

    Args:
        places: Places of the whole batch.
        mine: Those of the records here, int64 ``(m,)``.
        records: The records.
        rows: Their rows in the training set, int64 ``(m,)``.
        hashes: xxh64 of x, y and document, uint64 ``(m, 3)``.
        replaced: What is wrong with the damaged chunks that others stand in for.
        state: Of the streams, behind the whole batch, as JSON; empty where another worker tells.
    """

    places: Places
    mine: np.ndarray
    records: list[dict[str, Any]]
    rows: np.ndarray
    hashes: np.ndarray
    replaced: list[str]
    state: str = ""


class ShareReader:
    """Reads one worker's records: chunks of shards that are its own, its share of the records of plug-ins.

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
        self._readers = [
            self._reader(source, shards, chunks) for source, shards in enumerate(plan.data.shards)
        ]

    def _reader(self, source: int, shards: Pairs, chunks: int) -> SourceReader:
        if isinstance(shards, StreamPairs):
            return StreamReader(shards)
        if isinstance(shards, ItemPairs):
            return ItemReader(shards)
        return ChunkReader(self.plan, source, shards, chunks, self.on_corrupt)

    def resume(self, state: str) -> None:
        """Let the streams go on from the ``state`` of a share, not read again what came before it."""
        known = json.loads(state) if state else {}
        for reader in self._readers:
            if isinstance(reader, StreamReader):
                reader.resume(known.get(reader.stream.source))

    def read(self, number: int, worker: int) -> Share:
        """Worker ``worker``'s records of batch ``number``, counted from the run's first and never from an epoch's.

        Raises:
            DataError: a chunk that is damaged or cannot be read, or a plug-in that fails.
        """
        places = self.plan.places(number)
        own = self.rank + self.world_size * worker
        mine = np.flatnonzero(readers(places, self.world_size, self.workers) == own)
        records: list[dict[str, Any]] = [{}] * len(mine)
        rows, hashes, replaced = np.empty(len(mine), np.int64), np.empty((len(mine), 3), np.uint64), []
        for source in np.unique(places.source).tolist():
            at = np.flatnonzero(places.source[mine] == source)
            whole = places.at(np.flatnonzero(places.source == source))
            found = self._readers[source].read(worker, whole, places.at(mine[at]))
            rows[at] = self.plan.data.row(source, found.chunk, found.row)
            hashes[at] = self._hashes(source, found.records, rows[at])
            for one, record in zip(at.tolist(), found.records, strict=True):
                records[one] = record
            replaced += found.replaced
        state = self._state(worker) if own == 0 else ""
        return Share(places, mine, records, rows, hashes, replaced, state)

    def _hashes(self, source: int, records: list[dict[str, Any]], rows: np.ndarray) -> np.ndarray:
        if isinstance(self.plan.data.shards[source], PairShards):
            return self.plan.data.hashes(rows)
        return text_rows([Pair(**record) for record in records])[1]

    def _state(self, worker: int) -> str:
        """Where the streams are, of those that can tell."""
        streams = [reader for reader in self._readers if isinstance(reader, StreamReader)]
        known = {reader.stream.source: reader.state(worker) for reader in streams}
        known = {name: state for name, state in known.items() if state is not None}
        return json.dumps(known) if known else ""


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
        for name, source in zip(self.plan.data.names, self.plan.data.shards, strict=True):
            check_tokenizer(name, source, tokenizer)

    @property
    def identity(self) -> dict[str, Any]:
        """What gives a batch number its meaning; a checkpoint's position is good only for the same values."""
        mixture = self.plan.mixture
        fingerprints = [shards.origin for shards in self.plan.data.shards]
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
            hashes=share.hashes,
            hard_negatives=self.hard_negatives,
            replaced=share.replaced,
            state=share.state,
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
