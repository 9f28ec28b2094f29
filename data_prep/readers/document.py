"""A document, the file it is read from, and the options of reading."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from data_prep.errors import DataError


@dataclass(slots=True)
class Document:
    """A text and where it comes from.

    Args:
        name: The file's path from the given folder's parent; for a row, record or article ``#`` and its name.
        kind: What the text's lines mean: the file's suffix (``.md``), ``.html`` for the text of a page, ``.wiki``.
        text: The text, with ``\\n`` line ends.
        meta: What the source says of it: ``url``, ``title``, ``date``, ``license``, ``language``.
    """

    name: str
    kind: str
    text: str
    meta: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """A file of documents.

    Args:
        name: The same on every machine.
        path: Where the file lies.
        kind: Its suffix, that of the compression aside: what names the reader.
    """

    name: str
    path: Path
    kind: str


@dataclass(frozen=True, slots=True)
class ReadRules:
    """How documents are read.

    Args:
        text_field: Where a row has its text.
        on_bad_row: ``stop`` at a row that is no document, or ``skip`` it, counted and named.
    """

    text_field: str = "text"
    on_bad_row: str = "stop"

    def __post_init__(self) -> None:
        if self.on_bad_row not in ("stop", "skip"):
            raise DataError(f"--on-bad-row {self.on_bad_row}: must be stop or skip")
