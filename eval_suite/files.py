"""Reads data files, plain or gzipped, line by line; a fault names the file, the line and the file's checksum."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from eval_suite.errors import EvalError

_AT_ONCE = 1 << 20


def lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, ended by a line feed only, without it and without a byte-order mark.

    Raises EvalError for a file that is missing, cut short or not UTF-8.
    """
    number = 0
    try:
        with _opened(path) as file:
            for number, raw in enumerate(file, 1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                yield line.removesuffix("\n").removesuffix("\r")
    except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise corrupt(path, f"after line {number}: {error}") from error
    except OSError as error:
        raise EvalError(
            f"data file {path}: cannot be read ({error.strerror}); copy it there again"
        ) from error


def json_lines(path: Path, keys: Iterable[str]) -> Iterator[dict[str, Any]]:
    """One object a line that has all `keys`. Raises EvalError that names the first line that is none."""
    keys = tuple(keys)
    for number, line in enumerate(lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise corrupt(path, f"line {number} is no JSON ({error})") from error
        missing = [key for key in keys if not isinstance(row, dict) or key not in row]
        if missing:
            raise corrupt(path, f"line {number} is no object with {missing[0]!r}: {line[:60]!r}")
        if not is_unicode(line, row):
            raise corrupt(path, f"line {number} holds half of a surrogate pair, which is no character")
        yield row


def is_unicode(line: str, row: Any) -> bool:
    """Whether a row's texts are Unicode: JSON's escapes, and they alone, can smuggle in halves of surrogate pairs."""
    if "\\ud" not in line.lower():
        return True
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def one_of(folder: Path, *names: str) -> Path:
    """The first of the files that is there, itself or with .gz. Raises EvalError, naming the first, where none is."""
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise EvalError(f"data file {folder / names[0]}: is not there (nor as .gz); copy the set there again")


def content_sha256(paths: Iterable[Path]) -> str:
    """One hash over names and contents, the same whether a file is gzipped or not. Raises EvalError as `lines` does."""
    digest = hashlib.sha256()
    for path in paths:
        one = hashlib.sha256()
        try:
            with _opened(path) as file:
                while chunk := file.read(_AT_ONCE):
                    one.update(chunk)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise corrupt(path, str(error)) from error
        except OSError as error:
            raise EvalError(
                f"data file {path}: cannot be read ({error.strerror}); copy it there again"
            ) from error
        digest.update(f"{path.name.removesuffix('.gz')} {one.hexdigest()}\n".encode())
    return digest.hexdigest()


def corrupt(path: Path, reason: str, expected: str | None = None) -> EvalError:
    """The error for a file that is there and not in order, with its checksum, to be held against the source's."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        found = f"unknown ({error.strerror})"
    wanted = f", not {expected}" if expected and expected != found else ""
    return EvalError(
        f"data file {path}: corrupt, {reason}; its sha256 is {found}{wanted}: copy it there again"
    )


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]
