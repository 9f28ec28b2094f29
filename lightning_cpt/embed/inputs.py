"""Reads ids and texts out of files, folders, shards and standard input, as one stream in a fixed order."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from data_prep.errors import DataError
from data_prep.readers.streams import COMPRESSIONS, DAMAGE, opened
from data_prep.shards import SPLITS, PairShards
from data_prep.storage import is_address
from data_prep.tables import NEWLINES, rows, stream_rows, table_kind
from lightning_cpt.errors import ConfigError
from lightning_cpt.tokenization import Side, is_unicode

STDIN = "-"
Row = tuple[str, str]  # id, text


@dataclass(frozen=True)
class Fields:
    """Where a row has what.

    Args:
        side: of the pairs, where rows have no text of their own.
        text: the text's field; None takes ``text``, else the side's, else the first of ``others`` that is there.
        identity: the id's field; None takes ``id``, else ``_id``, else the row's place.
        others: see ``text``.
        flag: the argument that gives ``text``, for messages.
    """

    side: Side
    text: str | None = None
    identity: str | None = None
    others: tuple[str, ...] = ()
    flag: str = "--text-field"


def read_rows(inputs: Sequence[str], kind: str | None, fields: Fields) -> Iterator[Row]:
    """Id and text of every row of all inputs, in order.

    Raises:
        ConfigError, DataError: naming input and row: not there, of no known kind, without text, or not Unicode.
    """
    if inputs.count(STDIN) > 1:
        raise ConfigError(f"INPUT {STDIN}: standard input can be read once only")
    for name in inputs:
        for identity, text in _read(name, kind, fields):
            if not is_unicode(text) or not is_unicode(identity):
                raise ConfigError(f"{identity!r}: holds half of a surrogate pair, which is no character")
            yield identity, text


def _read(name: str, kind: str | None, fields: Fields) -> Iterator[Row]:
    if name == STDIN:
        yield from _stdin(kind or "txt", fields)
    elif is_address(name):
        yield from _shards(name, fields)
    else:
        path = Path(name).expanduser()
        if not path.exists():
            raise ConfigError(f"INPUT {name}: there is no such file or folder")
        yield from _folder(path, kind, fields) if path.is_dir() else _file(path, kind, fields)


def _stdin(kind: str, fields: Fields) -> Iterator[Row]:
    if kind not in ("txt", "jsonl", "csv"):
        raise ConfigError(f"--kind {kind}: standard input can be txt, jsonl or csv")
    yield from _stream(sys.stdin.buffer, f".{kind}", "stdin", "stdin", fields)


def _folder(path: Path, kind: str | None, fields: Fields) -> Iterator[Row]:
    """Shards where there are some, else the files below that can be read, by name."""
    if kind == "shards" or (kind is None and _has_shards(path)):
        yield from _shards(path, fields)
        return
    if splits := [split for split in SPLITS if _has_shards(path / split)]:
        raise ConfigError(f"INPUT {path}: holds several splits; name one, such as {path / splits[0]}")
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and _kind_of(file, kind)]
    files = [file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    if not files:
        raise ConfigError(f"INPUT {path}: holds neither shards nor txt, jsonl, csv or parquet files")
    for file in files:
        yield from _file(file, kind, fields, file.relative_to(path).as_posix())


def _has_shards(path: Path) -> bool:
    return path.is_dir() and any(path.glob("*.tar"))


def _kind_of(path: Path, kind: str | None) -> str | None:
    """The suffix that says how to read a file; with ``kind`` given, None for files of another."""
    packed = path.suffix in COMPRESSIONS
    text = (Path(path.stem).suffix if packed else path.suffix) == ".txt"
    found = ".txt" if text else table_kind(path)
    return found if kind is None or found == f".{kind}" else None


def _file(path: Path, kind: str | None, fields: Fields, name: str | None = None) -> Iterator[Row]:
    found = f".{kind}" if kind in ("txt", "jsonl", "csv") else _kind_of(path, kind)
    name = name or path.name
    if found == ".parquet":
        for number, row in rows(path):
            yield _row(row, number, str(path), name, fields)
    elif found is None:
        raise ConfigError(f"INPUT {path}: of no known kind (txt, jsonl, csv, parquet); name it with --kind")
    else:
        try:
            with opened(path) as file:
                yield from _stream(file, found, str(path), name, fields)
        except DAMAGE as error:
            raise DataError(f"{path}: cut short or damaged ({error}); copy it again") from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def _stream(file: BinaryIO, kind: str, where: str, name: str, fields: Fields) -> Iterator[Row]:
    text = io.TextIOWrapper(file, "utf-8-sig", newline=NEWLINES.get(kind, "\n"))
    try:
        if kind == ".txt":
            yield from _lines(text, where, name)
            return
        for number, row in stream_rows(text, kind, where):
            yield _row(row, number, where, name, fields)
    finally:
        text.detach()


def _lines(text: TextIO, where: str, name: str) -> Iterator[Row]:
    """Every line is a text, an empty one too: the rows are the file's."""
    try:
        for number, line in enumerate(text, 1):
            yield f"{name}:{number}", line.removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise DataError(f"{where}: not UTF-8 text; convert it first") from None


def _shards(place: Path | str, fields: Fields) -> Iterator[Row]:
    if fields.text not in (None, "x", "y"):
        raise ConfigError(f"{fields.flag} {fields.text}: shards have x and y; leave it out")
    shards = PairShards.open(place)
    if shards.tokens is not None:
        raise ConfigError(
            f"INPUT {place}: holds token ids, not texts; give the shards that they were made from"
        )
    for record in shards:
        yield str(record["id"]), record[fields.text or fields.side]


def _row(row: dict[str, Any], number: int, where: str, name: str, fields: Fields) -> Row:
    names = [fields.text] if fields.text else ["text", fields.side, *fields.others]
    name_of_text = next((one for one in names if row.get(one) is not None), None)
    if name_of_text is None:
        there = ", ".join(map(str, row)) or "nothing"
        raise ConfigError(
            f"{where}: row {number}: no text (there: {there}); name its field with {fields.flag}"
        )
    text = row[name_of_text]
    if not isinstance(text, str):
        raise ConfigError(f"{where}: row {number}: {name_of_text} must be text, not {type(text).__name__}")
    identity = _first(row, [fields.identity] if fields.identity else ["id", "_id"])
    if fields.identity and identity in (None, ""):
        raise ConfigError(f"{where}: row {number}: no {fields.identity!r}, which --id-field names")
    return f"{name}:{number}" if identity in (None, "") else str(identity), text


def _first(row: dict[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)
