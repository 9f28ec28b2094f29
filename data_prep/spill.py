"""Files for what does not fit into memory: written once in order, read by place, gone at the end of the block."""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from data_prep.errors import DataError

SPILL = ".spill"
WORK = ".pipeline"  # where the results of a pipeline's tasks wait
PARTITION_ROWS = 1 << 22  # rows that are sorted in memory at once
_BLOCK_ROWS = 1 << 20
_OPEN_FILES = 64
_ROW = np.dtype([("key", "<u8"), ("record", "<u4")])


@contextmanager
def spill_folder(out: Path) -> Iterator[Path]:
    """A folder inside ``out`` that is removed when the block ends, and whose leftovers of a killed run are removed first."""
    folder = out / SPILL
    made = not out.exists()
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror}); name another folder") from None
    try:
        yield folder
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; free some space, or name another --out") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if made and out.exists() and not any(out.iterdir()):
            out.rmdir()


class RaggedFile:
    """Rows of numbers of different lengths, appended in order; :class:`Ragged` reads them by the row's number.

    Args:
        path: Without suffix; two files are made.
        dtype: Of the numbers.
    """

    def __init__(self, path: Path, dtype: str) -> None:
        self._values, self._ends = path.with_suffix(".values"), path.with_suffix(".ends")
        self._dtype = np.dtype(dtype)
        self._count = 0
        self._values.write_bytes(b"")
        self._ends.write_bytes(np.int64(0).tobytes())

    def append(self, values: np.ndarray, sizes: np.ndarray) -> None:
        """Add rows: their numbers one after another, and how many each has."""
        with open(self._values, "ab") as file:
            file.write(values.astype(self._dtype).tobytes())
        with open(self._ends, "ab") as file:
            file.write((self._count + np.cumsum(sizes)).astype(np.int64).tobytes())
        self._count += len(values)


class Ragged:
    """Rows that several :class:`RaggedFile` hold one after another; few of the files are open at a time.

    Read by calls, not by memory maps: what was once looked at does not stay in this process's memory.

    Args:
        paths: Of the files, without suffix.
        begins: The number of each file's first row, ascending.
        dtype: Of the numbers.
    """

    def __init__(self, paths: Sequence[Path], begins: Sequence[int], dtype: str) -> None:
        self._paths, self._begins = list(paths), np.asarray(begins, np.int64)
        self._dtype = np.dtype(dtype)
        self._open: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def __getitem__(self, row: int) -> np.ndarray:
        part = 0
        if len(self._paths) > 1:
            part = int(np.searchsorted(self._begins, row, side="right")) - 1
        values, ends = self._open.get(part) or self._opened(part)
        begin, end = np.frombuffer(os.pread(ends, 16, 8 * (row - int(self._begins[part]))), np.int64).tolist()
        size = self._dtype.itemsize
        return np.frombuffer(os.pread(values, size * (end - begin), size * begin), self._dtype)

    def _opened(self, part: int) -> tuple[int, int]:
        if len(self._open) >= _OPEN_FILES:
            self._close(self._open.popitem(last=False)[1])
        path = self._paths[part]
        found = tuple(os.open(path.with_suffix(suffix), os.O_RDONLY) for suffix in (".values", ".ends"))
        self._open[part] = (found[0], found[1])
        return self._open[part]

    def close(self) -> None:
        """Close the files; they are opened again where a row is asked for."""
        while self._open:
            self._close(self._open.popitem()[1])

    @staticmethod
    def _close(descriptors: tuple[int, int]) -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


class Buckets:
    """Records by key, for several bands: a file of (key, record) for each band; :func:`shared_keys` reads it.

    Args:
        folder: Gets the files.
        bands: How many.
    """

    def __init__(self, folder: Path, bands: int) -> None:
        folder.mkdir()
        self._paths = [folder / str(band) for band in range(bands)]
        for path in self._paths:
            path.write_bytes(b"")

    def append(self, keys: np.ndarray, records: np.ndarray) -> None:
        """Add records with a key in each band: uint64 (n, bands) and (n,)."""
        for band, path in enumerate(self._paths):
            rows = np.empty(len(records), _ROW)
            rows["key"], rows["record"] = keys[:, band], records
            with open(path, "ab") as file:
                file.write(rows.tobytes())


def shared_keys(
    folders: Sequence[Path], begins: Sequence[int], band: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Records of one band that share a key (uint32), bucket after bucket, and where each bucket begins.

    Args:
        folders: As made by :class:`Buckets`.
        begins: What is added to the record numbers of each folder.
        band: Which.
    """
    for rows in partitions(folders, begins, band):
        if len(rows):
            yield _shared(rows)


def partitions(folders: Sequence[Path], begins: Sequence[int], band: int) -> Iterator[np.ndarray]:
    """All rows of one band, ``key`` (uint64) and ``record`` (uint32), in parts by the keys' leading bits.

    Each part fits into memory; the files are read once for each. Bands of as many rows have the same parts.

    Args:
        folders, begins, band: As of :func:`shared_keys`.
    """
    paths = [folder / str(band) for folder in folders]
    rows = sum(path.stat().st_size for path in paths) // _ROW.itemsize
    bits = max(0, (max(1, rows) - 1).bit_length() - PARTITION_ROWS.bit_length() + 1)
    for part in range(1 << bits):
        blocks = (
            block
            for path, begin in zip(paths, begins, strict=True)
            for block in _blocks(path, begin, bits, part)
        )
        yield np.concatenate([np.empty(0, _ROW), *blocks])


def _blocks(path: Path, begin: int, bits: int, part: int) -> Iterator[np.ndarray]:
    with open(path, "rb") as file:
        while len(rows := np.fromfile(file, _ROW, _BLOCK_ROWS)):
            if bits:
                rows = rows[rows["key"] >> np.uint64(64 - bits) == part]
            rows["record"] += np.uint32(begin)
            yield rows


def _shared(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(rows["key"], kind="stable")
    keys, records = rows["key"][order], rows["record"][order]
    same = keys[1:] == keys[:-1]
    member = np.concatenate([same, [False]]) | np.concatenate([[False], same])
    keys, records = keys[member], records[member]
    begins = (
        np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.empty(0, int)
    )
    return records, begins
