"""The record: a pair of texts (x, y), where it comes from, and the checks every record passes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgpack

from data_prep.errors import DataError

FIELDS = ("id", "x", "y", "negatives", "source", "meta")


@dataclass(slots=True)
class Pair:
    """One training example.

    Args:
        id: Stable name of the pair, unique in its corpus.
        x: The query side: a piece of text, a docstring.
        y: The document side: the next piece of text, the function.
        negatives: Texts of the y side that are known to be wrong answers to x.
        source: Name of the corpus.
        meta: Plain values. ``meta["document"]`` names the file or document the pair comes from.
    """

    id: str
    x: str
    y: str
    negatives: list[str] = field(default_factory=list)
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, obj: Any, where: str, *, default_id: str | None = None) -> Pair:
        """Check ``obj`` and make a pair of it; keys that are not ours are kept in ``meta``.

        Raises:
            DataError: naming ``where`` and what is missing or of the wrong type.
        """
        if not isinstance(obj, dict):
            raise DataError(f"{where}: a record must be an object with x and y, not {type(obj).__name__}")
        meta = obj.get("meta") or {}
        if not isinstance(meta, dict):
            raise DataError(f"{where}: meta must be an object, not {type(meta).__name__}")
        meta = {str(key): value for key, value in obj.items() if key not in FIELDS} | meta
        _encodable(str(meta.get("document", "")), "document", where)
        return cls(
            id=_identity(obj.get("id"), where, default_id),
            x=_text(obj, "x", where),
            y=_text(obj, "y", where),
            negatives=_negatives(obj.get("negatives"), where),
            source=_encodable(str(obj.get("source") or ""), "source", where),
            meta=meta,
        )

    def to_dict(self) -> dict[str, Any]:
        """The record as it is stored: a dict of the six fields."""
        return {name: getattr(self, name) for name in FIELDS}

    @property
    def document(self) -> str:
        """Name of the document the pair comes from; a pair without one is its own document."""
        document = self.meta.get("document")
        return self.id if document in (None, "") else str(document)  # 0 is a name like any other


def packed(content: Any, metas: Iterable[tuple[str, dict[str, Any]]]) -> bytes:
    """``content`` as msgpack.

    Args:
        content: Records, or columns of them.
        metas: Id and ``meta`` of each, for the message: all else was checked.

    Raises:
        DataError: naming the record whose ``meta`` holds half a surrogate pair, a number over 64 bits, or no plain value.
    """
    faults = (OverflowError, TypeError, ValueError)
    try:
        found: bytes = msgpack.packb(content)
        return found
    except faults:
        for name, meta in metas:
            for key, value in meta.items():
                try:
                    msgpack.packb({key: value})
                except faults as error:
                    raise DataError(
                        f"record {name}: {key!r} cannot be stored ({error}); make it a plain value, or leave it out"
                    ) from None
        raise


def _identity(value: Any, where: str, default: str | None) -> str:
    if value is None or value == "":
        value = default
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise DataError(f"{where}: no id, or not a string: every record needs one")
    return _encodable(str(value), "id", where)


def _text(obj: dict[str, Any], key: str, where: str) -> str:
    if key not in obj or obj[key] is None:
        raise DataError(f"{where}: no {key}: a record needs both x and y")
    value = obj[key]
    if not isinstance(value, str):
        raise DataError(f"{where}: {key} must be a string, not {type(value).__name__}")
    if not value.strip():
        raise DataError(f"{where}: {key} is empty")
    return _encodable(value, key, where)


def _negatives(value: Any, where: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise DataError(f"{where}: negatives must be a list of strings")
    return [_encodable(item, "negatives", where) for item in value]


def _encodable(value: str, key: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: {key} holds half a surrogate pair, which is no Unicode text") from None
    return value
