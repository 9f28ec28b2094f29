"""Reads anybody's pairs out of .jsonl, .csv and .parquet files with a column for x and one for y."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.readers.streams import COMPRESSIONS, DAMAGE, opened
from data_prep.report import Report

Row = dict[str, Any]
# What a row may say beside its two texts; "document" keeps rows of one origin in one split.
OPTIONAL = ("id", "negatives", "source", "document")
PROVENANCE = ("license", "licence", "url", "path")  # kept in meta, for the data card and for whoever asks


def read_pairs(
    files: list[Path],
    report: Report,
    *,
    x_column: str = "x",
    y_column: str = "y",
    on_row: Callable[[], object] = lambda: None,
) -> Iterator[Pair]:
    """Yield the pairs of ``files``, row by row, in order.

    The columns ``id``, ``negatives`` (a list; in .csv a JSON list), ``source`` and ``document`` are used where
    they are there, those of PROVENANCE are kept in ``meta``; all others are named in ``report`` as not used. A row without an id is named by file and row.

    Raises:
        DataError: naming file and row, for the first row that is no pair; an unknown suffix, a missing file.
    """
    for path in files:
        used, unused = {x_column, y_column, *OPTIONAL, *PROVENANCE}, set[str]()
        for number, row in rows(path):
            where = f"{path}: row {number}"
            for side, column in (("x", x_column), ("y", y_column)):
                if column not in row:
                    there = ", ".join(map(str, row)) or "none"
                    raise DataError(
                        f"{where}: no column {column!r} (there: {there}); name it with --{side}-column"
                    )
            unused |= {str(column) for column in row if column not in used}
            yield _pair(row, x_column, y_column, where, f"{path.name}:{number}")
            on_row()
        report.kept["files read"] += 1
        report.named += [(f"column of {path.name} not used", column) for column in sorted(unused)]


def _pair(row: Row, x_column: str, y_column: str, where: str, default_id: str) -> Pair:
    fields = {name: row[name] for name in ("id", "negatives", "source") if row.get(name) not in (None, "")}
    if isinstance(fields.get("negatives"), str):
        fields["negatives"] = _json(fields["negatives"], f"{where}: negatives")
    meta = {"document": str(row["document"])} if row.get("document") not in (None, "") else {}
    meta |= {name: _plain(row[name]) for name in PROVENANCE if row.get(name) not in (None, "")}
    record = {**fields, "x": row[x_column], "y": row[y_column], "meta": meta}
    return Pair.from_dict(record, where, default_id=default_id)


def _plain(value: Any) -> Any:
    """What a record's meta can hold: a date or the like becomes its text."""
    plain = isinstance(value, str | int | float | list | dict)
    return value if plain else str(value)


def find_id(files: list[Path], identity: str) -> list[str]:
    """Where an id stands, ``FILE: row N``, for the message that names both places."""
    return [
        f"{path}: row {number}"
        for path in files
        for number, row in rows(path)
        if str(f"{path.name}:{number}" if row.get("id") in (None, "") else row["id"]) == identity
    ]


def table_kind(path: Path) -> str | None:
    """The suffix that names the table's kind, without ``.gz`` or ``.zst``; None where it is no table."""
    packed = path.suffix in COMPRESSIONS
    kind = Path(path.stem).suffix if packed else path.suffix
    return kind if kind in _STREAMS or (kind == ".parquet" and not packed) else None


def rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Number, from 1, and cells of each row of a .jsonl, .csv (also .gz or .zst) or .parquet file.

    Raises:
        DataError: naming file and row: an unknown suffix, no such file, damage, a row that is none.
    """
    kind = table_kind(path)
    if kind is None:
        raise DataError(f"{path}: unknown kind; give {', '.join([*_STREAMS, '.parquet'])} files")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        if kind == ".parquet":
            yield from _parquet(path)
            return
        with opened(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline=NEWLINES[kind]) as text:
            yield from stream_rows(text, kind, str(path))
    except DAMAGE as error:
        raise DataError(f"{path}: cut short or damaged ({error}); copy it again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def stream_rows(text: TextIO, kind: str, where: str) -> Iterator[tuple[int, Row]]:
    """The rows of an open ``.jsonl`` or ``.csv``, opened with NEWLINES of its kind.

    Raises:
        DataError: naming ``where`` and the row that is none.
    """
    try:
        yield from _STREAMS[kind](text, where)
    except UnicodeDecodeError:
        raise DataError(f"{where}: not UTF-8 text; convert it first") from None


def _jsonl(file: TextIO, path: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        row = _json(line, f"{path}: row {number}")
        if not isinstance(row, dict):
            raise DataError(f"{path}: row {number}: must be an object, not {type(row).__name__}")
        yield number, row


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})") from None


def _csv(file: TextIO, path: str) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(1 << 30)  # the default refuses texts over 128 KB
    reader = csv.DictReader(file, strict=True)
    try:
        names = list(reader.fieldnames or ())
        if twice := [name for name in names if name and names.count(name) > 1]:
            raise DataError(f"{path}: column {twice[0]!r} is there twice; rename one of them")
        for number, row in enumerate(reader, 1):
            if None in row or None in row.values():
                raise DataError(f"{path}: row {number}: has more or fewer cells than the header")
            yield number, row
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.reader.line_num}: not CSV ({error})") from None


_STREAMS: dict[str, Callable[[TextIO, str], Iterator[tuple[int, Row]]]] = {".jsonl": _jsonl, ".csv": _csv}
NEWLINES = {".jsonl": "\n", ".csv": ""}  # csv looks for the ends of lines itself


def _parquet(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError("reading .parquet needs pyarrow: pip install 'lightning-cpt[prep]'") from None
    try:
        # A buffer makes the reader fetch page by page; without one it holds whole row groups.
        with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as table:
            batches = table.iter_batches(batch_size=64, use_threads=False)
            yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
    except OverflowError as error:
        raise DataError(
            f"{path}: holds a value that Python cannot ({error}); drop that column or its odd rows first"
        ) from None
    except UnicodeDecodeError:
        raise DataError(
            f"{path}: holds text that is not UTF-8; convert it first, or drop that column"
        ) from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a sound parquet file ({str(error).splitlines()[0]})") from None
