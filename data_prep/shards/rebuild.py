"""Makes the index and the manifest of a folder anew from its tars, where that is sound."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
import zstandard

from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.shards.classic import index_folder
from data_prep.shards.index import (
    CHUNKED,
    MANIFEST,
    QUARANTINE,
    Index,
    IndexBuilder,
    load_manifest,
    make_manifest,
    save_index,
    text_rows,
    with_quarantine,
    write_manifest,
)
from data_prep.shards.read import refuse_unfinished, unpack_chunk
from data_prep.shards.tar import scan
from data_prep.shards.tokens import TokenChunk, TokenHead


def rebuild_index(folder: Path | str) -> dict[str, Any]:
    """Write the .idx files and ``manifest.json`` of ``folder`` from its tars and return the manifest.

    Sound, because every tar must have good headers and its end marker, every chunk of ours carries a checksum
    inside its zstd frame, and where a manifest is left the tars must have its hashes. What cannot be noticed
    without a manifest is a last shard that is missing altogether.

    Raises:
        DataError: no tars, an unfinished folder, damage anywhere.
    """
    folder = Path(folder)
    refuse_unfinished(folder)
    paths = sorted(folder.glob("*.tar"))
    if not paths or not _is_chunked(paths[0]):
        _refuse_quarantine(folder)
        return index_folder(folder)[0]
    known = load_manifest(folder) if (folder / MANIFEST).exists() else None
    if known is None:
        _refuse_gaps(paths)
    reader = _Chunks()
    found = [(path, _index_shard(path, reader)) for path in paths]
    if known and [shard["xxh64"] for shard in known["shards"]] != [digest for _, (_, _, digest) in found]:
        raise DataError(
            f"{folder}: the tars are not those of {MANIFEST}; `cpt prep verify {folder}` names them"
        )
    source = known["source"] if known else paths[0].stem.rpartition("-")[0]
    shards = [save_index(path, *shard) for path, shard in found]
    manifest = make_manifest(source, CHUNKED, shards, reader.known)
    manifest = with_quarantine(manifest, known.get(QUARANTINE, []) if known else [])
    write_manifest(folder, manifest)
    return manifest


def _refuse_gaps(paths: list[Path]) -> None:
    """Without a manifest a shard that is missing before others is known by their numbers."""
    numbers: Counter[str] = Counter()
    for path in paths:
        source = path.stem.rpartition("-")[0]
        wanted = path.with_name(f"{source}-{numbers[source]:05d}.tar")
        if path != wanted:
            raise DataError(f"{wanted}: missing, but {path.name} is there; copy it there first")
        numbers[source] += 1


def _refuse_quarantine(folder: Path) -> None:
    """A new index of classic tars would take whatever the bytes in quarantine are now for good."""
    try:
        marked = QUARANTINE in load_manifest(folder)
    except (FileNotFoundError, DataError):
        return
    if marked:
        raise DataError(f"{folder}: has chunks in quarantine; replace the tars and delete {MANIFEST} first")


def _is_chunked(path: Path) -> bool:
    with open(path, "rb") as file:
        first = next(scan(file, str(path)), None)
    return first is not None and first.name.endswith(".msgpack.zst")


class _Chunks:
    """Reads chunks of texts or of token ids, all of one kind; counts what ids are missing."""

    def __init__(self) -> None:
        self._head: TokenHead | None = None
        self._begun = False
        self._cut = 0

    @property
    def known(self) -> dict[str, Any] | None:
        """What the manifest says of token ids."""
        return {**self._head.to_dict(), "cut": self._cut} if self._head else None

    @property
    def tokenizer(self) -> str:
        return self._head.tokenizer if self._head else ""

    def rows(self, data: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
        """Lengths and hashes of the records of a chunk.

        Raises:
            DataError: it is damaged, or of another kind than those before it.
        """
        try:
            obj = unpack_chunk(data)
            chunk = TokenChunk.from_object(obj) if isinstance(obj, dict) else None
            pairs = [] if chunk else [Pair.from_dict(record, where) for record in obj]
        except (ValueError, zstandard.ZstdError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{where}: damaged ({error}); copy or prepare the shard again") from None
        head = chunk.head if chunk else None
        if self._begun and head != self._head:
            raise DataError(f"{where}: is not of the folder's other chunks; copy or prepare the shard again")
        self._head, self._begun = head, True
        self._cut += chunk.cut if chunk else 0
        return (chunk.sides, chunk.hashes) if chunk else text_rows(pairs)


def _index_shard(path: Path, reader: _Chunks) -> tuple[Index, int, str]:
    builder, data = IndexBuilder(), path.read_bytes()
    with open(path, "rb") as file:
        for number, member in enumerate(scan(file, str(path))):
            if member.name != f"{path.stem}-{number:06d}.msgpack.zst":
                raise DataError(
                    f"{path}: chunk {number} is named {member.name}; the shard was renamed or edited"
                )
            chunk = data[member.offset : member.offset + member.size]
            builder.add(member.offset, chunk, *reader.rows(chunk, f"{path}: chunk {number}"))
    return builder.build(reader.tokenizer), len(data), xxhash.xxh64_hexdigest(data)
