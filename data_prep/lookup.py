"""Texts of a large `id <tab> text` file by their ids: an index of 16 bytes a line in memory, the texts on disk."""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import xxhash

from data_prep.errors import DataError


class Lookup:
    """The texts of one file, such as MS MARCO's collection.tsv; 8.8 million passages take 150 MB of memory.

    Args:
        path: lines of an id, a tab and a text, in UTF-8; the text may hold further tabs.
        on_line: called for each line while the index is made.

    Raises:
        DataError: naming file and row: no tab, an empty id, an id that came before.
    """

    def __init__(self, path: Path, on_line: Callable[[], object] = lambda: None) -> None:
        self.path = path
        keys, starts = array("Q"), array("q")
        for number, start, line in _lines(path):
            key, tab, _ = line.partition(b"\t")
            if not tab or not key:
                raise DataError(f"{path}: row {number}: must be an id, a tab and a text")
            keys.append(xxhash.xxh64_intdigest(key))
            starts.append(start)
            on_line()
        if not keys:
            raise DataError(f"{path}: is empty")
        order = np.argsort(np.frombuffer(keys, np.uint64), kind="stable")
        self._keys = np.frombuffer(keys, np.uint64)[order]
        self._starts = np.frombuffer(starts, np.int64)[order]
        with _open(path) as file:
            self._bytes = mmap.mmap(
                file.fileno(), 0, access=mmap.ACCESS_READ
            )  # the system keeps what is in use
        self._check_distinct()

    def _check_distinct(self) -> None:
        for place in np.flatnonzero(self._keys[1:] == self._keys[:-1]).tolist():
            first, second = (self._line(int(self._starts[at])) for at in (place, place + 1))
            if first[0] == second[0]:
                raise DataError(f"{self.path}: id {first[0]} is there twice; ids must be unique")

    def __contains__(self, key: str) -> bool:
        return self._find(key) is not None

    def __getitem__(self, key: str) -> str:
        """The text of ``key``.

        Raises:
            KeyError: no such id.
            DataError: the line is not UTF-8.
        """
        found = self._find(key)
        if found is None:
            raise KeyError(key)
        return found

    def _find(self, key: str) -> str | None:
        hashed = np.uint64(xxhash.xxh64_intdigest(key.encode("utf-8", "surrogatepass")))
        first, last = (int(np.searchsorted(self._keys, hashed, side)) for side in ("left", "right"))
        for start in self._starts[first:last].tolist():  # more than one only where two ids' hashes are equal
            found, text = self._line(start)
            if found == key:
                return text
        return None

    def _line(self, start: int) -> tuple[str, str]:
        end = self._bytes.find(b"\n", start)
        line = self._bytes[start : end if end >= 0 else None]
        try:
            key, _, text = line.decode().partition("\t")
        except UnicodeDecodeError:
            name = line.partition(b"\t")[0].decode("utf-8", "backslashreplace")
            raise DataError(f"{self.path}: id {name}: not UTF-8 text; convert the file first") from None
        return key, text.strip()


def _open(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Number, place of the first byte, and bytes of each line that is not blank."""
    start = 0
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, start, line
            start += len(line)
