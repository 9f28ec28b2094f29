"""Reads one worker's records of one source: out of chunks, by number, or out of a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from data_prep.errors import CorruptChunk, DataError
from data_prep.shards import PairShards
from lightning_cpt.data.items import ItemPairs
from lightning_cpt.data.plan import Places, Plan
from lightning_cpt.data.records import Records
from lightning_cpt.data.streams import Cursor, StreamPairs

OnCorrupt = Literal["stop", "substitute"]


@dataclass(frozen=True, slots=True)
class Found:
    """Records of one source.

    Args:
        records: The records.
        chunk, row: Where each was found, int64 ``(m,)``.
        replaced: What is wrong with the damaged chunks that others stand in for.
    """

    records: list[dict[str, Any]]
    chunk: np.ndarray
    row: np.ndarray
    replaced: list[str]


class SourceReader(Protocol):
    """Reads records of one source."""

    def read(self, worker: int, whole: Places, mine: Places) -> Found:
        """The records at ``mine``.

        Args:
            worker: Who reads them.
            whole: All records of this source in the batch.
            mine: Those that this worker reads.

        Raises:
            DataError: a chunk that is damaged or cannot be read, or a plug-in that fails.
        """


class ChunkReader:
    """Out of the chunks of shards.

    Args:
        plan: The records of every batch.
        source: Number of the source.
        shards: The source.
        chunks: Chunks that are kept decoded.
        on_corrupt: As in ShareReader.
    """

    def __init__(
        self, plan: Plan, source: int, shards: PairShards, chunks: int, on_corrupt: OnCorrupt
    ) -> None:
        self._plan, self._source = plan, source
        self._records = Records(shards, chunks)
        self._on_corrupt = on_corrupt
        self._damaged: dict[int, str] = {}  # chunk -> what is wrong with it

    def read(self, worker: int, whole: Places, mine: Places) -> Found:
        chunk, row, replaced = mine.chunk.copy(), mine.row.copy(), []
        passes_and_places = mine.number * len(self._records.shards.chunk_counts) + mine.place
        _, first, which = np.unique(passes_and_places, return_index=True, return_inverse=True)
        chunks = []
        for group, at in enumerate(first.tolist()):
            wanted = int(mine.chunk[at])
            sound = self._sound(wanted, int(mine.place[at]), int(mine.number[at]))
            chunks.append(self._records.chunk(sound))
            if sound != wanted:
                replaced.append(self._damaged[wanted])
                here = which == group
                chunk[here], row[here] = sound, row[here] % len(chunks[-1])
        records = [chunks[group][one] for group, one in zip(which.tolist(), row.tolist(), strict=True)]
        return Found(records, chunk, row, replaced)

    def _sound(self, chunk: int, place: int, number: int) -> int:
        """The chunk itself, or the first sound one before it where damage is to be filled."""
        shards = self._records.shards
        for back in range(len(shards.chunk_counts)):
            if back:
                chunk = self._plan.order(self._source, number).chunk_at(place - back)
            if self._is_sound(chunk):
                return chunk
        raise DataError(f"{shards.folder}: not one sound chunk; prepare it again")

    def _is_sound(self, chunk: int) -> bool:
        """Read a chunk if it is not there yet; damage counts when it is found twice, so that no hiccup does.

        Raises:
            CorruptChunk: it is damaged, and nothing is to stand in for it.
        """
        if chunk in self._damaged:
            return False
        for last in (False, True):
            try:
                self._records.chunk(chunk)
            except CorruptChunk as error:
                if last and self._on_corrupt == "stop":
                    message = (
                        f"{error} (another order: a new run); or go on with --data.on_corrupt substitute"
                    )
                    raise CorruptChunk(error.shard, error.chunk, message, error.number, error.cure) from None
                if last:
                    self._damaged[chunk] = str(error)
            else:
                return True
        return False


class ItemReader:
    """By number, one by one, from a plug-in that has a length."""

    def __init__(self, items: ItemPairs) -> None:
        self._items = items

    def read(self, worker: int, whole: Places, mine: Places) -> Found:
        places = self._items.start(1) * mine.chunk + mine.row
        return Found([self._items.record(place) for place in places.tolist()], mine.chunk, mine.row, [])


class StreamReader:
    """Out of a stream: every worker goes through all of it, and takes its share.

    Whoever has none of a batch's records goes on all the same: the place is then the same for all of them.
    """

    def __init__(self, stream: StreamPairs) -> None:
        self.stream = stream
        self._cursors: dict[int, Cursor] = {}  # of each worker: one, in a process that is one
        self._from: dict[str, Any] | None = None

    def resume(self, state: dict[str, Any] | None) -> None:
        """Begin anew: where the state says, or at the beginning."""
        self._cursors.clear()
        self._from = state

    def read(self, worker: int, whole: Places, mine: Places) -> Found:
        start, stop = int(whole.chunk.min()), int(whole.chunk.max()) + 1
        cursor = self._cursors.get(worker)
        if cursor is None or cursor.position > start:
            known = self._from if self._from and self._from["position"] <= start else None
            cursor = self._cursors[worker] = Cursor(self.stream, known)
        wanted = mine.chunk.tolist()
        found = cursor.take(start, stop, set(wanted))
        return Found([found[position] for position in wanted], mine.chunk, mine.row, [])

    def state(self, worker: int) -> dict[str, Any] | None:
        """Where it is, if it can tell; before its first record it is nowhere."""
        cursor = self._cursors.get(worker)
        return cursor.state() if cursor else self._from
