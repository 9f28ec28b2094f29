"""All splits of a folder as one row of numbered pairs, read a chunk at a time, with a mark on those that are out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.shards import open_splits

# The held-out splits first: they keep a text that the training split has too.
PRECEDENCE = ("test", "validation", "train")


class Corpus:
    """The pairs of ``folder``, numbered from 0 in the splits' precedence and then as they lie in the shards.

    Attributes:
        shards: Split -> its shards, in order of precedence.
        count: Pairs in all.
        alive: bool (count,): what no stage has dropped.

    Args:
        folder: With the splits.
        splits: Which of them.
    """

    def __init__(self, folder: Path, splits: Sequence[str] = PRECEDENCE) -> None:
        self.folder = folder
        found = open_splits(folder)
        self.shards = {name: found[name].need_texts() for name in splits if name in found}
        if "train" not in self.shards:
            raise DataError(f"{folder}: no train folder inside; there is nothing to clean without one")
        self.begins = np.cumsum([0, *(shards.count for shards in self.shards.values())])
        self.count = int(self.begins[-1])
        self.alive = np.ones(self.count, bool)

    @property
    def source(self) -> str:
        return self.shards["train"].source

    @property
    def fingerprints(self) -> dict[str, str]:
        return {name: shards.fingerprint for name, shards in self.shards.items()}

    def place(self, record: int) -> int:
        """The precedence of the record's split."""
        return int(np.searchsorted(self.begins, record, side="right"))

    @property
    def places(self) -> np.ndarray:
        """uint8 (count,): the precedence of each record's split."""
        return np.repeat(np.arange(len(self.shards), dtype=np.uint8), np.diff(self.begins))

    def batches(
        self, wanted: np.ndarray | None = None, on_batch: Callable[[int], object] = lambda count: None
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Yield the first number and the records of each chunk; with ``wanted``, only of chunks that hold one of these."""
        for begin, shards in zip(self.begins, self.shards.values(), strict=False):
            first = int(begin)
            for chunk, size in enumerate(shards.chunk_counts.tolist()):
                if wanted is None or wanted[first : first + size].any():
                    yield first, shards.read_chunk(chunk)
                on_batch(size)
                first += size

    def survivors(self, split: str) -> Iterator[Pair]:
        """The pairs of a split that are still there, in their order."""
        shards = self.shards[split]
        first = int(self.begins[list(self.shards).index(split)])
        for chunk, size in enumerate(shards.chunk_counts.tolist()):
            alive = self.alive[first : first + size]
            if alive.any():
                records = shards.read_chunk(chunk)
                yield from (Pair(**record) for record, here in zip(records, alive, strict=True) if here)
            first += size
