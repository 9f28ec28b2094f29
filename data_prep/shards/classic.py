"""Reads classic WebDataset tars (one .json per pair, or x.txt and y.txt) by an index made at first sight."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.shards.index import (
    JSON_MEMBERS,
    TEXT_MEMBERS,
    Index,
    IndexBuilder,
    make_manifest,
    save_index,
    shard_entry,
    text_rows,
    write_manifest,
)
from data_prep.shards.tar import Member, scan

SAMPLES_PER_CHUNK = 512


def index_folder(folder: Path) -> tuple[dict[str, Any], list[Index]]:
    """Index every tar in ``folder``; the index is kept beside the tars where the folder can be written.

    Members that are neither ``.json`` nor ``x.txt``/``y.txt`` belong to other uses and are passed over.

    Raises:
        DataError: no tars, our own shards without their manifest, a damaged tar, a sample without x or y.
    """
    paths = sorted(folder.glob("*.tar"))
    if not paths:
        raise DataError(
            f"{folder}: no shards (no manifest.json, no .tar); make some with `cpt prep code|text|pairs`"
        )
    layout = _layout(paths[0], folder)
    indexed = [_index_shard(path, layout) for path in paths]
    try:
        shards = [save_index(path, *found) for path, found in zip(paths, indexed, strict=True)]
        manifest = make_manifest(folder.resolve().name, layout, shards)
        write_manifest(folder, manifest)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        shards = [shard_entry(path.name, *found) for path, found in zip(paths, indexed, strict=True)]
        manifest = make_manifest(folder.resolve().name, layout, shards)
    return manifest, [index for index, _, _ in indexed]


def classic_records(data: bytes, shard: str, layout: str) -> list[dict[str, Any]]:
    """The records in ``data``, a run of whole members cut out of the tar ``shard``."""
    file = io.BytesIO(data)
    samples = _samples(scan(file, shard, stop=len(data)))
    return [_pair(file, key, members, shard, layout).to_dict() for key, members in samples]


def _index_shard(path: Path, layout: str) -> tuple[Index, int, str]:
    builder, seen = IndexBuilder(), set[str]()
    with open(path, "rb") as file:
        samples = _samples(scan(file, str(path)))
        while chunk := list(islice(samples, SAMPLES_PER_CHUNK)):
            for key, _ in chunk:
                if key in seen:
                    raise DataError(
                        f"{path}: the members of sample {key} do not lie together; write the tar again"
                    )
                seen.add(key)
            pairs = [_pair(file, key, members, str(path), layout) for key, members in chunk]
            start, stop = chunk[0][1][0].start, chunk[-1][1][-1].stop
            builder.add(start, _slice(file, start, stop), *text_rows(pairs))
        if not seen:
            raise DataError(f"{path}: holds no samples")
        file.seek(0)
        digest = xxhash.xxh64()
        while block := file.read(1 << 20):
            digest.update(block)
    return builder.build(), path.stat().st_size, digest.hexdigest()


def _layout(path: Path, folder: Path) -> str:
    with open(path, "rb") as file:
        _, members = next(_samples(scan(file, str(path))), ("", []))
    extensions = {_split(member.name)[1] for member in members}
    if "msgpack.zst" in extensions:
        raise DataError(f"{folder}: shards without manifest.json; rebuild it with `cpt prep index {folder}`")
    return JSON_MEMBERS if "json" in extensions else TEXT_MEMBERS


def _samples(members: Iterator[Member]) -> Iterator[tuple[str, list[Member]]]:
    """Group neighbouring members by key: the path up to the first dot of the file name."""
    for key, group in groupby(members, lambda member: _split(member.name)[0]):
        if not key.startswith("__"):  # names such as __meta__.json are the webdataset library's own
            yield key, list(group)


def _split(name: str) -> tuple[str, str]:
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return folder + slash + stem, extension.lower()


def _pair(file: BinaryIO, key: str, members: list[Member], shard: str, layout: str) -> Pair:
    where = f"{shard}: sample {key}"
    parts = {_split(member.name)[1]: member for member in members}
    default_id = f"{Path(shard).stem}/{key}"
    try:
        if layout == TEXT_MEMBERS:
            texts = {side: _content(file, parts[f"{side}.txt"]) for side in "xy" if f"{side}.txt" in parts}
            return Pair.from_dict(texts, where, default_id=default_id)
        if "json" not in parts:
            raise DataError(f"{where}: no .json member, though the first sample of the folder has one")
        return Pair.from_dict(json.loads(_content(file, parts["json"])), where, default_id=default_id)
    except DataError:
        raise
    except UnicodeDecodeError:
        raise DataError(f"{where}: not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})") from None


def _content(file: BinaryIO, member: Member) -> str:
    return _slice(file, member.offset, member.offset + member.size).decode()


def _slice(file: BinaryIO, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(stop - start)
