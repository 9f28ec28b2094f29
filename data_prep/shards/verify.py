"""Checks every byte of a folder of shards and names every damaged shard and chunk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.shards.index import MANIFEST, Index, IndexBuilder, load_index, load_manifest
from data_prep.shards.read import PairShards, check_files
from data_prep.shards.tar import scan


def verify_shards(folder: Path | str, on_chunk: Callable[[], object] = lambda: None) -> list[str]:
    """Read the whole folder; an empty list means that every byte is as it was written.

    Args:
        folder: A folder of shards.
        on_chunk: Called after each chunk, for a progress bar.

    Raises:
        DataError: nothing can be checked: no shards, an unfinished folder, a damaged manifest.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).exists():
        PairShards.open(folder)  # indexes classic tars (and reads all of them), or says what is wrong
    manifest = load_manifest(folder)
    problems: list[str] = []
    for number, shard in enumerate(manifest["shards"]):
        first_chunk = sum(other["chunks"] for other in manifest["shards"][:number])
        problems += _verify_shard(folder, manifest, shard, first_chunk, on_chunk)
    try:
        check_files(folder, manifest)
    except DataError as error:
        problems += [str(error)] if not problems else []
    return problems


def _verify_shard(
    folder: Path, manifest: dict[str, Any], shard: dict[str, Any], first: int, on_chunk: Callable[[], object]
) -> list[str]:
    path = folder / shard["name"]
    try:
        index = load_index(folder, shard)
        digest, size = _file_hash(path)
    except (DataError, OSError) as error:
        missing = isinstance(error, OSError)
        return [f"{path}: missing or unreadable; copy or prepare it again" if missing else str(error)]
    problems = [] if size == shard["bytes"] else [f"{path}: {size} bytes instead of {shard['bytes']}"]
    problems += _verify_chunks(
        PairShards(folder, {**manifest, "shards": [shard]}, [index]), index, first, on_chunk
    )
    problems += _verify_headers(path)
    if digest != shard["xxh64"] and not problems:
        problems.append(
            f"{path}: bytes between the chunks differ (headers or padding); the records are sound"
        )
    return problems


def _verify_chunks(
    shards: PairShards, index: Index, first: int, on_chunk: Callable[[], object]
) -> Iterator[str]:
    ends = np.cumsum(index.counts)
    for chunk, end in enumerate(ends):
        path = shards.folder / shards.manifest["shards"][0]["name"]
        where = f"{path}: chunk {first + chunk}"
        try:
            pairs = [Pair.from_dict(record, where) for record in shards.read_chunk(chunk)]
        except DataError:
            yield f"{where} ({index.counts[chunk]} records at byte {index.offsets[chunk]}): damaged"
        else:
            again = IndexBuilder()
            again.add(0, b"", pairs)
            rows = slice(end - index.counts[chunk], end)
            if not np.array_equal(again.build().hashes, index.hashes[rows]):
                yield f"{where}: its records are not those of the index"
        on_chunk()


def _verify_headers(path: Path) -> list[str]:
    try:
        with open(path, "rb") as file:
            for _ in scan(file, str(path)):
                pass
    except DataError as error:
        return [str(error)]
    return []


def _file_hash(path: Path) -> tuple[str, int]:
    digest = xxhash.xxh64()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest(), os.fstat(file.fileno()).st_size
