"""Checks every byte of a folder of shards and names every damaged shard and chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from data_prep.errors import CorruptChunk, DataError
from data_prep.pairs import Pair
from data_prep.shards.files import quarantined, unlisted_tars
from data_prep.shards.index import (
    QUARANTINE,
    TOKENS,
    Index,
    index_name,
    load_index,
    load_manifest,
    text_rows,
)
from data_prep.shards.read import PairShards, quarantine_command, read_tokenizer
from data_prep.shards.staging import STAGED, WRITING
from data_prep.shards.tar import scan
from data_prep.shards.tokens import TokenHead
from data_prep.storage import Place, Storage, storage_of


def verify_shards(place: Place, on_chunk: Callable[[], object] = lambda: None) -> list[str]:
    """Read the whole folder; an empty list means that every byte is as it was written.

    Of a shard with chunks in quarantine the other chunks are checked, and nothing between them.

    Args:
        place: A folder of shards.
        on_chunk: Called after each chunk, for a progress bar.

    Raises:
        DataError: nothing can be checked: no shards, an unfinished folder, a damaged manifest.
    """
    storage = storage_of(place)
    try:
        manifest = load_manifest(storage)
    except FileNotFoundError:
        manifest = PairShards.open(storage).manifest  # indexes classic tars, or says what is wrong
        if storage.local is None or not (storage.local / index_name(manifest["shards"][0]["name"])).exists():
            return []  # a folder that cannot be written: every byte was read just now
    problems: list[str] = []
    for shard in manifest["shards"]:
        problems += _verify_shard(storage, manifest, shard, on_chunk)
    if TOKENS in manifest:
        try:
            read_tokenizer(storage, TokenHead.of(manifest[TOKENS]))
        except DataError as error:
            problems.append(str(error))
    return problems + (_strangers(storage.local, manifest) if storage.local else [])


def _verify_shard(
    storage: Storage, manifest: dict[str, Any], shard: dict[str, Any], on_chunk: Callable[[], object]
) -> list[str]:
    path = f"{storage}/{shard['name']}"
    out = quarantined(manifest, shard)
    alone = {**manifest, "shards": [shard], "count": shard["count"], QUARANTINE: out}
    try:
        index = load_index(storage, shard)
        digest, size = ("", 0) if out else _file_hash(storage, shard["name"])
    except FileNotFoundError:
        return [f"{path}: missing or unreadable; copy or prepare it again"]
    except DataError as error:
        return [str(error)]
    problems = (
        [f"{path}: {size} bytes instead of {shard['bytes']}"] if size != shard["bytes"] and not out else []
    )
    problems += _verify_chunks(storage, PairShards(storage, alone, [index]), index, on_chunk)
    if out or digest == shard["xxh64"]:
        return problems
    problems += _verify_headers(storage, shard["name"])
    return problems or [
        f"{path}: bytes between the chunks differ (headers or padding); the records are sound; copy it again"
    ]


def _verify_chunks(
    storage: Storage, shards: PairShards, index: Index, on_chunk: Callable[[], object]
) -> Iterator[str]:
    name = shards.manifest["shards"][0]["name"]
    ends = np.cumsum(shards.chunk_counts)
    for chunk, (count, end) in enumerate(zip(shards.chunk_counts.tolist(), ends.tolist(), strict=True)):
        number = shards.numbers[chunk]
        where = f"{storage}/{name}: chunk {number}"
        rows = _rows(shards, chunk, where)
        if rows is None:
            cure = f"leave it out: {quarantine_command(storage, name, int(number))}"
            yield f"{where} ({count} records at byte {index.offsets[number]}): damaged; {cure}"
        elif not _is_indexed(rows, shards, slice(end - count, end)):
            yield f"{where}: its records are not those of the index"
        on_chunk()


def _rows(shards: PairShards, chunk: int, where: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Lengths and hashes of a chunk's records, or None where it is damaged; a server that does not answer is no damage."""
    try:
        if shards.tokens:
            found = shards.read_tokens(chunk)
            return found.sides, found.hashes
        records = shards.read_chunk(chunk)
    except CorruptChunk:
        return None
    try:
        return text_rows([Pair.from_dict(record, where) for record in records])
    except DataError:
        return None


def _is_indexed(rows: tuple[np.ndarray, np.ndarray], shards: PairShards, at: slice) -> bool:
    lengths, hashes = rows
    return np.array_equal(lengths, shards.lengths[at]) and np.array_equal(hashes, shards.hashes[at])


def _strangers(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """Files that belong to nothing: somebody's tars, indexes without a tar, what a stopped run left."""
    problems = [f"{path}: not listed in manifest.json" for path in unlisted_tars(folder, manifest)]
    indexes = {index_name(shard["name"]) for shard in manifest["shards"]}
    problems += [
        f"{path}: belongs to no shard of manifest.json; delete it"
        for path in sorted(folder.glob("*.idx"))
        if path.name not in indexes
    ]
    if (folder / WRITING).exists():
        problems.append(f"{folder / WRITING}: a run that writes here is at work or was stopped; run it again")
    left = [*sorted(folder.glob(".*.tmp")), *sorted(folder.glob(STAGED))]
    return problems + [f"{path}: left by a run that was stopped; delete it" for path in left]


def _verify_headers(storage: Storage, name: str) -> list[str]:
    try:
        with storage.open(name) as file:
            for _ in scan(file, f"{storage}/{name}"):
                pass
    except DataError as error:
        return [str(error)]
    return []


def _file_hash(storage: Storage, name: str) -> tuple[str, int]:
    digest, size = xxhash.xxh64(), 0
    with storage.open(name) as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size
