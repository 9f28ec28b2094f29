"""Takes finished shards into their folders in one go: what lay there before is whole until all of the new is written."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data_prep.errors import DataError
from data_prep.files import sync_folder, write_atomic
from data_prep.shards.index import MANIFEST
from data_prep.shards.tokens import TOKENIZER

# Present in all folders of a set while shards are taken in, and in new folders from a writer's first act on:
# with it and without a manifest, a folder is unfinished; with both, the set may be.
WRITING = ".writing"
STAGED = ".staged"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OURS = re.compile(rf".+-\d{{5}}\.(tar|idx)|{re.escape(TOKENIZER)}|\..+\.\d+\.tmp")


@contextmanager
def staging(root: Path, folders: list[Path]) -> Iterator[Path]:
    """A hidden folder in ``root`` for the new shards; an error inside leaves everything as it was.

    Args:
        root: Where it is made; on the disk of the folders.
        folders: Those that will get the shards. Where none of them is finished yet, they are marked now.

    Raises:
        DataError: nothing can be written there, or the disk is full.
    """
    staged = root / STAGED
    new = [] if any(is_finished(folder) for folder in folders) else _mark(root, folders)
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
    except OSError as error:
        _unmark(new)
        raise _unwritable(root, error) from None
    try:
        yield staged
    except BaseException as error:
        needed = _bytes(staged)
        shutil.rmtree(staged, ignore_errors=True)
        _unmark(new)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise _full(root, error, needed) from None
        raise


def publish(staged: Path, folders: dict[Path, Path | None]) -> None:
    """Replace what lies in the folders by new shards, or by nothing; the first folder is finished last.

    Killed at any moment, the first folder has no manifest, unless all of the old or all of the new is there.

    Args:
        staged: The hidden folder, removed at the end.
        folders: For each folder the one where its new shards and their manifest lie.

    Raises:
        DataError: the folders can no longer be written; they are then unfinished.
    """
    try:
        _mark(staged.parent, list(folders))
    except DataError:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    try:
        _replace(folders)
        staged.rmdir()
    except OSError as error:
        raise DataError(
            f"{staged.parent}: cannot be written ({error.strerror}) and is unfinished; run the same command again"
        ) from None


def _replace(folders: dict[Path, Path | None]) -> None:
    for folder in folders:
        (folder / MANIFEST).unlink(missing_ok=True)
        sync_folder(folder)  # the manifest is gone for good before the first shard goes
    for folder in folders:
        for path in list(folder.iterdir()):
            if _OURS.fullmatch(path.name):
                path.unlink()
    _unmark([folder for folder, new in folders.items() if new is None])
    kept = {folder: new for folder, new in folders.items() if new is not None}
    for folder in reversed(kept):
        _take_in(folder, kept[folder])
    for folder in kept:
        (folder / WRITING).unlink()


def is_finished(folder: Path) -> bool:
    """Whether a writer came to its end there."""
    return (folder / MANIFEST).exists() and not _is_marked(folder)


def _mark(root: Path, folders: list[Path]) -> list[Path]:
    """Mark folders unfinished, making them where needed; returns those that were not marked before."""
    new = [folder for folder in folders if not _is_marked(folder)]
    try:
        for folder in new:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / WRITING, b"")
    except OSError as error:
        _unmark([folder for folder in new if folder.is_dir()])
        raise _unwritable(root, error) from None
    return new


def _unwritable(root: Path, error: OSError) -> DataError:
    return DataError(f"{root}: cannot be written ({error.strerror}); make room or name another folder")


def _is_marked(folder: Path) -> bool:
    return (folder / WRITING).exists()


def _unmark(folders: list[Path]) -> None:
    """Take the marks away, and folders with nothing else in them."""
    for folder in folders:
        (folder / WRITING).unlink(missing_ok=True)
        with suppress(OSError):  # somebody's own files may lie there
            folder.rmdir()


def _take_in(folder: Path, source: Path) -> None:
    """Renames alone: a disk that is full by now does no harm."""
    for path in sorted(source.iterdir(), key=lambda path: path.name == MANIFEST):
        if path.name == MANIFEST:
            sync_folder(folder)  # the shards are there for good before the manifest comes
        os.replace(path, folder / path.name)
    sync_folder(folder)
    source.rmdir()


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _full(root: Path, error: OSError, written: int) -> DataError:
    place = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    return DataError(
        f"{root}: {error.strerror}: more than {written / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free; "
        "make room or name another folder (nothing new was left, what was there before is untouched)"
    )
