"""Opens plain, .gz and .zst files as one stream of bytes that never ends early without an error."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

COMPRESSIONS = (".gz", ".zst")
# What a damaged file raises while it is unpacked; EOFError means that it was cut.
DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)
# Little at a time: zstandard unpacks all that it is given, a thousandfold where a text repeats itself.
_PACKED_BYTES = 1 << 10


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open ``path`` for reading, unpacked by its suffix; several members or frames are one stream.

    Reading raises one of ``DAMAGE`` where a packed file was cut or its bytes are wrong.
    """
    with open(path, "rb") as file:
        if path.suffix == ".gz":
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast(BinaryIO, unpacked)
        elif path.suffix == ".zst":
            with io.BufferedReader(_ZstdFrames(file), 1 << 17) as unpacked:
                yield unpacked
        else:
            yield file


def damage(error: BaseException) -> str:
    """The reason of the loss, for the report."""
    return "file cut short, its rest" if isinstance(error, EOFError) else "file damaged, its rest"


class _ZstdFrames(io.RawIOBase):
    """The frames of a zstandard file as one stream; the library's own reader ends a cut frame in silence."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._packed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready and self._fill():
            pass
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _fill(self) -> bool:
        """Unpack a little more; False at the file's end."""
        self._packed = self._packed or self._file.read(_PACKED_BYTES)
        if not self._packed:
            if self._frame is not None:
                raise EOFError("the last frame is cut")
            return False
        self._frame = self._frame or zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
        self._ready = memoryview(self._frame.decompress(self._packed))
        self._packed = self._frame.unused_data
        if self._frame.eof:
            self._frame = None
        return True


def lines(file: BinaryIO, limit: int) -> Iterator[bytes | None]:
    """Yield the lines of ``file``; None for one over ``limit`` bytes, which is passed over, not held."""
    while line := file.readline(limit):
        if len(line) < limit or line.endswith(b"\n"):
            yield line
            continue
        while (rest := file.readline(limit)) and not rest.endswith(b"\n"):
            pass
        yield None
