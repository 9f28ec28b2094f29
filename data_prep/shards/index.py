"""The sidecar of a shard (.idx) and the manifest of a folder: their fields, bytes and checks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import xxhash
import zstandard

from data_prep.cache import NodeCache
from data_prep.errors import DataError
from data_prep.files import write_atomic
from data_prep.pairs import Pair
from data_prep.shards.tokens import TOKENS_FORMAT, TokenHead
from data_prep.storage import Place, Storage, storage_of

FORMAT = "cpt-shards-1"
MANIFEST = "manifest.json"
SEAL = "manifest_xxh64"
QUARANTINE = "quarantine"
TOKENS = "tokens"
_KEYS = {"format", "source", "layout", "kind", "unit", "count", "shards", "fingerprint", QUARANTINE}
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
        tokenizer: Hash of the tokenizer, where the records hold token ids.
    """

    offsets: np.ndarray
    sizes: np.ndarray
    counts: np.ndarray
    xxh64: np.ndarray
    lengths: np.ndarray
    hashes: np.ndarray
    tokenizer: str = ""

    def to_bytes(self) -> bytes:
        """The .idx file: little-endian columns in msgpack under zstd."""
        head = (
            {"format": TOKENS_FORMAT, "tokenizer": self.tokenizer} if self.tokenizer else {"format": FORMAT}
        )
        columns = {name: getattr(self, name).astype(kind).tobytes() for name, kind in _COLUMNS.items()}
        return zstandard.ZstdCompressor(level=3).compress(msgpack.packb({**head, **columns}))

    @classmethod
    def from_bytes(cls, data: bytes) -> Index:
        """Inverse of :meth:`to_bytes`."""
        obj = msgpack.unpackb(zstandard.ZstdDecompressor().decompress(data))
        columns = {name: np.frombuffer(obj[name], dtype=kind) for name, kind in _COLUMNS.items()}
        columns["lengths"] = columns["lengths"].reshape(-1, 2)
        columns["hashes"] = columns["hashes"].reshape(-1, 3)
        arrays = {name: array.astype(array.dtype.newbyteorder("=")) for name, array in columns.items()}
        return cls(**arrays, tokenizer=obj.get("tokenizer", ""))


class IndexBuilder:
    """Gathers an :class:`Index` chunk by chunk."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Any]] = {name: [] for name in _COLUMNS}

    def add(self, offset: int, data: bytes, lengths: np.ndarray, hashes: np.ndarray) -> None:
        """Enter one chunk: where its data begins, the data, lengths and hashes of the records in it."""
        row = self._rows
        row["offsets"].append(offset)
        row["sizes"].append(len(data))
        row["counts"].append(len(lengths))
        row["xxh64"].append(xxhash.xxh64_intdigest(data))
        row["lengths"].append(lengths)
        row["hashes"].append(hashes)

    def build(self, tokenizer: str = "") -> Index:
        """The finished index."""
        columns = {
            name: np.concatenate(rows)
            if name in ("lengths", "hashes")
            else np.array(rows, _COLUMNS[name][1:])
            for name, rows in self._rows.items()
        }
        return Index(**columns, tokenizer=tokenizer)


def text_rows(pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Lengths in characters, uint32 ``(n, 2)``, and hashes, uint64 ``(n, 3)``, of pairs of texts."""
    lengths = [(len(pair.x), len(pair.y)) for pair in pairs]
    hashes = [
        [xxhash.xxh64_intdigest(text.encode()) for text in (pair.x, pair.y, pair.document)] for pair in pairs
    ]
    return np.array(lengths, np.uint32).reshape(-1, 2), np.array(hashes, np.uint64).reshape(-1, 3)


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


