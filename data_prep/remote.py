"""Reads files behind an address by ranges through fsspec: time limits, retries on new connections, no credentials shown."""

from __future__ import annotations

import io
import os
import queue
import random
import threading
import time
from collections.abc import Callable
from typing import Any, BinaryIO, TypeAlias, TypeVar
from urllib.parse import urlsplit, urlunsplit

from data_prep.errors import DataError

Check: TypeAlias = Callable[[bytes], bool]
_Answer = TypeVar("_Answer")


def anything(data: bytes) -> bool:
    """A check that every answer passes."""
    return True


# What the schemes of fsspec's own list need beside it; others are named by fsspec's message.
_PACKAGES = {
    "http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs",
    "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs", "hf": "huggingface_hub", "sftp": "paramiko",
    "ssh": "paramiko", "smb": "smbprotocol", "oci": "ocifs", "oss": "ossfs", "webdav": "webdav4",
}  # fmt: skip
# What these call their time limits: a try that was given up must not wait for ever in its thread.
_LIMITS = {"ftp": ("timeout",), "smb": ("timeout",)} | dict.fromkeys(
    ("sftp", "ssh"), ("timeout", "banner_timeout", "auth_timeout")
)
_AGAIN = (408, 425, 429)  # of the answers below 500, those that ask to come back later
_NEVER = (ImportError, NotImplementedError, PermissionError, TypeError, ValueError)
_BLOCK = 8 << 20
# A whole index is tens of MB where a chunk is a fraction of one.
_WHOLE_FILE = 10


class RemoteStorage:
    """A folder behind an address; holds no connection when it is pickled, and makes its own after a fork.

    Args:
        url: Address of the folder, as fsspec takes it. A query (``?...``) goes with every file's address.
        tries: How often a file or a range is asked for before it is given up.
        timeout: Seconds for one try at a range; a whole file has ten times as many.
        wait: Seconds before the second try, doubled before each further one.

    Raises:
        DataError: the scheme is not one that fsspec knows, its package is not installed, or a server that is asked
            at once (ftp, sftp, smb) does not answer.
    """

    def __init__(self, url: str, *, tries: int = 5, timeout: float = 60.0, wait: float = 0.5) -> None:
        self._url = url
        self.tries = tries
        self.timeout = timeout
        self.wait = wait
        self._scheme = url.partition(":")[0].lower()
        self._connected: tuple[int, Any, str] | None = None
        try:
            _within(timeout, self._connect)
        except DataError:
            raise
        except Exception as error:
            raise DataError(
                f"{self}: cannot be reached: {_describe(error, None)}; check the address, the network and the server"
            ) from None

    def __str__(self) -> str:
        return without_credentials(self._url)

    def __repr__(self) -> str:
        return f"RemoteStorage({str(self)!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connected": None}

    @property
    def local(self) -> None:
        return None

    def below(self, name: str) -> RemoteStorage:
        return RemoteStorage(_join(self._url, name), tries=self.tries, timeout=self.timeout, wait=self.wait)

    def read(self, name: str, good: Check = anything) -> bytes:
        return self._ask(name, None, good)

    def read_range(self, name: str, offset: int, size: int, good: Check = anything) -> bytes:
        return self._ask(name, (offset, size), good) if size else b""

    def open(self, name: str) -> BinaryIO:
        return io.BufferedReader(_Ranges(self, name), _BLOCK)

    def _ask(self, name: str, span: tuple[int, int] | None, good: Check) -> bytes:
        where = f"{self}/{name}" + (f" (bytes {span[0]} to {sum(span)})" if span else "")
        for number in range(self.tries):
            if number:
                self._connected = None  # the next try has a new connection
                time.sleep(self.wait * 2 ** (number - 1) * random.SystemRandom().uniform(0.5, 1.0))
            try:
                data, failure = self._try(name, span, where)
            except EOFError:
                return b""
            if data is not None and good(data):
                return data
        if data is not None:
            return data
        raise DataError(
            f"{where}: cannot be read: {self.tries} tries, the last: {failure}; check the network and the server"
        )

    def _try(self, name: str, span: tuple[int, int] | None, where: str) -> tuple[bytes | None, str]:
        """The bytes, or what went wrong where another try may help."""
        try:
            data = _within(self.timeout * (1 if span else _WHOLE_FILE), lambda: self._fetch(name, span))
        except FileNotFoundError:
            raise FileNotFoundError(f"{where}: not found") from None
        except Exception as error:
            status = getattr(error, "status", None)
            if status == 416:  # the range begins behind the end of the file
                raise EOFError from None
            if isinstance(error, _NEVER) or (status and status < 500 and status not in _AGAIN):
                raise _refused(where, error, status) from None
            return None, _describe(error, status)
        if span and len(data) > span[1]:
            raise DataError(
                f"{where}: the server sends whole files where a range is asked for; use one that answers Range requests, or copy the folder"
            )
        return data, ""

    def _fetch(self, name: str, span: tuple[int, int] | None) -> bytes:
        filesystem, root = self._connect()
        start, end = (span[0], sum(span)) if span else (None, None)
        data = filesystem.cat_file(_join(root, name), start=start, end=end)
        return bytes(data)

    def _connect(self) -> tuple[Any, str]:
        """The filesystem and the folder's name in it; another process' connections are never used."""
        if self._connected is None or self._connected[0] != os.getpid():
            self._connected = (os.getpid(), *self._new_filesystem())
        return self._connected[1:]

    def _new_filesystem(self) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise DataError(f"{self}: needs fsspec; pip install fsspec") from None
        try:
            filesystem, root = url_to_fs(self._url, skip_instance_cache=True, **self._options())
        except ImportError as error:
            package = _PACKAGES.get(self._scheme)
            cure = f"pip install {package}" if package else str(error)
            raise DataError(f"{self}: the package for {self._scheme}:// is not installed; {cure}") from None
        except ValueError as error:
            if "rotocol" not in str(error):
                raise DataError(
                    f"{self}: not an address that fsspec can open ({type(error).__name__})"
                ) from None
            raise DataError(
                f"{self}: fsspec knows no scheme {self._scheme}://; look at the address"
            ) from None
        return filesystem, root

    def _options(self) -> dict[str, Any]:
        if self._scheme not in ("http", "https"):
            return dict.fromkeys(_LIMITS.get(self._scheme, ()), self.timeout)
        import aiohttp

        # A request that was given up must not live on in fsspec's thread; compressed ranges would have other sizes.
        limit = aiohttp.ClientTimeout(total=self.timeout * _WHOLE_FILE, sock_read=self.timeout)
        return {"client_kwargs": {"timeout": limit}, "headers": {"Accept-Encoding": "identity"}}


