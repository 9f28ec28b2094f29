"""Makes documents of the rows of tables, and says what is wrong with a row that is none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from data_prep.errors import DataError
from data_prep.readers.document import Document, ReadRules, Source
from data_prep.report import Report

# Under which names corpora keep what our ``meta`` has, in a row itself or in its "metadata".
FIELDS = {
    "url": ("url", "uri", "source_url"),
    "title": ("title",),
    "date": ("date", "timestamp", "created"),
    "license": ("license", "licence"),
    "language": ("language", "lang"),
}
NESTED = ("metadata", "meta")


class BadRow(ValueError):
    """A row is no document; ``reason`` is the kind of fault, for the count."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def to_document(row: Any, number: int, source: Source, rules: ReadRules) -> Document:
    """Make a document of a row, named by its ``id``, else its number.

    Raises:
        BadRow: no text under ``rules.text_field``, or one that is no Unicode.
    """
    text = row.get(rules.text_field) if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise BadRow(
            "row without text", f"no text under {rules.text_field!r}; name the field with --text-field"
        )
    identity = row.get("id")
    name = f"{source.name}#{number if identity in (None, '') else identity}"
    document = Document(name, source.kind, text, _meta(row))
    try:
        "\n".join([name, text, *document.meta.values()]).encode()
    except UnicodeEncodeError:
        message = "holds half a surrogate pair, which is no Unicode text"
        raise BadRow("row that is no Unicode text", message) from None
    return document


def refuse(error: BadRow, number: int, source: Source, rules: ReadRules, report: Report) -> None:
    """Stop at a bad row, or count and name it, as ``rules`` say."""
    where = f"{source.name}: row {number}"
    if rules.on_bad_row == "stop":
        raise DataError(f"{where}: {error} (or leave such rows out, counted: --on-bad-row skip)") from None
    report.lose(error.reason, where)


def _meta(row: Mapping[str, Any]) -> dict[str, str]:
    places = [row, *(row[name] for name in NESTED if isinstance(row.get(name), dict))]
    found = {}
    for key, names in FIELDS.items():
        values = [_plain(place.get(name)) for place in places for name in names]
        if value := next(filter(None, values), ""):
            found[key] = value
    return found


def _plain(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