def make_manifest(
    source: str, layout: str, shards: list[dict[str, Any]], tokens: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The whole manifest, with its fingerprint.

    Args:
        tokens: What is known of the token ids in the records, where these are no texts.
    """
    kind = (
        {"kind": "tokens", "unit": "tokens", TOKENS: tokens} if tokens else {"kind": "text", "unit": "chars"}
    )
    return {
        "format": TOKENS_FORMAT if tokens else FORMAT,
        "source": source,
        "layout": layout,
        **kind,
        "count": sum(shard["count"] for shard in shards),
        "shards": shards,
        "fingerprint": fingerprint(shards),
    }


def fingerprint(shards: list[dict[str, Any]], quarantine: list[dict[str, Any]] | None = None) -> str:
    """xxh64 over names, counts and hashes: another fingerprint means other data or another order.

    What is in quarantine is other data too; without any, the fingerprint is that of the shards alone.
    """
    lines = [f"{shard['name']} {shard['count']} {shard['xxh64']} {shard['idx_xxh64']}\n" for shard in shards]
    return xxhash.xxh64_hexdigest("".join([*lines, *_marks(quarantine)]).encode())


def origin(manifest: dict[str, Any]) -> str:
    """What the order of the records goes by: the fingerprint; of token ids that of the texts they were made from.

    So a run on texts can go on with their token ids. What is in quarantine of the ids counts all the same.
    """
    if TOKENS not in manifest:
        return str(manifest["fingerprint"])
    made_from, marks = str(manifest[TOKENS]["origin"]), _marks(manifest.get(QUARANTINE))
    return xxhash.xxh64_hexdigest("".join([made_from, "\n", *marks]).encode()) if marks else made_from


def _marks(quarantine: list[dict[str, Any]] | None) -> list[str]:
    return [f"quarantine {entry['shard']} {entry['chunk']}\n" for entry in quarantine or []]


def with_quarantine(manifest: dict[str, Any], marks: list[dict[str, Any]]) -> dict[str, Any]:
    """The manifest with these chunks in quarantine, and no others."""
    rest = {key: value for key, value in manifest.items() if key != QUARANTINE}
    added = {QUARANTINE: marks} if marks else {}
    return {**rest, **added, "fingerprint": fingerprint(manifest["shards"], marks)}


def seal(manifest: dict[str, Any]) -> str:
    """xxh64 over everything the manifest says, so that no edit of it goes unnoticed."""
    content = {key: value for key, value in manifest.items() if key != SEAL}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return xxhash.xxh64_hexdigest(text.encode())


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write ``manifest.json``, sealed; a folder that has one is whole."""
    sealed = {**{key: value for key, value in manifest.items() if key != SEAL}, SEAL: seal(manifest)}
    write_atomic(folder / MANIFEST, (json.dumps(sealed, indent=1) + "\n").encode())


def load_manifest(place: Place) -> dict[str, Any]:
    """Read and check ``manifest.json``.

    Raises:
        FileNotFoundError: there is none.
        DataError: not JSON, another format, fields missing or contradicting each other, an edit.
    """
    storage = storage_of(place)
    path = f"{storage}/{MANIFEST}"
    data = storage.read(MANIFEST, lambda data: _parse(data) is not None)
    manifest = _parse(data)
    if (
        isinstance(manifest, dict)
        and isinstance(manifest.get("format"), str)
        and manifest["format"] not in (FORMAT, TOKENS_FORMAT)
    ):
        raise DataError(
            f"{path}: format {manifest['format']!r}, this version reads {FORMAT!r} and {TOKENS_FORMAT!r}; prepare the "
            "data again"
        )
    try:
        sound = isinstance(manifest, dict) and _is_sound(manifest)
    except (ValueError, KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise DataError(f"{path}: damaged or edited; {_copy_or(storage, 'delete it and rebuild it with')}")
    return dict(manifest)


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError):
        return None


def _is_sound(manifest: dict[str, Any]) -> bool:
    shards, quarantine = manifest["shards"], manifest.get(QUARANTINE, [])
    # Manifests from before the seal have none; then nothing may be there that they did not have.
    sealed = manifest[SEAL] == seal(manifest) if SEAL in manifest else manifest.keys() <= _KEYS
    chunks = {shard["name"]: shard["chunks"] for shard in shards}
    places = [(entry["shard"], entry["chunk"]) for entry in quarantine]
    return bool(
        sealed
        and manifest["fingerprint"] == fingerprint(shards, quarantine)
        and manifest["count"] == sum(shard["count"] for shard in shards)
        and {"source", "layout", "kind", "unit"} <= manifest.keys()
        and (manifest["format"] == TOKENS_FORMAT) == (TOKENS in manifest)
        and (TOKENS not in manifest or TokenHead.of(manifest[TOKENS]) is not None)
        and len(chunks) == len(shards) > 0
        and all(re.fullmatch(r"[^/\\\0]+\.tar", name) for name in chunks)
        # Hashes name files of the node's cache.
        and all(
            re.fullmatch("[0-9a-f]{16}", shard[key]) for shard in shards for key in ("xxh64", "idx_xxh64")
        )
        and len(set(places)) == len(places)
        and all(0 <= chunk < chunks[shard] for shard, chunk in places)
    )


def load_index(place: Place, shard: dict[str, Any], cache: NodeCache | None = None) -> Index:
    """Read the .idx of a shard of the manifest.

    Raises:
        DataError: the file is missing, its bytes are not those the manifest names, or its counts are others.
    """
    storage = storage_of(place)
    path = f"{storage}/{index_name(shard['name'])}"
    data = _index_bytes(storage, shard, cache)
    if not _has_hash(data, shard):
        raise DataError(
            f"{path}: does not match {MANIFEST}; {_copy_or(storage, 'delete it and rebuild it with')}"
        )
    index = Index.from_bytes(data)
    if (len(index.counts), int(index.counts.sum())) != (shard["chunks"], shard["count"]):
        raise DataError(f"{path}: has other counts than {MANIFEST}; {_copy_or(storage, 'rebuild both with')}")
    return index


def _index_bytes(storage: Storage, shard: dict[str, Any], cache: NodeCache | None) -> bytes:
    key = f"indexes/{shard['idx_xxh64']}"
    if cache and (kept := cache.get(key, lambda data: _has_hash(data, shard))):
        return kept
    name = index_name(shard["name"])
    try:
        data = storage.read(name, lambda data: _has_hash(data, shard))
    except FileNotFoundError:
        raise DataError(f"{storage}/{name}: missing; {_copy_or(storage, 'rebuild it with')}") from None
    if cache and _has_hash(data, shard):
        cache.put(key, data)
    return data


def _has_hash(data: bytes, shard: dict[str, Any]) -> bool:
    return bool(xxhash.xxh64_hexdigest(data) == shard["idx_xxh64"])


def _copy_or(storage: Storage, act: str) -> str:
    """The cure; the index of a remote folder is made where it comes from."""
    return f"{act} `cpt prep index {storage}`" if storage.local else "copy the folder there again"


def index_path(folder: Path, shard_name: str) -> Path:
    """The sidecar's path."""
    return folder / index_name(shard_name)


def index_name(shard_name: str) -> str:
    """The sidecar's name: ``code-00000.tar`` has ``code-00000.idx``."""
    return shard_name.removesuffix(".tar") + ".idx"
