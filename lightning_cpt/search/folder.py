"""The folder of an index: data files under new names, then index.json in their favour, so it is whole at any moment."""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.files import write_atomic
from lightning_cpt.errors import ConfigError
from lightning_cpt.search.texts import Item

FORMAT = 1
MANIFEST = "index.json"
_ABANDONED = 24 * 3600  # seconds after which nobody writes a file any more
_KEYS = ("kind", "count", "dim", "encoder", "encoder_name", "fingerprint", "recall")
_PARTS = {"vectors": ".faiss", "items": ".jsonl", "offsets": ".npy", "files": ".json"}
# What `generation`, the build's raw vectors and `write_atomic` call their files; nothing else in a folder is ours.
_OURS = re.compile(
    r"vectors-[0-9a-f]{8}\.(faiss|raw)|items-[0-9a-f]{8}\.jsonl|offsets-[0-9a-f]{8}\.npy|files-[0-9a-f]{8}\.json"
    r"|\.(index\.json|files-[0-9a-f]{8}\.json)\.\d+\.tmp"
)


@contextmanager
def generation(folder: Path) -> Iterator[dict[str, Path]]:
    """Paths for the data files of a new state of ``folder``; what is not in the manifest at the end is removed.

    Raises:
        ConfigError: the folder cannot be written, or holds something else.
    """
    refuse_foreign(folder)
    name = uuid.uuid4().hex[:8]
    made = {part: folder / f"{part}-{name}{suffix}" for part, suffix in _PARTS.items()}
    before = _named(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield dict(made)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        _sweep(folder, before | {path.name for path in made.values()})


def refuse_foreign(folder: Path) -> None:
    """Raise a ConfigError for a place that is neither free nor an index."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; name a folder for the index")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        left = [path for path in folder.iterdir() if not _OURS.fullmatch(path.name)]
        if left:  # what a build that was stopped left behind is ours
            raise ConfigError(f"{folder}: holds {left[0].name}, which is no index; name another folder")


def _named(folder: Path) -> set[str]:
    """Names of the data files that are the index at present."""
    try:
        return set(read_manifest(folder)["parts"].values())
    except ConfigError:
        return set()


def _sweep(folder: Path, ours: set[str]) -> None:
    """Remove those of ``ours`` that are not the index, and what builds that were killed left behind."""
    kept = _named(folder)
    for path in folder.iterdir() if folder.is_dir() else ():
        mine = _OURS.fullmatch(path.name) and path.is_file()
        if mine and path.name not in kept and (path.name in ours or _is_old(path)):
            path.unlink(missing_ok=True)


def _is_old(path: Path) -> bool:
    """Another process may be writing a file that is young."""
    try:
        return time.time() - path.stat().st_mtime > _ABANDONED
    except OSError:
        return False


def publish(folder: Path, parts: dict[str, Path], head: dict[str, Any]) -> None:
    """Let index.json name the new data files: from now on they are the index."""
    for path in parts.values():
        _sync(path)
    sizes = {part: path.stat().st_size for part, path in parts.items()}
    manifest = {
        "format": FORMAT,
        **head,
        "parts": {part: path.name for part, path in parts.items()},
        "bytes": sizes,
    }
    write_atomic(folder / MANIFEST, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def read_manifest(folder: Path) -> dict[str, Any]:
    """What index.json says, once its files are seen to be there in full.

    Raises:
        ConfigError: no index, one of another format, or a part that is missing or cut.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ConfigError(f"{folder}: no index there; `cpt search index` makes one")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known, parts = manifest["format"], dict(manifest["parts"])
        sizes = {part: manifest["bytes"][part] for part in parts}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: damaged; build the index again") from error
    if known != FORMAT:
        raise ConfigError(f"{path}: of format {known}, not {FORMAT}; build the index again")
    if (
        not {*_KEYS} <= manifest.keys()
        or not {"vectors", "items", "offsets"} <= parts.keys() <= _PARTS.keys()
    ):
        raise ConfigError(f"{path}: damaged; build the index again")
    if bad := [name for name in parts.values() if not isinstance(name, str) or Path(name).name != name]:
        raise ConfigError(f"{path}: names {bad[0]!r}, which is no file of this folder; build the index again")
    for part, name in parts.items():
        data = folder / name
        if not data.is_file() or data.stat().st_size != sizes[part]:
            raise ConfigError(f"{data}: missing or cut; build the index again")
    return manifest


class ItemWriter:
    """Writes items as they come: one JSON line each, and where each line begins."""

    def __init__(self, items: Path, offsets: Path) -> None:
        self._file, self._offsets = open(items, "wb"), offsets  # noqa: SIM115
        self._starts = [0]

    def add(self, items: Iterable[Item]) -> None:
        for item in items:
            row = [item.id, item.text, item.meta]
            self._file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
            self._starts.append(self._file.tell())

    def close(self) -> None:
        self._file.close()
        np.save(self._offsets, np.array(self._starts, np.int64))  # (n + 1,)


class ItemReader:
    """Items by their row; nothing but the lines that are asked for is read."""

    def __init__(self, items: Path, offsets: Path) -> None:
        self._path = items
        self._starts: np.ndarray = np.load(offsets, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._starts) - 1

    def at(self, rows: Iterable[int]) -> list[Item]:
        with open(self._path, "rb") as file:
            return [self._read(file, row) for row in rows]

    def _read(self, file: Any, row: int) -> Item:
        start, end = int(self._starts[row]), int(self._starts[row + 1])
        file.seek(start)
        return Item(*json.loads(file.read(end - start)))
