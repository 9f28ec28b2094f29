"""Records of shards by place, each chunk read once while it is in use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_prep.shards import PairShards


class Records:
    """Records of shards by place, reading each chunk once while it is among the last ``chunks`` used."""

    def __init__(self, shards: PairShards, chunks: int) -> None:
        self.shards = shards
        self._chunks = chunks
        self._kept: OrderedDict[int, Sequence[dict[str, Any]]] = OrderedDict()
        self._starts = (
            np.cumsum(shards.chunk_counts) - shards.chunk_counts
        )  # (n_chunks,) row of each first record

    def at(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """The records at these places in the whole source, ``(n,)``."""
        chunks = np.searchsorted(self._starts, rows, side="right") - 1
        inner = rows - self._starts[chunks]
        return [self.chunk(chunk)[row] for chunk, row in zip(chunks.tolist(), inner.tolist(), strict=True)]

    def start(self, chunk: int) -> int:
        """Place of a chunk's first record in the whole source."""
        return int(self._starts[chunk])

    def chunk(self, chunk: int) -> Sequence[dict[str, Any]]:
        if chunk not in self._kept:
            self._kept[chunk] = self.shards.read_packed(chunk)
            if len(self._kept) > self._chunks:
                self._kept.popitem(last=False)
        self._kept.move_to_end(chunk)
        return self._kept[chunk]
