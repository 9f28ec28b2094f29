"""Which records make batch k, who reads each of them, and who encodes it: arithmetic, no record is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from data_prep.shards import PairShards
from lightning_cpt.data.mixture import Mixture
from lightning_cpt.data.order import WINDOW_CHUNKS, PassOrder, StreamOrder
from lightning_cpt.data.sources import Pairs
from lightning_cpt.data.streams import StreamPairs
from lightning_cpt.errors import ConfigError

_PER_TOKEN = {"chars": 4}  # characters that one token stands for, roughly


class TrainingSet:
    """The training pairs of all sources, numbered through: a pair's row counts from the first source's first.

    Args:
        sources: Name of each source and its training split.
    """

    def __init__(self, sources: Mapping[str, Pairs]) -> None:
        self.names = list(sources)
        self.shards = list(sources.values())
        counts = [shards.count for shards in self.shards]
        self.offsets = np.cumsum([0, *counts[:-1]])  # (sources,) row of each source's first pair
        self.count = sum(counts)
        self._starts = [  # (n_chunks,) each
            None if isinstance(s, StreamPairs) else np.cumsum(s.chunk_counts) - s.chunk_counts
            for s in self.shards
        ]

    @property
    def streams(self) -> list[StreamPairs]:
        """The sources that have no length."""
        return [shards for shards in self.shards if isinstance(shards, StreamPairs)]

    def row(self, source: int, chunk: int | np.ndarray, row: int | np.ndarray) -> np.ndarray:
        """Rows in the whole set of a source's records, by chunk and row in the chunk: int64, as many."""
        starts = self._starts[source]
        return np.asarray(self.offsets[source] + (chunk if starts is None else starts[chunk]) + row)

    @property
    def fingerprint(self) -> str:
        """That of the only source, or one of all of them and their names and order."""
        if len(self.shards) == 1:
            return self.shards[0].origin
        lines = [f"{name} {s.origin}\n" for name, s in zip(self.names, self.shards, strict=True)]
        return xxhash.xxh64_hexdigest("".join(lines).encode())

    def hashes(self, rows: np.ndarray) -> np.ndarray:
        """xxh64 of x, y and document of records in shards, by their rows in the whole set: uint64 ``(n, 3)``."""
        out = np.empty((len(rows), 3), np.uint64)
        source = np.searchsorted(self.offsets, rows, side="right") - 1
        for number in np.unique(source).tolist():
            at, shards = source == number, self.shards[number]
            assert isinstance(shards, PairShards)
            out[at] = shards.hashes[rows[at] - self.offsets[number]]
        return out

    def weigh(self, places: Places, most: Sequence[int]) -> np.ndarray:
        """About how many tokens each record of a batch takes, ``(n,)``.

        Args:
            most: Tokens at which x and y are cut.
        """
        found = np.empty(len(places), np.int64)
        for source in np.unique(places.source).tolist():
            shards, at = self.shards[source], places.source == source
            if not isinstance(shards, PairShards):
                found[at] = sum(most) // 2  # nothing is known; equal weights are dealt evenly
                continue
            rows = self.row(source, places.chunk[at], places.row[at]) - self.offsets[source]
            found[at] = _tokens(shards.lengths[rows].astype(np.int64), shards.unit, most)
        return found


def _tokens(lengths: np.ndarray, unit: str, most: Sequence[int]) -> np.ndarray:
    """About the tokens of x and y together, ``(n,)``: exact but for dropped repeats where lengths count tokens."""
    tokens = lengths + 2 if unit == "tokens" else lengths // _PER_TOKEN[unit] + 1
    return np.asarray(np.minimum(tokens, most).sum(1))


@dataclass(frozen=True, slots=True)
class Places:
    """Where the records of one global batch lie, in the batch's order; int64 ``(n,)`` each.

    Args:
        source: Number of the source.
        chunk: Chunk of that source.
        row: Row in the chunk.
        place: The chunk's place in the order of the pass.
        number: The pass over the source.
    """

    source: np.ndarray
    chunk: np.ndarray
    row: np.ndarray
    place: np.ndarray
    number: np.ndarray

    def __len__(self) -> int:
        return len(self.source)

    def at(self, index: np.ndarray) -> Places:
        """Those at ``index``, in that order."""
        return Places(*(getattr(self, name)[index] for name in self.__slots__))


class Plan:
    """The records of every batch of a run.

    Args:
        data: The training pairs.
        mixture: From which source each batch takes its pairs.
        seed: Of the order.
        window_chunks: Chunks of a source that are shuffled together.
    """

    def __init__(
        self, data: TrainingSet, mixture: Mixture, seed: int, window_chunks: int = WINDOW_CHUNKS
    ) -> None:
        if window_chunks < 1:
            raise ConfigError(f"data.window_chunks: {window_chunks} chunks cannot be shuffled; use 1 or more")
        self.data, self.mixture = data, mixture
        self.seed, self.window_chunks = seed, window_chunks
        self._orders: dict[int, dict[int, PassOrder]] = {}
        self._stream = StreamOrder()

    def places(self, number: int) -> Places:
        """The whole global batch ``number``, counted from the run's first."""
        parts = []
        for draw in self.mixture.draws(number):
            order = self.order(draw.source, draw.number)
            chunk, row = order.positions(draw.start, draw.stop).T
            same = np.ones_like(chunk)
            parts.append((draw.source * same, chunk, row, order.places(chunk), draw.number * same))
        return Places(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def order(self, source: int, number: int) -> PassOrder | StreamOrder:
        """The order of a source in one of its passes; the last two of each source are kept."""
        shards = self.data.shards[source]
        if isinstance(shards, StreamPairs):
            return self._stream
        kept = self._orders.setdefault(source, {})
        if number not in kept:
            kept[number] = PassOrder(
                shards.chunk_counts, shards.origin, self.seed, number, self.window_chunks
            )
            for old in sorted(kept, key=lambda other: abs(other - number))[2:]:
                del kept[old]
        return kept[number]


def readers(places: Places, world_size: int, workers: int) -> np.ndarray:
    """Who reads each record: rank + world_size * worker, int64 ``(n,)``.

    The chunks of a pass are dealt out one by one, so each is read by one worker of one rank, and neighbours in
    the order, which are needed together, by different ones.
    """
    found: np.ndarray = (places.place + places.source) % (world_size * workers)
    return found


def encoders(lengths: np.ndarray, world_size: int) -> np.ndarray:
    """Which rank encodes each record, int64 ``(n,)``: as many on each, and about as many tokens.

    The records are sorted by length and dealt out to and fro, as a snake goes.

    Args:
        lengths: Of each record, in tokens or what stands for them, ``(n,)``; n is a multiple of ``world_size``.
    """
    turn, seat = np.divmod(np.arange(len(lengths)), world_size)
    ranks = np.empty(len(lengths), np.int64)
    ranks[np.argsort(-lengths, kind="stable")] = np.where(turn % 2, world_size - 1 - seat, seat)
    return ranks
