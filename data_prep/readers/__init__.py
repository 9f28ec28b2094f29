"""The readers of documents by suffix: a new format is a file here and a line in ``READERS``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from data_prep.readers import jsonl, parquet, plain, warc
from data_prep.readers.document import Document, ReadRules, Source
from data_prep.readers.streams import COMPRESSIONS, DAMAGE, damage
from data_prep.report import Report

__all__ = ["READERS", "Document", "ReadRules", "Source", "kind_of", "read"]

Reader = Callable[[Source, ReadRules, Report], Iterator[Document]]
READERS: dict[str, Reader] = {
    ".txt": plain.read,
    ".md": plain.read,
    ".rst": plain.read,
    ".jsonl": jsonl.read,
    ".parquet": parquet.read,
    ".warc": warc.read,
    ".wet": warc.read,
}
# Compressed inside already; nobody packs it once more.
_NEVER_PACKED = {".parquet"}


def kind_of(path: Path) -> str | None:
    """The suffix that names the file's reader, without ``.gz`` or ``.zst``; None where nobody reads it."""
    packed = path.suffix in COMPRESSIONS
    kind = Path(path.stem).suffix if packed else path.suffix
    return kind if kind in READERS and not (packed and kind in _NEVER_PACKED) else None


def read(source: Source, rules: ReadRules, report: Report) -> Iterator[Document]:
    """Yield the documents of a file; what cannot be read is counted and named in ``report``.

    Raises:
        DataError: naming file and row, for a bad row where ``rules`` say stop; a package is missing.
    """
    try:
        source.name.encode()
    except UnicodeEncodeError:
        report.lose("file name not UTF-8", source.name)
        return
    if source.path.exists() and not source.path.is_file():  # to open a pipe is to wait for its writer
        report.lose("no plain file", source.name)
        return
    count = 0
    try:
        for document in READERS[source.kind](source, rules, report):
            count += 1
            yield document
    except DAMAGE as error:
        report.lose(damage(error), f"{source.name} (after {count:,} documents)")
    except OSError:
        report.lose("file not readable", source.name)
