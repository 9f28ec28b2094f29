"""A bounded folder of what was fetched from elsewhere, shared by all processes of a machine; every entry is checked by hash."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from data_prep.errors import DataError

CACHE = "CPT_CACHE"
CACHE_GIB = "CPT_CACHE_GIB"
DEFAULT_GIB = 50.0
# The folder is counted anew after this share of the limit was written: what others wrote is not known before.
_COUNT_AFTER = 1 / 32
_KEEP = 0.9
_ENDING = ".part"
_OURS = "cpt-cache"


class NodeCache:
    """Keeps files under keys; the least recently used go when there are too many bytes.

    Processes share it without locks: an entry is renamed into place whole, one that vanishes under a reader is
    fetched again, and one whose bytes are not right is thrown away. Several writers may together be over the
    limit by a 32nd of it each, for moments. Where the disk is full or cannot be written, one warning is given
    and nothing more is kept: reading goes on.

    Args:
        folder: Made if needed; on a disk of this machine.
        gib: Most GiB it may hold.

    Raises:
        DataError: the size is not above 0, or the folder is a file.
    """

    def __init__(self, folder: Path | str, gib: float = DEFAULT_GIB) -> None:
        if not gib > 0:
            raise DataError(f"data.cache_gib: {gib} leaves no room; name a size in GiB, or no cache")
        given = Path(folder).expanduser()
        if given.exists() and not given.is_dir():
            raise DataError(f"data.cache: {given} is a file; name a folder")
        self.folder = given / _OURS  # nothing outside is ever deleted
        self.limit = int(gib * 2**30)
        self.disabled = False
        self._known: int | None = None  # bytes in the folder when it was last counted
        self._written = 0  # bytes written since
        self._names = count()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_names": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _names=count())

    def get(self, key: str, good: Callable[[bytes], bool]) -> bytes | None:
        """The entry of ``key``, or None where there is none or its bytes are not good."""
        path = self._path(key)
        try:
            data = path.read_bytes()
            if good(data):
                with suppress(OSError):  # somebody else's entry is as good
                    os.utime(path)  # the time of last use, also where the disk does not keep it itself
                return data
            path.unlink(missing_ok=True)
        except OSError:
            pass
        return None

    def put(self, key: str, data: bytes) -> None:
        """Keep ``data``; a failure is no error of the run."""
        if self.disabled or len(data) > self.limit:
            return
        try:
            self._make_room(len(data))
            self._write(self._path(key), data)
        except FileNotFoundError:
            return  # another process made room, or emptied the cache
        except OSError as error:
            self.disabled = True
            warnings.warn(
                f"{self.folder}: the cache cannot be written ({error.strerror}); going on without keeping anything",
                stacklevel=2,
            )
            return
        self._written += len(data)

    def _path(self, key: str) -> Path:
        return self.folder / key

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}-{next(self._names)}{_ENDING}")
        try:
            part.write_bytes(data)
            os.replace(part, path)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        full = self._known is not None and self._known + self._written + size > self.limit
        if self._known is None or full or self._written > self.limit * _COUNT_AFTER:
            self._known, self._written = self._trim(size), 0

    def _trim(self, size: int) -> int:
        """Delete the least recently used until ``size`` more bytes fit in; returns the bytes that are left."""
        entries = sorted(self._entries())
        total = sum(entry[1] for entry in entries)
        goal = self.limit if total + size <= self.limit else min(int(self.limit * _KEEP), self.limit - size)
        for _, length, path in entries:
            if total <= goal:
                break
            path.unlink(missing_ok=True)
            total -= length
        return total

    def _entries(self) -> list[tuple[float, int, Path]]:
        found = []
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = Path(folder, name)
                with suppress(OSError):  # another process may have removed it
                    state = path.stat()
                    found.append((state.st_mtime, state.st_size, path))
        return found


def cache_from_environment() -> NodeCache | None:
    """The cache that ``CPT_CACHE`` (a folder) and ``CPT_CACHE_GIB`` (its limit) name, or None.

    Raises:
        DataError: the limit is not a number above 0.
    """
    folder = os.environ.get(CACHE)
    if not folder:
        return None
    size = os.environ.get(CACHE_GIB, str(DEFAULT_GIB))
    try:
        return NodeCache(folder, float(size))
    except DataError as error:
        raise DataError(f"{CACHE}, {CACHE_GIB}: {error}") from None
    except (ValueError, OverflowError):
        raise DataError(f"{CACHE_GIB}: {size!r} is not a number of GiB") from None
