"""Writes a folder of shards: chunks of records in plain tars, an index beside each, the manifest last."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
import zstandard

from data_prep.errors import DataError
from data_prep.files import atomic_file, write_atomic
from data_prep.pairs import Pair, packed
from data_prep.shards.index import (
    CHUNKED,
    IndexBuilder,
    load_manifest,
    make_manifest,
    save_index,
    text_rows,
    write_manifest,
)
from data_prep.shards.staging import WRITING, is_finished, publish, staging
from data_prep.shards.tar import END, make_header, padded
from data_prep.shards.tokens import TOKENIZER, TokenHead

RECORDS_PER_CHUNK = 512
_CHUNK_CHARS = 4_000_000  # a chunk of long texts has fewer records: readers hold dozens of chunks
SHARD_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk as it goes into the tar.

    Args:
        data: Its bytes.
        lengths: Of x and y of its records, uint32 ``(n, 2)``.
        hashes: Of x, y and document, uint64 ``(n, 3)``.
        cut: Texts of which ids are missing.
    """

    data: bytes
    lengths: np.ndarray
    hashes: np.ndarray
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a folder of token ids says of them.

    Args:
        head: As in each chunk.
        serialised: The tokenizer.json that is put beside the shards.
    """

    head: TokenHead
    serialised: str


def write_shards(
    folder: Path,
    pairs: Iterable[Pair],
    *,
    source: str,
    records_per_chunk: int = RECORDS_PER_CHUNK,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write ``pairs``, in their order, to ``folder`` and return the manifest.

    Equal pairs give equal bytes. Killed at any moment, no manifest is left (or the former shards, whole), and a
    second call starts anew.

    Args:
        folder: Made if needed; must not hold tars of somebody else.
        pairs: Checked pairs.
        source: The corpus' name, part of the shards' names: letters, digits, ``-`` and ``_``.
        records_per_chunk: Most records in one member, which also ends with 4 million characters: the unit of
            reading, of shuffling and of damage.
        shard_bytes: A tar is closed when it has grown past this many bytes.
        overwrite: Replace the finished shards in ``folder``, once the new ones are complete.

    Raises:
        DataError: the folder is finished already (and not ``overwrite``), the name is bad, there are no pairs,
            the disk is full.
    """
    chunks = _chunks(pairs, records_per_chunk)
    return write_chunks(folder, chunks, source=source, shard_bytes=shard_bytes, overwrite=overwrite)


def write_chunks(
    folder: Path,
    chunks: Iterator[Chunk],
    *,
    source: str,
    tokens: Tokens | None = None,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
) -> dict[str, Any]:
    """As :func:`write_shards`, of chunks that are made already.

    Args:
        tokens: Where the chunks hold token ids.
    """
    check_name(source)
    check_target(folder, overwrite=overwrite)
    with staging(folder, [folder]) as staged:
        manifest = _fill(staged / source, chunks, source, shard_bytes, tokens)
    publish(staged, {folder: staged / source})
    return manifest


