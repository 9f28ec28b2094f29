"""Reads .parquet: each row is a document; row groups are streamed, only the columns that are used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from data_prep.errors import DataError
from data_prep.readers.document import Document, ReadRules, Source
from data_prep.readers.rows import FIELDS, NESTED, BadRow, refuse, to_document
from data_prep.report import Report

_ROWS = 64
_BUFFER_BYTES = 1 << 20


def read(source: Source, rules: ReadRules, report: Report) -> Iterator[Document]:
    """Yield the rows as documents.

    Raises:
        DataError: there is no text column; pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError("reading .parquet needs pyarrow: pip install 'lightning-cpt[prep]'") from None
    try:
        # A buffer makes the reader fetch page by page; without one it holds a row group's whole column.
        with pq.ParquetFile(source.path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as table:
            columns = _columns(table.schema_arrow, source, rules)
            batches = table.iter_batches(batch_size=_ROWS, columns=columns, use_threads=False)
            for number, row in enumerate((row for batch in batches for row in _rows(batch)), 1):
                try:
                    yield to_document(row, number, source, rules)
                except BadRow as error:
                    refuse(error, number, source, rules, report)
    except pa.ArrowException as error:
        raise OSError(str(error).splitlines()[0]) from None
    report.kept["files read"] += 1


def _columns(schema: Any, source: Source, rules: ReadRules) -> list[str]:
    import pyarrow.types as types

    if rules.text_field not in schema.names:
        there = ", ".join(schema.names)
        raise DataError(
            f"{source.name}: no column {rules.text_field!r} (there: {there}); name it with --text-field"
        )
    kind = schema.field(rules.text_field).type
    if not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
        raise DataError(
            f"{source.name}: column {rules.text_field!r} holds {kind}, no text; name another with --text-field"
        )
    used = {rules.text_field, "id", *NESTED, *(name for names in FIELDS.values() for name in names)}
    return [name for name in schema.names if name in used]


def _rows(batch: Any) -> Iterator[Any]:
    """The batch's rows; None for one whose text is no UTF-8, which parquet files do not promise.

    A value that Python cannot hold, such as a date of the year 12000, is left out.
    """
    for index in range(batch.num_rows):
        try:
            yield dict(_values(batch, index))
        except UnicodeDecodeError:
            yield None


def _values(batch: Any, index: int) -> Iterator[tuple[str, Any]]:
    for name in batch.schema.names:
        try:
            value = batch.column(name)[index].as_py()
        except UnicodeDecodeError:
            raise
        except (OverflowError, ValueError):
            continue
        yield name, value
