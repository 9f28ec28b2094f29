"""Reads the texts to search: lines of .txt, rows of .jsonl, .csv and .parquet, one side of a folder of shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.errors import DataError
from data_prep.shards import SPLITS, PairShards
from data_prep.tables import rows

_TABLES = (".jsonl", ".csv", ".parquet")
SUFFIXES = (".txt", *_TABLES)
_USUAL = ("text", "y", "x")  # where a row has its text, unless somebody says it


@dataclass(frozen=True, slots=True)
class Item:
    """Something to find.

    Args:
        id: The row's own, else the file's name and the line or row.
        text: What is encoded.
        meta: What is shown beside it.
    """

    id: str
    text: str
    meta: dict[str, Any]


def read_items(paths: Sequence[Path], field: str | None = None) -> Iterator[Item]:
    """Yield the texts of files, and of folders of such files or of shards, in order.

    Args:
        paths: .txt (each line that is not blank), .jsonl, .csv, .parquet, folders of these, folders of shards.
        field: The column of a table; ``x`` or ``y`` of shards. By default ``text``, else ``y``, else ``x``.

    Raises:
        DataError: naming the file and row: nothing to read, no such column, a text that is none.
    """
    for path in paths:
        if path.is_dir():
            yield from _folder(path, field)
        else:
            yield from _file(path, field)


def _folder(folder: Path, field: str | None) -> Iterator[Item]:
    splits = [folder / split for split in SPLITS if (folder / split / "manifest.json").is_file()]
    shards = splits or ([folder] if (folder / "manifest.json").is_file() else [])
    if shards:
        for place in shards:
            yield from _shards(place, field)
        return
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    if not files:
        raise DataError(f"{folder}: holds neither shards nor {', '.join(SUFFIXES)} files")
    for file in files:
        yield from _file(file, field)


def _shards(folder: Path, field: str | None) -> Iterator[Item]:
    if field not in (None, "x", "y"):
        raise DataError(f"--field {field}: a folder of shards has x and y")
    shards = PairShards.open(folder)
    if shards.tokens is not None:
        raise DataError(f"{folder}: holds token ids, not texts; give the shards that they were made from")
    for record in shards:
        yield Item(record["id"], record[field or "y"], {"source": record["source"]})


def _file(path: Path, field: str | None) -> Iterator[Item]:
    if path.suffix in _TABLES:
        yield from _table(path, field)
    elif path.suffix == ".txt":
        yield from _lines(path)
    else:
        there = "unknown kind" if path.exists() else "no such file or folder"
        raise DataError(
            f"{path}: {there}; give {', '.join(SUFFIXES)} files, or folders of these or of shards"
        )


def _lines(path: Path) -> Iterator[Item]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if text := line.strip():
                    yield Item(f"{path.name}:{number}", text, {})
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; convert it first") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def _table(path: Path, field: str | None) -> Iterator[Item]:
    for number, row in rows(path):
        where = f"{path}: row {number}"
        column = field or next((name for name in _USUAL if name in row), None)
        if column is None or column not in row:
            there = ", ".join(map(str, row)) or "none"
            raise DataError(f"{where}: no column {column or 'text'!r} (there: {there}); name it with --field")
        text = row[column]
        if not isinstance(text, str):
            raise DataError(f"{where}: {column} must be text, not {type(text).__name__}")
        _check_unicode(text, f"{where}: {column}")
        identity = row.get("id")
        name = f"{path.name}:{number}" if identity in (None, "") else str(identity)
        yield Item(name, text, {})


def _check_unicode(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where} holds half a surrogate pair, which is no Unicode text") from None
