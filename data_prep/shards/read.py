"""Reads a folder of shards: counts, lengths and hashes at once, records chunk by chunk, every byte checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import ormsgpack
import xxhash
import zstandard

from data_prep.cache import NodeCache, cache_from_environment
from data_prep.errors import CorruptChunk, DataError
from data_prep.shards.classic import classic_records, index_folder
from data_prep.shards.files import check_files, check_ranges
from data_prep.shards.index import (
    CHUNKED,
    MANIFEST,
    QUARANTINE,
    TOKENS,
    Index,
    load_index,
    load_manifest,
    origin,
)
from data_prep.shards.packed import PackedRecords
from data_prep.shards.staging import WRITING
from data_prep.shards.tokens import TOKENIZER, TokenChunk, TokenHead
from data_prep.split import SPLITS
from data_prep.storage import Place, Storage, storage_of
from data_prep.token_ids import tokenizer_hash


class PairShards:
    """The records of one folder; can be pickled and used after a fork (no file stays open).

    What is in quarantine is not there: not in the counts, the lengths, the hashes nor the chunks.

    Attributes:
        folder: Where it lies: a path, or an address without its credentials.
        source: The corpus' name.
        fingerprint: Hex; changes with the data, with its order and with what is in quarantine.
        origin: What the order of training goes by: the fingerprint, of token ids that of the texts behind them.
        count: Number of records.
        unit: What ``lengths`` counts: "chars" or "tokens".
        kind: What a record holds: "text", or "tokens" (ids without delimiters, arrays in the place of texts).
        tokens: Of token ids: their tokenizer and most ids of a text; else None.
        cut: Of token ids: texts of which ids are missing.
        chunk_counts: int64 (n_chunks,).
        lengths: uint32 (count, 2), of x and y.
        hashes: uint64 (count, 3), xxh64 of x, of y and of the document's name.
        left_out: Records in quarantine.
        numbers: int64 (n_chunks,), of each chunk in its shard.
    """

    def __init__(
        self, place: Place, manifest: dict[str, Any], indexes: list[Index], cache: NodeCache | None = None
    ) -> None:
        self._storage = storage_of(place)
        self._cache = cache
        self.folder: Path | str = self._storage.local or str(self._storage)
        self.manifest = manifest
        self.source: str = manifest["source"]
        self.fingerprint: str = manifest["fingerprint"]
        self.origin = origin(manifest)
        self.unit: str = manifest["unit"]
        self.kind: str = manifest["kind"]
        self.layout: str = manifest["layout"]
        self.tokens = TokenHead.of(manifest[TOKENS]) if TOKENS in manifest else None
        self.cut: int = manifest[TOKENS]["cut"] if TOKENS in manifest else 0
        self._names: list[str] = [shard["name"] for shard in manifest["shards"]]
        sizes = [len(index.counts) for index in indexes]
        shard, number = (
            np.repeat(np.arange(len(indexes)), sizes),
            np.concatenate([np.arange(n) for n in sizes]),
        )
        counts = np.concatenate([index.counts for index in indexes])
        kept = _kept(self._names, shard, number, manifest.get(QUARANTINE, []))  # (n_chunks with all,)
        rows = np.repeat(kept, counts)
        self._shard, self.numbers, self.chunk_counts = shard[kept], number[kept], counts[kept]
        self._offsets = np.concatenate([index.offsets for index in indexes])[kept]
        self._sizes = np.concatenate([index.sizes for index in indexes])[kept]
        self._xxh64 = np.concatenate([index.xxh64 for index in indexes])[kept]
        self.lengths = np.concatenate([index.lengths for index in indexes])[rows]
        self.hashes = np.concatenate([index.hashes for index in indexes])[rows]
        self.count = int(self.chunk_counts.sum())
        self.left_out: int = manifest["count"] - self.count

    @classmethod
    def open(cls, folder: Place, cache: NodeCache | None = None) -> PairShards:
        """Open a folder; classic WebDataset tars without a manifest are indexed now.

        Args:
            folder: A path, an address that fsspec knows (``https://...``, ``s3://...``), or a storage.
            cache: Keeps what comes from an address; by default the one that ``CPT_CACHE`` names, if any.

        Raises:
            DataError: no shards, an unfinished folder, a missing or cut shard, an index that does not fit.
        """
        storage = storage_of(folder)
        if storage.local is None:
            return cls._open_remote(storage, cache or cache_from_environment())
        try:
            manifest = load_manifest(storage)
        except FileNotFoundError:
            refuse_unfinished(storage.local)
            return cls(storage, *index_folder(storage.local))
        indexes = [load_index(storage, shard) for shard in manifest["shards"]]
        check_files(storage.local, manifest, indexes)
        return cls(storage, manifest, indexes)

    @classmethod
    def _open_remote(cls, storage: Storage, cache: NodeCache | None) -> PairShards:
        try:
            manifest = load_manifest(storage)
        except FileNotFoundError:
            raise DataError(
                f"{storage}: no {MANIFEST} there; copy a folder that `cpt prep` made, or indexed, whole"
            ) from None
        check_ranges(storage, manifest)
        indexes = [load_index(storage, shard, cache) for shard in manifest["shards"]]
        return cls(storage, manifest, indexes, cache)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for chunk in range(len(self.chunk_counts)):
            yield from self.read_chunk(chunk)

    def read_chunk(self, i: int) -> list[dict[str, Any]]:
        """The records of chunk ``i``: dicts of id, x, y, negatives, source and meta; with ids ``negative_hashes`` too.

        Raises:
            CorruptChunk: size or hash differ from the index, or the bytes do not decode.
            DataError: the shard cannot be read, or a remote one not within its tries.
        """
        decode = self._decode_tokens if self.tokens else self._decode_texts
        records: list[dict[str, Any]] = self._counted(i, decode)
        return records

    def read_packed(self, i: int) -> Sequence[dict[str, Any]]:
        """As :meth:`read_chunk`, where it can be with each record made only when it is asked for."""
        if self.tokens or self.layout != CHUNKED:
            return self.read_chunk(i)
        records: Sequence[dict[str, Any]] = self._counted(i, lambda data, _: PackedRecords(decompress(data)))
        return records

    def _counted(self, i: int, decode: Callable[[bytes, str], Any]) -> Any:
        records = self._checked(i, decode)
        if len(records) != self.chunk_counts[i]:
            name = self._names[self._shard[i]]
            self._corrupt(i, name, f"holds {len(records)} records, not {self.chunk_counts[i]}")
        return records

    def read_tokens(self, i: int) -> TokenChunk:
        """The columns of chunk ``i`` of a folder of token ids; raises as :meth:`read_chunk`."""
        chunk: TokenChunk = self._checked(i, lambda data, name: token_chunk(data, self.tokens))
        return chunk

    def tokenizer(self) -> str:
        """The content of the tokenizer.json that lies beside token ids; raises as :func:`read_tokenizer`."""
        if self.tokens is None:
            raise DataError(f"{self.folder}: holds texts, which no tokenizer has made")
        return read_tokenizer(self._storage, self.tokens)

    def need_texts(self) -> PairShards:
        """This folder, if its records hold texts.

        Raises:
            DataError: they hold token ids.
        """
        if self.tokens:
            raise DataError(
                f"{self.folder}: holds token ids, no texts; name the folder that it was made from"
            )
        return self

    def _checked(self, i: int, decode: Callable[[bytes, str], Any]) -> Any:
        name = self._names[self._shard[i]]
        data = self._read_bytes(i, name)
        if not self._is_good(i, data):
            self._corrupt(i, name, "its bytes are not those that were written")
        try:
            return decode(data, name)
        except (DataError, ValueError, zstandard.ZstdError) as error:
            self._corrupt(i, name, f"does not decode ({error})")

    def _decode_texts(self, data: bytes, name: str) -> list[dict[str, Any]]:
        return decode_chunk(data) if self.layout == CHUNKED else classic_records(data, name, self.layout)

    def _decode_tokens(self, data: bytes, name: str) -> list[dict[str, Any]]:
        return token_chunk(data, self.tokens).records()

    def _read_bytes(self, i: int, name: str) -> bytes:
        key = f"{self.fingerprint}/{name}-{self.numbers[i]:06d}-{self._xxh64[i]:016x}"
        if self._cache and (kept := self._cache.get(key, lambda data: self._is_good(i, data))):
            return kept
        offset, size = int(self._offsets[i]), int(self._sizes[i])
        try:
            data = self._storage.read_range(name, offset, size, lambda data: self._is_good(i, data))
        except FileNotFoundError:
            raise DataError(f"{self.folder}/{name}: missing; copy or prepare it again") from None
        if self._cache and self._is_good(i, data):
            self._cache.put(key, data)
        return data

    def _is_good(self, i: int, data: bytes) -> bool:
        return len(data) == self._sizes[i] and xxhash.xxh64_intdigest(data) == int(self._xxh64[i])

    def _corrupt(self, i: int, name: str, what: str) -> NoReturn:
        number = int(self.numbers[i])
        where = f"{self.folder}/{name}: chunk {number} (at byte {self._offsets[i]})"
        command = quarantine_command(self._storage, name, number)
        cure = f"copy or prepare the shard again, or leave the chunk out: {command}"
        raise CorruptChunk(name, i, f"{where}: {what}; {cure}", number, command)


def _kept(
    names: list[str], shard: np.ndarray, number: np.ndarray, quarantine: list[dict[str, Any]]
) -> np.ndarray:
    """Which chunks are not in quarantine, bool ``(n_chunks,)``."""
    kept = np.ones(len(shard), dtype=bool)
    for entry in quarantine:
        kept[(shard == names.index(entry["shard"])) & (number == entry["chunk"])] = False
    return kept


def quarantine_command(storage: Storage, shard: str, number: int) -> str:
    """What to type to leave a chunk out; a remote folder's manifest is written where it was made."""
    if storage.local is None:
        return (
            f"`cpt prep quarantine DIR {shard} {number}` where it was copied from, then copy {MANIFEST} there"
        )
    return f"`cpt prep quarantine {storage} {shard} {number}`"


def unpack_chunk(data: bytes) -> Any:
    """What one of our members holds: a list of records, or the columns of token ids."""
    return ormsgpack.unpackb(decompress(data))


def decompress(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data)


def decode_chunk(data: bytes) -> list[dict[str, Any]]:
    """The records of one of our members that holds texts."""
    records = unpack_chunk(data)
    if not isinstance(records, list):
        raise ValueError("no list of records")
    return records


def read_tokenizer(place: Place, head: TokenHead) -> str:
    """The content of the tokenizer.json of a folder of token ids.

    Raises:
        DataError: it is not there, or another one.
    """
    storage = storage_of(place)
    try:
        found = storage.read(TOKENIZER).decode()
        sound = tokenizer_hash(found) == head.tokenizer
    except (FileNotFoundError, ValueError, AttributeError):
        sound = False
    if not sound:
        raise DataError(
            f"{storage}/{TOKENIZER}: missing, or not the tokenizer of these ids; copy it there again"
        )
    return found


def token_chunk(data: bytes, head: TokenHead | None = None) -> TokenChunk:
    """One of our members as token ids.

    Args:
        head: What its folder says; None takes the chunk's word.

    Raises:
        ValueError, ZstdError: it does not decode, or belongs to another folder.
    """
    chunk = TokenChunk.from_object(unpack_chunk(data))
    if head is not None and chunk.head != head:
        raise ValueError("token ids of another folder")
    return chunk


def open_splits(folder: Place, cache: NodeCache | None = None) -> dict[str, PairShards]:
    """Open ``folder/train``, ``folder/validation`` and ``folder/test``, as many as there are.

    Args:
        folder, cache: as in :meth:`PairShards.open`.

    Raises:
        DataError: none of them is there, or one of them cannot be opened.
    """
    storage = storage_of(folder)
    there = [name for name in SPLITS if is_there(storage.below(name))]
    if not there:
        raise DataError(
            f"{storage}: no {', '.join(SPLITS)} folder inside; `cpt prep code|text|pairs --out` makes them"
        )
    return {name: PairShards.open(storage.below(name), cache) for name in there}


def is_there(storage: Storage) -> bool:
    """A remote folder is there if it has a manifest: not every server lists its folders."""
    if storage.local is not None:
        return storage.local.is_dir()
    try:
        storage.read(MANIFEST)
    except FileNotFoundError:
        return False
    return True


def refuse_unfinished(folder: Path) -> None:
    """Raise a DataError for a folder that is not there or whose writer was stopped."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    if (folder / WRITING).exists():
        raise DataError(
            f"{folder}: unfinished: the run that wrote it was stopped; run the same command again"
        )