class _Ranges(io.RawIOBase):
    """A remote file as a stream that is fetched block by block."""

    def __init__(self, storage: RemoteStorage, name: str) -> None:
        self._storage, self._name, self._place = storage, name, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only from the beginning")
        self._place = offset
        return offset

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        data = self._storage.read_range(self._name, self._place, len(buffer))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def without_credentials(url: str) -> str:
    """The address without user, password, query and fragment: fit to be printed."""
    return "::".join(_plain(part) for part in url.split("::"))


def _plain(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", "")) if "://" in url else url.partition("?")[0]


def _join(root: str, name: str) -> str:
    folder, mark, query = root.partition("?")
    return f"{folder.rstrip('/')}/{name}{mark}{query}"


def _within(seconds: float, act: Callable[[], _Answer]) -> _Answer:
    """Give up waiting for ``act`` after so many seconds, whatever library hangs in it."""
    outcome: queue.SimpleQueue[_Answer | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put(act())
        except BaseException as error:
            outcome.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        found = outcome.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, BaseException):
        raise found
    return found


def _refused(where: str, error: Exception, status: int | None) -> DataError:
    if isinstance(error, DataError):
        return error
    if status in (401, 403) or isinstance(error, PermissionError):
        return DataError(
            f"{where}: no permission ({_describe(error, status)}); check the credentials and the address"
        )
    return DataError(f"{where}: refused ({_describe(error, status)}); check the address")


def _describe(error: Exception, status: int | None) -> str:
    """What happened, without the library's own text: it may hold the whole address."""
    if status:
        return f"HTTP {status}"
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
