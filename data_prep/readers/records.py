"""Walks over the records of a WARC file, past damaged ones, and tells where the file was cut."""

from __future__ import annotations

import mmap
import re
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from data_prep.errors import DataError
from data_prep.readers.document import Source
from data_prep.report import Report

if TYPE_CHECKING:
    from fastwarc.warc import WarcRecord

# How a record begins, by the file's suffix: where reading can go on after damage.
_STARTS = {".gz": b"\x1f\x8b\x08", ".zst": b"\x28\xb5\x2f\xfd"}
_PLAIN_START = b"\r\n\r\nWARC/1."


def records(
    source: Source, report: Report, kinds: set[str], max_bytes: int
) -> Iterator[tuple[WarcRecord, bytes | None]]:
    """Yield the whole records of ``kinds`` with their blocks; None for a block over ``max_bytes``.

    The other kinds are counted. The library reads a file that is cut to its end without a word, so each
    record's length is compared, and the last packed member is unpacked once more.
    """
    try:
        from fastwarc.warc import ArchiveIterator
    except ImportError:
        raise DataError("reading .warc needs fastwarc: pip install 'lightning-cpt[prep]'") from None
    start: int | None = 0
    known = False  # whether the damage at hand is reported
    with open(source.path, "rb") as file:
        while start is not None:
            file.seek(start)
            try:
                for record in ArchiveIterator(file, parse_http=False):
                    start = max(start, record.stream_pos)
                    block = _block(record, kinds, max_bytes)
                    known = False
                    if str(record.record_type) in kinds:
                        yield record, block
                    else:
                        report.dropped["WARC record of another kind (request, metadata ...)"] += 1
                _check_end(file, source.path.suffix, start)
                return
            except (OSError, EOFError):
                damaged, start = start, _next_start(file, source.path.suffix, start + 1)
            if not known:
                reason = "damaged WARC record" if start is not None else "WARC file cut or damaged, its rest"
                report.lose(reason, f"{source.name}: the record at byte {damaged:,}, or the one after it")
            known = True


def _block(record: WarcRecord, kinds: set[str], max_bytes: int) -> bytes | None:
    """The record's content; None for one that is not wanted or too large.

    Raises:
        EOFError: it is shorter than its header says.
    """
    length = (record.headers.get("Content-Length") or "").strip()
    if not re.fullmatch("[0-9]{1,18}", length):
        raise EOFError("no length")
    block, size = None, int(length)
    if str(record.record_type) in kinds and size <= max_bytes:
        block = record.reader.read()
        got = len(block)
    else:
        got = record.consume()
    if got < size:
        raise EOFError("a record is cut")
    return block


def _next_start(file: BinaryIO, suffix: str, begin: int) -> int | None:
    pattern = _STARTS.get(suffix, _PLAIN_START)
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        found = view.find(pattern, begin)
    if found < 0:
        return None
    return found if suffix in _STARTS else found + len(_PLAIN_START) - len(b"WARC/1.")


def _check_end(file: BinaryIO, suffix: str, start: int) -> None:
    """Raise EOFError where the last member of a gzip file is cut; it begins at ``start``, if it is a record's."""
    if suffix != ".gz":
        return
    file.seek(start)
    file.seek(start if file.read(2) == _STARTS[suffix][:2] else 0)
    member = None
    while block := file.read(1 << 16):
        while block:
            member = member or zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                member.decompress(block)
            except zlib.error:
                raise EOFError("the last member is damaged") from None
            block = member.unused_data
            if member.eof:
                member = None
    if member is not None:
        raise EOFError("the last member is cut")
