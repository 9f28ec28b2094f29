"""Leaves damaged chunks out of a folder, by a mark in its manifest, or takes them back in."""

from __future__ import annotations

from typing import Any

from data_prep.errors import DataError
from data_prep.shards.index import (
    MANIFEST,
    QUARANTINE,
    load_manifest,
    with_quarantine,
    write_manifest,
)
from data_prep.storage import Place, storage_of


def quarantine_chunks(
    place: Place, shard: str, chunks: list[int], *, reason: str = "damaged", undo: bool = False
) -> dict[str, Any]:
    """Mark chunks of one shard, or take their marks away, and return the new manifest.

    The fingerprint becomes another one: it is other data. The tars stay as they are.

    Args:
        place: The folder with the manifest.
        shard: The tar's file name.
        chunks: Numbers of the chunks in the shard, from 0, as errors and the members' names have them.
        reason: Kept in the manifest.
        undo: Take the marks away.

    Raises:
        DataError: a remote folder, no manifest, no such shard or chunk, a mark that is (or is not) there, or
            nothing would be left.
    """
    storage = storage_of(place)
    if storage.local is None:
        raise DataError(
            f"{storage}: cannot be written; run this where the folder was copied from, and copy {MANIFEST} there"
        )
    try:
        manifest = load_manifest(storage)
    except FileNotFoundError:
        raise DataError(
            f"{storage}: no {MANIFEST}; name the folder that has it, such as {storage}/train"
        ) from None
    marks = {(entry["shard"], entry["chunk"]): entry for entry in manifest.get(QUARANTINE, [])}
    for chunk in chunks:
        _check(manifest, str(storage), shard, chunk)
        if ((shard, chunk) in marks) != undo:
            state = "not in quarantine" if undo else "in quarantine already"
            raise DataError(f"{storage}/{shard}: chunk {chunk} is {state}")
        if undo:
            del marks[shard, chunk]
        else:
            marks[shard, chunk] = {"shard": shard, "chunk": chunk, "reason": reason}
    if len(marks) == sum(entry["chunks"] for entry in manifest["shards"]):
        raise DataError(f"{storage}: no chunk would be left; prepare or copy the folder again")
    manifest = with_quarantine(manifest, [marks[place] for place in sorted(marks)])
    write_manifest(storage.local, manifest)
    return manifest


def _check(manifest: dict[str, Any], folder: str, shard: str, chunk: int) -> None:
    sizes = {entry["name"]: entry["chunks"] for entry in manifest["shards"]}
    if shard not in sizes:
        raise DataError(f"{folder}: no shard {shard!r}; there are {', '.join(list(sizes)[:3])} ...")
    if not 0 <= chunk < sizes[shard]:
        raise DataError(f"{folder}/{shard}: no chunk {chunk}; it has 0 to {sizes[shard] - 1}")