def check_name(source: str) -> None:
    """Raise a DataError where a corpus' name cannot be part of a file's."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", source):
        raise DataError(f"source name {source!r}: use letters, digits, - and _ (64 at most)")


def _fill(
    folder: Path,
    chunks: Iterator[Chunk],
    source: str,
    shard_bytes: int = SHARD_BYTES,
    tokens: Tokens | None = None,
) -> dict[str, Any]:
    folder.mkdir()
    shards: list[dict[str, Any]] = []
    cut = 0
    for first in chunks:
        name = f"{source}-{len(shards):05d}.tar"
        entry, missing = _write_shard(folder / name, first, chunks, shard_bytes, tokens)
        shards.append(entry)
        cut += missing
    if not shards:
        where = folder.parent.parent  # not the hidden folder
        raise DataError(f"{where}: no pairs to write: nothing was found, or all of it was filtered out")
    if tokens:
        write_atomic(folder / TOKENIZER, tokens.serialised.encode())
    known = {**tokens.head.to_dict(), "cut": cut} if tokens else None
    manifest = make_manifest(source, CHUNKED, shards, known)
    write_manifest(folder, manifest)
    return manifest


def write_splits(
    out: Path,
    splits: dict[str, list[Pair]],
    *,
    source: str,
    overwrite: bool = False,
    finish: Callable[[dict[str, dict[str, Any]]], None] = lambda manifests: None,
) -> dict[str, dict[str, Any]]:
    """Write each split in the order of the ids' hashes, so that neighbours in a chunk come from anywhere.

    Returns and raises what stream_splits does.
    """
    by_hash = {
        name: sorted(pairs, key=lambda pair: (xxhash.xxh64_intdigest(pair.id.encode()), pair.id))
        for name, pairs in splits.items()
    }
    return stream_splits(out, by_hash, source=source, overwrite=overwrite, finish=finish)


def stream_splits(
    out: Path,
    splits: Mapping[str, Iterable[Pair]],
    *,
    source: str,
    overwrite: bool = False,
    finish: Callable[[dict[str, dict[str, Any]]], None] = lambda manifests: None,
) -> dict[str, dict[str, Any]]:
    """Write ``out/train``, ``out/validation`` and ``out/test`` and return the manifests of those with pairs.

    Each split is written in its order. The training split is finished last: killed at any moment, no set of splits is
    left that would be taken for whole, other than the former one.

    Args:
        out: The folder of the splits.
        splits: Their pairs; read once, a chunk at a time.
        source: The corpus' name.
        overwrite: Replace finished shards.
        finish: Called with the manifests when all is in its place: for files beside the splits.

    Raises:
        DataError: as write_shards does, for any split.
    """
    chunks = {name: _chunks(pairs, RECORDS_PER_CHUNK) for name, pairs in splits.items()}
    return stream_chunks(out, chunks, source=source, overwrite=overwrite, finish=finish)


def stream_chunks(
    out: Path,
    splits: Mapping[str, Iterable[Chunk]],
    *,
    source: str,
    tokens: Mapping[str, Tokens] | None = None,
    overwrite: bool = False,
    finish: Callable[[dict[str, dict[str, Any]]], None] = lambda manifests: None,
) -> dict[str, dict[str, Any]]:
    """As :func:`stream_splits`, of chunks that are made already.

    Args:
        tokens: Of each split, where the chunks hold token ids.
    """
    check_name(source)
    for name in splits:
        check_target(out / name, overwrite=overwrite)
    names = sorted(splits, key=lambda name: (name != "train", name))
    new: dict[Path, Path | None] = {}
    manifests = {}
    with staging(out, [out / name for name in names]) as staged:
        for name in names:
            chunks = _begun(splits[name])
            wanted = chunks is not None or name == "train"
            new[out / name] = staged / name if wanted else None
            if wanted:
                known = (tokens or {}).get(name)
                manifests[name] = _fill(staged / name, chunks or iter(()), source, tokens=known)
    publish(staged, new)
    finish(manifests)
    return manifests


def _begun(chunks: Iterable[Chunk]) -> Iterator[Chunk] | None:
    """All of ``chunks``, or None where there are none."""
    iterator = iter(chunks)
    for first in iterator:
        return chain([first], iterator)
    return None


def check_target(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that a writer must not touch.

    Raises:
        DataError: a file, finished shards and ``overwrite`` is false, or tars that are not ours.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: is a file; name a folder")
    stopped = (folder / WRITING).exists()  # leftovers, even if this one of several splits was finished
    finished = is_finished(folder)
    if finished and not overwrite:
        raise DataError(f"{folder}: holds finished shards; name another folder or add --overwrite")
    ours = stopped or (finished and _is_chunked(folder))
    if not ours and any(folder.glob("*.tar")):
        raise DataError(f"{folder}: holds tars that were not written by `cpt prep`; name another folder")


def _is_chunked(folder: Path) -> bool:
    try:
        return bool(load_manifest(folder)["layout"] == CHUNKED)
    except DataError:
        return False


def _chunks(pairs: Iterable[Pair], size: int) -> Iterator[Chunk]:
    iterator = iter(pairs)
    compressor = Compressor()
    while chunk := list(_within(iterator, size)):
        data = packed([pair.to_dict() for pair in chunk], ((pair.id, pair.meta) for pair in chunk))
        yield Chunk(compressor(data), *text_rows(chunk))


def _within(pairs: Iterator[Pair], size: int) -> Iterator[Pair]:
    """As many pairs as go into a chunk; the one that fills it is the last."""
    chars = 0
    for pair in islice(pairs, size):
        yield pair
        chars += len(pair.x) + len(pair.y) + sum(map(len, pair.negatives))
        if chars >= _CHUNK_CHARS:
            return


class Compressor:
    """Makes the zstd frame of a chunk; its checksum lets a lost index be rebuilt soundly from the tar alone."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)

    def __call__(self, data: bytes) -> bytes:
        return self._compressor.compress(data)


def _write_shard(
    path: Path, first: Chunk, rest: Iterator[Chunk], limit: int, tokens: Tokens | None
) -> tuple[dict[str, Any], int]:
    """Write one tar and its index; its entry of the manifest, and how many texts in it are cut."""
    builder, digest, size, count, cut = IndexBuilder(), xxhash.xxh64(), 0, 0, 0
    chunk: Chunk | None = first
    with atomic_file(path) as file:
        while chunk:
            data = chunk.data
            header = make_header(f"{path.stem}-{count:06d}.msgpack.zst", len(data))
            builder.add(size + len(header), data, chunk.lengths, chunk.hashes)
            member = header + data + bytes(padded(len(data)) - len(data))
            file.write(member)
            digest.update(member)
            size, count, cut = size + len(member), count + 1, cut + chunk.cut
            chunk = next(rest, None) if size < limit else None
        file.write(END)
        digest.update(END)
    index = builder.build(tokens.head.tokenizer if tokens else "")
    return save_index(path, index, size + len(END), digest.hexdigest()), cut
