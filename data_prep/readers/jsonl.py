"""Reads .jsonl: each row is a document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from data_prep.readers.document import Document, ReadRules, Source
from data_prep.readers.rows import BadRow, refuse, to_document
from data_prep.readers.streams import lines, opened
from data_prep.report import Report

MAX_ROW_BYTES = 64_000_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read(source: Source, rules: ReadRules, report: Report) -> Iterator[Document]:
    """Yield the rows as documents; a row that is none is handled as ``rules.on_bad_row`` says."""
    with opened(source.path) as file:
        for number, line in enumerate(lines(file, MAX_ROW_BYTES), 1):
            if line is not None and not line.strip():
                continue
            try:
                yield to_document(_row(line, report), number, source, rules)
            except BadRow as error:
                refuse(error, number, source, rules, report)
    report.kept["files read"] += 1


def _row(line: bytes | None, report: Report) -> Any:
    if line is None:
        raise BadRow("row too long", f"over {MAX_ROW_BYTES:,} bytes")
    try:
        return json.loads(_decode(line.removeprefix(_BYTE_ORDER_MARK), report))
    except (ValueError, RecursionError) as error:
        raise BadRow("row not JSON", f"not JSON ({error})") from None


def _decode(line: bytes, report: Report) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        text = line.decode("cp1252")
        report.kept["rows read as cp1252, not being UTF-8"] += 1
        return text
