"""Files for what does not fit into memory: written once in order, read by place, gone at the end of the block."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from data_prep.errors import DataError

SPILL = ".spill"
PARTITION_ROWS = 1 << 22  # rows that are sorted in memory at once
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
    """Rows of numbers of different lengths, appended in order and then read by the row's number.

    Args:
        path: Without suffix; two files are made.
        dtype: Of the numbers.
    """

    def __init__(self, path: Path, dtype: str) -> None:
        self._values, self._ends = path.with_suffix(".values"), path.with_suffix(".ends")
        self._dtype = np.dtype(dtype)
        self._count = 0
        self._open: tuple[np.ndarray, np.ndarray] | None = None
        self._values.write_bytes(b"")
        self._ends.write_bytes(np.int64(0).tobytes())

    def append(self, values: np.ndarray, sizes: np.ndarray) -> None:
        """Add rows: their numbers one after another, and how many each has."""
        with open(self._values, "ab") as file:
            file.write(values.astype(self._dtype).tobytes())
        with open(self._ends, "ab") as file:
            file.write((self._count + np.cumsum(sizes)).astype(np.int64).tobytes())
        self._count += len(values)
        self._open = None

    def __getitem__(self, row: int) -> np.ndarray:
        values, ends = self._open or self._map()
        return values[ends[row] : ends[row + 1]]

    def _map(self) -> tuple[np.ndarray, np.ndarray]:
        # np.asarray: plain arrays over the maps, whose slices cost a tenth of a memmap's.
        values = np.memmap(self._values, self._dtype, "r") if self._count else np.empty(0, self._dtype)
        self._open = np.asarray(values), np.asarray(np.memmap(self._ends, np.int64, "r"))
        return self._open


class Buckets:
    """Records by key, for several bands: partitioned by the key's leading bits, so that each part fits into memory.

    Args:
        folder: Gets a file per band and part.
        bands: How many.
        rows: Records that are expected in each band.
    """

    def __init__(self, folder: Path, bands: int, rows: int) -> None:
        folder.mkdir()
        self._folder, self._bands = folder, bands
        self._bits = max(0, (max(1, rows) - 1).bit_length() - PARTITION_ROWS.bit_length() + 1)

    def append(self, keys: np.ndarray, records: np.ndarray) -> None:
        """Add records with a key in each band: uint64 (n, bands) and (n,)."""
        for band in range(self._bands):
            rows = np.empty(len(records), _ROW)
            rows["key"], rows["record"] = keys[:, band], records
            parts = (
                keys[:, band] >> np.uint64(64 - self._bits) if self._bits else np.zeros(len(rows), np.uint64)
            )
            for part in np.unique(parts).tolist() if self._bits else [0]:
                with open(self._folder / f"{band}-{part}", "ab") as file:
                    file.write(rows[parts == part].tobytes())

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each band and part that has records: those that share a key (uint32), bucket after bucket, and where each bucket begins."""
        for band in range(self._bands):
            for part in range(1 << self._bits):
                path = self._folder / f"{band}-{part}"
                if path.exists() and path.stat().st_size:
                    yield _shared(np.fromfile(path, _ROW))


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
