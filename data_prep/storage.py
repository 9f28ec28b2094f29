"""Where a folder lies: on a local disk, or behind any address that fsspec knows; one protocol for both."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

from data_prep.errors import DataError
from data_prep.remote import Check, RemoteStorage, anything


class Storage(Protocol):
    """A folder to read from; can be pickled and used after a fork. ``str()`` names it, without credentials."""

    @property
    def local(self) -> Path | None:
        """The folder on this machine's disk, or None."""

    def below(self, name: str) -> Storage:
        """The folder ``name`` inside."""

    def read(self, name: str, good: Check = anything) -> bytes:
        """A whole file.

        Args:
            name: The file.
            good: Whether the bytes are right; a remote folder is asked again where they are not. After the
                last try they are handed over all the same: the caller knows what to say of them.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: it cannot be read.
        """

    def read_range(self, name: str, offset: int, size: int, good: Check = anything) -> bytes:
        """``size`` bytes from ``offset`` on, fewer where the file ends before; else as :meth:`read`."""

    def open(self, name: str) -> BinaryIO:
        """A file to read from beginning to end."""


class LocalStorage:
    """A folder on this machine's disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    @property
    def local(self) -> Path:
        return self._folder

    def below(self, name: str) -> LocalStorage:
        return LocalStorage(self._folder / name)

    def read(self, name: str, good: Check = anything) -> bytes:
        with self.open(name) as file:
            return file.read()

    def read_range(self, name: str, offset: int, size: int, good: Check = anything) -> bytes:
        with self.open(name) as file:
            try:
                file.seek(offset)
                return file.read(size)
            except OSError as error:
                raise _unreadable(self._folder / name, error) from None

    def open(self, name: str) -> BinaryIO:
        path = self._folder / name
        try:
            if path.exists() and not path.is_file():  # to open a pipe is to wait for its writer
                raise DataError(f"{path}: is no plain file; copy or prepare it again")
            return open(path, "rb")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(self._folder / name, error) from None


Place: TypeAlias = Path | str | Storage


def storage_of(place: Place) -> Storage:
    """The storage of a path, of an address such as ``https://host/data`` or ``s3://bucket/data``, or itself.

    Raises:
        DataError: the address is not one that fsspec knows, or its package is not installed.
    """
    if isinstance(place, Path):
        return LocalStorage(place)
    if not isinstance(place, str):
        return place
    if place.startswith("file://"):
        return LocalStorage(Path(place.removeprefix("file://")))
    if not is_address(place):
        return LocalStorage(Path(place))

    return RemoteStorage(place)


def is_address(text: str) -> bool:
    """Whether ``text`` names a folder elsewhere, not a path of this machine."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*:(//|:)", text) is not None


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be read ({error.strerror})")
