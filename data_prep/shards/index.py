"""The sidecar of a shard (.idx) and the manifest of a folder: their fields, bytes and checks."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import xxhash
import zstandard

from data_prep.errors import DataError
from data_prep.files import write_atomic
from data_prep.pairs import Pair

FORMAT = "cpt-shards-1"
MANIFEST = "manifest.json"
# How the records lie in the tars: our chunks, or WebDataset's one member (two members) per pair.
CHUNKED, JSON_MEMBERS, TEXT_MEMBERS = "chunks", "json", "x.txt+y.txt"

_COLUMNS = {
    "offsets": "<i8",
    "sizes": "<i8",
    "counts": "<i8",
    "xxh64": "<u8",
    "lengths": "<u4",
    "hashes": "<u8",
}


@dataclass(slots=True)
class Index:
    """What is known of one shard without reading it; arrays are per chunk, then per record.

    Args:
        offsets: int64 (n_chunks,), first byte of the chunk's data in the tar.
        sizes: int64 (n_chunks,), bytes of the chunk's data.
        counts: int64 (n_chunks,), records in the chunk.
        xxh64: uint64 (n_chunks,), hash of the chunk's data as it lies in the tar.
        lengths: uint32 (count, 2), of x and of y.
        hashes: uint64 (count, 3), of x, of y and of the document's name.
    """

    offsets: np.ndarray
    sizes: np.ndarray
    counts: np.ndarray
    xxh64: np.ndarray
    lengths: np.ndarray
    hashes: np.ndarray

    def to_bytes(self) -> bytes:
        """The .idx file: little-endian columns in msgpack under zstd."""
        columns = {name: getattr(self, name).astype(kind).tobytes() for name, kind in _COLUMNS.items()}
        return zstandard.ZstdCompressor(level=3).compress(msgpack.packb({"format": FORMAT, **columns}))

    @classmethod
    def from_bytes(cls, data: bytes) -> Index:
        """Inverse of :meth:`to_bytes`."""
        obj = msgpack.unpackb(zstandard.ZstdDecompressor().decompress(data))
        columns = {name: np.frombuffer(obj[name], dtype=kind) for name, kind in _COLUMNS.items()}
        columns["lengths"] = columns["lengths"].reshape(-1, 2)
        columns["hashes"] = columns["hashes"].reshape(-1, 3)
        return cls(**{name: array.astype(array.dtype.newbyteorder("=")) for name, array in columns.items()})


class IndexBuilder:
    """Gathers an :class:`Index` chunk by chunk."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Any]] = {field.name: [] for field in fields(Index)}

    def add(self, offset: int, data: bytes, pairs: list[Pair]) -> None:
        """Enter one chunk: where its data begins, the data, and the records in it."""
        row = self._rows
        row["offsets"].append(offset)
        row["sizes"].append(len(data))
        row["counts"].append(len(pairs))
        row["xxh64"].append(xxhash.xxh64_intdigest(data))
        for pair in pairs:
            row["lengths"].append((len(pair.x), len(pair.y)))
            row["hashes"].append(
                tuple(xxhash.xxh64_intdigest(text.encode()) for text in (pair.x, pair.y, pair.document))
            )

    def build(self) -> Index:
        """The finished index."""
        return Index(**{name: np.array(self._rows[name], dtype=kind[1:]) for name, kind in _COLUMNS.items()})


def save_index(path: Path, index: Index, size: int, xxh64: str) -> dict[str, Any]:
    """Write the .idx beside the tar ``path`` and return the tar's entry for the manifest."""
    write_atomic(index_path(path.parent, path.name), index.to_bytes())
    return shard_entry(path.name, index, size, xxh64)


def shard_entry(name: str, index: Index, size: int, xxh64: str) -> dict[str, Any]:
    """What the manifest says of one shard: its size and hash, its index' hash, its counts."""
    counts = {"count": int(index.counts.sum()), "chunks": len(index.counts)}
    return {
        "name": name,
        "bytes": size,
        **counts,
        "xxh64": xxh64,
        "idx_xxh64": xxhash.xxh64_hexdigest(index.to_bytes()),
    }


def make_manifest(source: str, layout: str, shards: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole manifest, with its fingerprint."""
    return {
        "format": FORMAT,
        "source": source,
        "layout": layout,
        "kind": "text",
        "unit": "chars",
        "count": sum(shard["count"] for shard in shards),
        "shards": shards,
        "fingerprint": fingerprint(shards),
    }


def fingerprint(shards: list[dict[str, Any]]) -> str:
    """xxh64 over names, counts and hashes: another fingerprint means other data or another order."""
    lines = [f"{shard['name']} {shard['count']} {shard['xxh64']} {shard['idx_xxh64']}\n" for shard in shards]
    return xxhash.xxh64_hexdigest("".join(lines).encode())


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write ``manifest.json``; a folder that has one is whole."""
    write_atomic(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


def load_manifest(folder: Path) -> dict[str, Any]:
    """Read and check ``manifest.json``.

    Raises:
        DataError: not JSON, another format, fields missing or contradicting each other.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise DataError(
                f"{path}: format {manifest['format']!r}, this version reads {FORMAT!r}; prepare the data again"
            )
        sound = manifest["fingerprint"] == fingerprint(manifest["shards"])
        sound &= manifest["count"] == sum(shard["count"] for shard in manifest["shards"])
        sound &= {"source", "layout", "kind", "unit"} <= manifest.keys()
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        sound = False
    if not sound:
        raise DataError(f"{path}: damaged; delete it and rebuild it with `cpt prep index {folder}`")
    return manifest


def load_index(folder: Path, shard: dict[str, Any]) -> Index:
    """Read the .idx of a shard of the manifest.

    Raises:
        DataError: the file is missing or its bytes are not those the manifest names.
    """
    path = index_path(folder, shard["name"])
    cure = f"rebuild it with `cpt prep index {folder}`"
    if not path.is_file():
        raise DataError(f"{path}: missing; {cure}")
    data = path.read_bytes()
    if xxhash.xxh64_hexdigest(data) != shard["idx_xxh64"]:
        raise DataError(f"{path}: does not match {MANIFEST}; delete it and {cure}")
    return Index.from_bytes(data)


def index_path(folder: Path, shard_name: str) -> Path:
    """The sidecar's path: ``code-00000.tar`` has ``code-00000.idx``."""
    return folder / (shard_name.removesuffix(".tar") + ".idx")
