"""Checks on opening that the tars of a folder, near or far, are those of its manifest by name and size."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from data_prep.errors import DataError
from data_prep.shards.index import MANIFEST, QUARANTINE, Index
from data_prep.storage import Storage

_AT_ONCE = 16


def check_files(folder: Path, manifest: dict[str, Any], indexes: list[Index]) -> None:
    """Check that the tars in the folder are those of the manifest, by name and size.

    A tar with chunks in quarantine may have been cut, if the other chunks lie in it.

    Raises:
        DataError: naming the first tar that is missing, of another size or not listed.
    """
    for shard, index in zip(manifest["shards"], indexes, strict=True):
        path = folder / shard["name"]
        needed = needed_bytes(manifest, shard, index)
        if not path.is_file():
            if needed:
                raise DataError(f"{path}: missing, but listed in {MANIFEST}; copy or prepare it again")
            continue
        size = path.stat().st_size
        if size != shard["bytes"] and (size < needed or not quarantined(manifest, shard)):
            raise DataError(_other_size(str(path), f"{size} bytes", shard))
    if unlisted := unlisted_tars(folder, manifest):
        raise DataError(
            f"{unlisted[0]}: not listed in {MANIFEST}; delete the manifest and run `cpt prep index {folder}`"
        )


def unlisted_tars(folder: Path, manifest: dict[str, Any]) -> list[Path]:
    """Tars in the folder that belong to nothing."""
    names = {shard["name"] for shard in manifest["shards"]}
    return sorted(path for path in folder.glob("*.tar") if path.name not in names)


def needed_bytes(manifest: dict[str, Any], shard: dict[str, Any], index: Index) -> int:
    """How much of the tar has to be there for the chunks that are not in quarantine."""
    out = {entry["chunk"] for entry in quarantined(manifest, shard)}
    if not out:
        return int(shard["bytes"])
    ends = (index.offsets + index.sizes).tolist()
    return max((end for number, end in enumerate(ends) if number not in out), default=0)


def quarantined(manifest: dict[str, Any], shard: dict[str, Any]) -> list[dict[str, Any]]:
    """What is in quarantine of one shard."""
    return [entry for entry in manifest.get(QUARANTINE, []) if entry["shard"] == shard["name"]]


def check_ranges(storage: Storage, manifest: dict[str, Any]) -> None:
    """Check that a remote folder has the tars of the manifest, and that its server answers ranges.

    Not every server tells a file's size, all of them end a range where the file ends: the last byte and the one
    behind it are asked for.

    Raises:
        DataError: naming the first tar that is missing or of another size.
    """
    storage.read_range(MANIFEST, 1, 2)  # a server that ignores ranges is found out with a small file
    whole = [shard for shard in manifest["shards"] if not quarantined(manifest, shard)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        ends = list(pool.map(lambda shard: _end(storage, shard), whole))
    for shard, end in zip(whole, ends, strict=True):
        if end is None:
            where = f"{storage}/{shard['name']}"
            raise DataError(f"{where}: missing, but listed in {MANIFEST}; copy the folder there again")
        if end != 1:
            size = "more bytes" if end else "fewer bytes"
            raise DataError(_other_size(f"{storage}/{shard['name']}", size, shard))


def _end(storage: Storage, shard: dict[str, Any]) -> int | None:
    """How many of the last byte and the one behind it are there; None without the file."""
    try:
        return len(storage.read_range(shard["name"], shard["bytes"] - 1, 2, lambda data: len(data) == 1))
    except FileNotFoundError:
        return None


def _other_size(where: str, size: str, shard: dict[str, Any]) -> str:
    return f"{where}: {size} instead of {shard['bytes']}; the shard was cut or replaced; copy or prepare it again"
