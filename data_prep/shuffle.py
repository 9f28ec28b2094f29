"""Brings the pairs that stay into the order of their ids' hashes, through files, so that neighbours come from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import xxhash

from data_prep.corpus import PRECEDENCE
from data_prep.pairs import Pair
from data_prep.pool import Pool

PART_BYTES = 64 << 20  # texts that are sorted in memory at once
_BUFFER_BYTES = 16 << 20


def by_hash(
    pool: Pool, folder: Path, on_batch: Callable[[int], object] = lambda count: None
) -> dict[str, Iterator[Pair]]:
    """The pairs of each split that are alive, ordered by (xxh64 of the id, id).

    Args:
        pool: Read once, now.
        folder: Made; gets files as large as the texts, each gone when it has been read.
        on_batch: Called with the number of pairs after each batch.
    """
    bits = max(0, (max(1, pool.bytes // PART_BYTES)).bit_length())
    folder.mkdir(parents=True)
    _scatter(pool, folder, bits, on_batch)
    return {name: _gather(folder, place, bits) for place, name in enumerate(PRECEDENCE)}


def _scatter(pool: Pool, folder: Path, bits: int, on_batch: Callable[[int], object]) -> None:
    buffers: dict[str, list[bytes]] = {}
    size = 0
    for first, records in pool.batches(pool.alive, on_batch):
        for number, record in enumerate(records, first):
            if pool.alive[number]:
                key = xxhash.xxh64_intdigest(record["id"].encode())
                packed = msgpack.packb([key, record])
                buffers.setdefault(f"{pool.place(number)}-{key >> (64 - bits)}", []).append(packed)
                size += len(packed)
        if size > _BUFFER_BYTES:
            _flush(folder, buffers)
            size = 0
    _flush(folder, buffers)


def _flush(folder: Path, buffers: dict[str, list[bytes]]) -> None:
    for name, rows in buffers.items():
        with open(folder / name, "ab") as file:
            file.writelines(rows)
    buffers.clear()


def _gather(folder: Path, place: int, bits: int) -> Iterator[Pair]:
    for part in range(1 << bits):
        path = folder / f"{place}-{part}"
        if path.exists():
            with open(path, "rb") as file:
                rows: Iterable[tuple[int, dict[str, Any]]] = msgpack.Unpacker(
                    file, max_buffer_size=(1 << 31) - 1
                )
                ordered = sorted(rows, key=lambda row: (row[0], row[1]["id"]))
            path.unlink()
            yield from (Pair(**record) for _, record in ordered)
