"""USTAR headers, written and scanned strictly: where tarfile stops in silence, this raises."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from data_prep.errors import DataError

BLOCK = 512
END = bytes(2 * BLOCK)


class Member(NamedTuple):
    """A regular file inside a tar; positions are bytes from the tar's start."""

    name: str
    start: int  # of its first header block (a long name has more than one)
    offset: int  # of its data
    size: int

    @property
    def stop(self) -> int:
        """First byte after the member's padding."""
        return self.offset + padded(self.size)


def padded(size: int) -> int:
    """``size`` rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def make_header(name: str, size: int) -> bytes:
    """One USTAR header without time or owner, so that equal data gives equal bytes."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(format=tarfile.USTAR_FORMAT)


def scan(file: BinaryIO, where: str, *, start: int = 0, stop: int | None = None) -> Iterator[Member]:
    """Yield the regular files between the bytes ``start`` and ``stop`` (None: to the end marker).

    Raises:
        DataError: a damaged header, a cut file, a missing end marker, bytes after the end marker.
    """
    position, begun = start, start
    overrides: dict[str, str] = {}
    while stop is None or position < stop:
        block = _read(file, position, BLOCK, where)
        if stop is None and not any(block):
            return _check_end(file, position, where)
        kind, name, size = _parse(block, position, where)
        size = int(overrides.get("size", size))
        data, position = position + BLOCK, position + BLOCK + padded(size)
        if kind in b"xL":
            try:
                overrides |= _long_name(kind, _read(file, data, size, where))
            except (ValueError, IndexError) as error:
                raise error if isinstance(error, DataError) else _damaged(begun, where) from None
            continue
        if kind in b"0\0":
            if size:
                _read(file, position - 1, 1, where)  # a cut file must not end inside the data
            yield Member(overrides.get("path", name), begun, data, size)
        elif kind not in b"5g":
            raise DataError(f"{where}: {name} is a link or device; only plain files can be read")
        overrides, begun = {}, position


def _parse(block: bytes, position: int, where: str) -> tuple[bytes, str, int]:
    try:
        # The checksum is taken with its own field read as eight spaces.
        good = int(block[148:156].strip(b"\0 "), 8) == sum(block[:148]) + 8 * 32 + sum(block[156:])
        if not good:
            raise ValueError
        large = block[124] & 0x80
        size = int.from_bytes(block[125:136]) if large else int(block[124:136].strip(b"\0 ") or b"0", 8)
        name = block[:100].rstrip(b"\0").decode()
        prefix = block[345:500].rstrip(b"\0").decode() if block[257:263] == b"ustar\0" else ""
    except ValueError:
        raise _damaged(position, where) from None
    return block[156:157], f"{prefix}/{name}" if prefix else name, size


def _damaged(position: int, where: str) -> DataError:
    return DataError(f"{where}: damaged tar header at byte {position}")


def _long_name(kind: bytes, data: bytes) -> dict[str, str]:
    """What an extended header says of the member after it: POSIX (x) or GNU (L)."""
    if kind == b"L":
        return {"path": data.rstrip(b"\0").decode()}
    found = {}
    while data:
        length = int(data.split(b" ", 1)[0])
        key, _, value = data[:length].split(b" ", 1)[1].decode().rstrip("\n").partition("=")
        found[key], data = value, data[length:]
    return {key: value for key, value in found.items() if key in ("path", "size")}


def _check_end(file: BinaryIO, position: int, where: str) -> None:
    file.seek(position)
    size = 0
    while rest := file.read(1 << 20):
        if any(rest):
            raise DataError(f"{where}: bytes after the end marker at byte {position}: two tars in one?")
        size += len(rest)
    if size < len(END):
        raise DataError(f"{where}: the file ends early, at byte {position + size}; it was cut")


def _read(file: BinaryIO, position: int, size: int, where: str) -> bytes:
    file.seek(position)
    data = file.read(size)
    if len(data) < size:
        raise DataError(f"{where}: the file ends early, at byte {position + len(data)}; it was cut")
    return data
