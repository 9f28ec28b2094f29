"""Which records make batch k: a pure function of data, seed, window and pass, the same for any workers and ranks."""

from __future__ import annotations

import numpy as np
import xxhash

from lightning_cpt.errors import ConfigError

WINDOW_CHUNKS = 32


class PassOrder:
    """The permutation of all records of a source in one pass over it, computed piece by piece.

    The chunks are permuted and taken in windows of ``window_chunks``; the records of a window are permuted
    together. So a batch needs the chunks of one window (two where it crosses an edge), wherever it starts.

    Args:
        chunk_counts: Records per chunk, int64 ``(n_chunks,)``.
        fingerprint: The shards' fingerprint.
        seed: The order's seed.
        number: Passes over the source before this one.
        window_chunks: Chunks that are shuffled together.
    """

    def __init__(
        self,
        chunk_counts: np.ndarray,
        fingerprint: str,
        seed: int,
        number: int,
        window_chunks: int = WINDOW_CHUNKS,
    ) -> None:
        self.number = number
        self._name = f"{fingerprint}/{seed}/{number}"
        self._window_chunks = window_chunks
        self._chunks = permutation(f"{self._name}/chunks", len(chunk_counts))  # (n_chunks,)
        self._ends = np.cumsum(chunk_counts[self._chunks])  # (n_chunks,) in the permuted order
        last = np.arange(window_chunks - 1, len(chunk_counts) + window_chunks - 1, window_chunks)
        self._window_ends = self._ends[last.clip(max=len(chunk_counts) - 1)]  # (n_windows,)
        self._places: np.ndarray | None = None
        self._windows: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """Number of records."""
        return int(self._ends[-1])

    def places(self, chunks: np.ndarray) -> np.ndarray:
        """Place of each chunk in the order of this pass: int64, as many."""
        if self._places is None:
            self._places = np.argsort(self._chunks)  # (n_chunks,) the inverse permutation
        return self._places[chunks]

    def chunk_at(self, place: int) -> int:
        """The chunk at a place; the one before the first is the last."""
        return int(self._chunks[place % len(self._chunks)])

    def positions(self, start: int, stop: int) -> np.ndarray:
        """Chunk and row of the records at places ``start`` to ``stop`` of the pass: int64 ``(stop - start, 2)``."""
        first = int(np.searchsorted(self._window_ends, start, side="right"))
        last = int(np.searchsorted(self._window_ends, stop - 1, side="right"))
        before = int(self._window_ends[first - 1]) if first else 0
        parts = [self._window(window) for window in range(first, last + 1)]
        return np.concatenate(parts)[start - before : stop - before]

    def _window(self, window: int) -> np.ndarray:
        """Chunk and row of a window's records, permuted: int64 ``(records, 2)``; the last two are kept."""
        if window not in self._windows:
            self._windows[window] = self._permuted(window)
            for old in sorted(self._windows, key=lambda other: abs(other - window))[2:]:
                del self._windows[old]
        return self._windows[window]

    def _permuted(self, window: int) -> np.ndarray:
        lanes = slice(window * self._window_chunks, (window + 1) * self._window_chunks)
        counts = np.diff(self._ends, prepend=0)[lanes]  # (W,)
        chunk = np.repeat(self._chunks[lanes], counts)  # (records,)
        row = np.arange(len(chunk)) - np.repeat(np.cumsum(counts) - counts, counts)
        shuffle = permutation(f"{self._name}/window/{window}", len(chunk))
        return np.stack([chunk, row], axis=1)[shuffle]


class StreamOrder:
    """The order of a source without a length, which is its own: a record is a chunk, numbered from the first pass on."""

    def places(self, chunks: np.ndarray) -> np.ndarray:
        """Place of each record: int64, as many."""
        return chunks

    def chunk_at(self, place: int) -> int:
        """The record at a place."""
        return place

    def positions(self, start: int, stop: int) -> np.ndarray:
        """Number of each record, and 0: int64 ``(stop - start, 2)``."""
        numbers = np.arange(start, stop)
        return np.stack([numbers, np.zeros_like(numbers)], axis=1)


def permutation(name: str, n: int) -> np.ndarray:
    """A permutation of ``range(n)`` that depends on ``name`` alone: int64 ``(n,)``.

    It sorts raw Philox words: numpy keeps the bit generators' streams stable between versions, but not the
    algorithms of ``Generator.permutation``.
    """
    words = np.random.Philox(key=xxhash.xxh64_intdigest(name.encode())).random_raw(n)
    return np.argsort(words, kind="stable")


def local_batch_size(batch_size: int, world_size: int) -> int:
    """Pairs of the global batch that each rank encodes.

    Raises:
        ConfigError: the ranks cannot share the batch evenly.
    """
    share, rest = divmod(batch_size, world_size)
    if rest:
        good = f"{share * world_size} or {(share + 1) * world_size}" if share else str(world_size)
        raise ConfigError(f"data.batch_size: {batch_size} is not divisible by {world_size} ranks; use {good}")
    return share
