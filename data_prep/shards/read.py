"""Reads a folder of shards: counts, lengths and hashes at once, records chunk by chunk, every byte checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import msgpack
import numpy as np
import xxhash
import zstandard

from data_prep.errors import CorruptChunk, DataError
from data_prep.shards.classic import classic_records, index_folder
from data_prep.shards.index import CHUNKED, MANIFEST, Index, load_index, load_manifest
from data_prep.shards.write import WRITING
from data_prep.split import SPLITS


class PairShards:
    """The records of one folder; can be pickled and used after a fork (no file stays open).

    Attributes:
        folder: The folder.
        source: The corpus' name.
        fingerprint: Hex; changes with the data and with its order.
        count: Number of records.
        unit: What ``lengths`` counts: "chars" or "tokens".
        kind: What a record holds: "text".
        chunk_counts: int64 (n_chunks,).
        lengths: uint32 (count, 2), of x and y.
        hashes: uint64 (count, 3), xxh64 of x, of y and of the document's name.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], indexes: list[Index]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.source: str = manifest["source"]
        self.fingerprint: str = manifest["fingerprint"]
        self.count: int = manifest["count"]
        self.unit: str = manifest["unit"]
        self.kind: str = manifest["kind"]
        self.layout: str = manifest["layout"]
        self.chunk_counts = np.concatenate([index.counts for index in indexes])
        self.lengths = np.concatenate([index.lengths for index in indexes])
        self.hashes = np.concatenate([index.hashes for index in indexes])
        self._names: list[str] = [shard["name"] for shard in manifest["shards"]]
        self._shard = np.repeat(np.arange(len(indexes)), [len(index.counts) for index in indexes])
        self._offsets = np.concatenate([index.offsets for index in indexes])
        self._sizes = np.concatenate([index.sizes for index in indexes])
        self._xxh64 = np.concatenate([index.xxh64 for index in indexes])

    @classmethod
    def open(cls, folder: Path | str) -> PairShards:
        """Open a folder; classic WebDataset tars without a manifest are indexed now.

        Raises:
            DataError: no shards, an unfinished folder, a missing or cut shard, an index that does not fit.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).exists():
            refuse_unfinished(folder)
            manifest, indexes = index_folder(folder)
            return cls(folder, manifest, indexes)
        manifest = load_manifest(folder)
        check_files(folder, manifest)
        return cls(folder, manifest, [load_index(folder, shard) for shard in manifest["shards"]])

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for chunk in range(len(self.chunk_counts)):
            yield from self.read_chunk(chunk)

    def read_chunk(self, i: int) -> list[dict[str, Any]]:
        """The records of chunk ``i``: dicts of id, x, y, negatives, source and meta.

        Raises:
            CorruptChunk: size or hash differ from the index, or the bytes do not decode.
        """
        name = self._names[self._shard[i]]
        data = self._read_bytes(i, name)
        if len(data) != self._sizes[i] or xxhash.xxh64_intdigest(data) != int(self._xxh64[i]):
            self._corrupt(i, name, "its bytes are not those that were written")
        try:
            records = (
                decode_chunk(data) if self.layout == CHUNKED else classic_records(data, name, self.layout)
            )
        except (DataError, ValueError, zstandard.ZstdError) as error:
            self._corrupt(i, name, f"does not decode ({error})")
        if len(records) != self.chunk_counts[i]:
            self._corrupt(i, name, f"holds {len(records)} records, not {self.chunk_counts[i]}")
        return records

    def _read_bytes(self, i: int, name: str) -> bytes:
        try:
            with open(self.folder / name, "rb") as file:
                file.seek(int(self._offsets[i]))
                return file.read(int(self._sizes[i]))
        except OSError as error:
            raise DataError(f"{self.folder / name}: cannot be read ({error.strerror})") from None

    def _corrupt(self, i: int, name: str, what: str) -> NoReturn:
        cure = f"`cpt prep verify {self.folder}` lists all damage; prepare or copy the shard again"
        raise CorruptChunk(name, i, f"{self.folder / name}: chunk {i}: {what}; {cure}")


def decode_chunk(data: bytes) -> list[dict[str, Any]]:
    """The records of one of our members."""
    records: list[dict[str, Any]] = msgpack.unpackb(zstandard.ZstdDecompressor().decompress(data))
    return records


def open_splits(folder: Path | str) -> dict[str, PairShards]:
    """Open ``folder/train``, ``folder/validation`` and ``folder/test``, as many as there are.

    Raises:
        DataError: none of them is there, or one of them cannot be opened.
    """
    folder = Path(folder)
    found = {name: PairShards.open(folder / name) for name in SPLITS if (folder / name).is_dir()}
    if not found:
        raise DataError(
            f"{folder}: no {', '.join(SPLITS)} folder inside; `cpt prep code|text|pairs --out` makes them"
        )
    return found


def check_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Check that the tars in the folder are those of the manifest, by name and size.

    Raises:
        DataError: naming the first tar that is missing, of another size or not listed.
    """
    names = {shard["name"] for shard in manifest["shards"]}
    for shard in manifest["shards"]:
        path = folder / shard["name"]
        if not path.is_file():
            raise DataError(f"{path}: missing, but listed in {MANIFEST}; copy or prepare it again")
        if path.stat().st_size != shard["bytes"]:
            sizes = f"{path.stat().st_size} bytes instead of {shard['bytes']}"
            raise DataError(f"{path}: {sizes}; the shard was cut or replaced; copy or prepare it again")
    if unlisted := sorted(path.name for path in folder.glob("*.tar") if path.name not in names):
        raise DataError(
            f"{folder / unlisted[0]}: not listed in {MANIFEST}; delete the manifest and run `cpt prep index {folder}`"
        )


def refuse_unfinished(folder: Path) -> None:
    """Raise a DataError for a folder that is not there or whose writer was stopped."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    if (folder / WRITING).exists():
        raise DataError(
            f"{folder}: unfinished: the run that wrote it was stopped; run the same command again"
        )
