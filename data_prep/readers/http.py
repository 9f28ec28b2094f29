"""Takes an HTTP answer, as a crawl stores it, apart: status, kind, and the body out of its packing."""

from __future__ import annotations

import io
import re
import zlib
from dataclasses import dataclass

from data_prep.errors import DataError

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(r"HTTP/\d(?:\.\d)? (\d{3})\b")
_CHUNK = re.compile(rb"[0-9a-fA-F]+[ \t]*[;\r\n]")


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer; ``body`` is None where it does not come out of its packing."""

    status: int
    kind: str
    content_type: str
    body: bytes | None


def answer(block: bytes, limit: int) -> Answer | None:
    """The answer in ``block``, None if there is none; a body over ``limit`` bytes is cut one byte after it."""
    head, *rest = _HEAD_END.split(block, maxsplit=1)
    first, *lines = head.decode("latin-1").splitlines() or [""]
    status = _STATUS.match(first)
    if status is None:
        return None
    fields = dict(reversed([(key.strip().lower(), value.strip()) for key, _, value in map(_field, lines)]))
    content_type = fields.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    body = _unpack(rest[0] if rest else b"", fields, limit)
    return Answer(int(status[1]), kind, content_type, body)


def _field(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def _unpack(body: bytes, fields: dict[str, str], limit: int) -> bytes | None:
    """Undo the chunks and the compression, where they are there: many crawls undo them and keep the header."""
    packing = fields.get("content-encoding", "").lower()
    try:
        if "chunked" in fields.get("transfer-encoding", "").lower() and _CHUNK.match(body):
            body = _read("ChunkedReader", body, limit)
        if packing in ("gzip", "x-gzip", "deflate") and body.startswith((b"\x1f\x8b", b"\x78")):
            return _inflate(body, limit)
        if packing == "br" and not body.lstrip().startswith(b"<"):
            return _read("BrotliReader", body, limit)
    except (OSError, zlib.error):
        return None
    return body


def _inflate(body: bytes, limit: int) -> bytes | None:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # finds out whether it is gzip or zlib
    text = unpacker.decompress(body, limit + 1)
    return text if unpacker.eof or len(text) > limit else None


def _read(reader: str, body: bytes, limit: int) -> bytes:
    try:
        from fastwarc import stream_io
    except ImportError:
        raise DataError("reading .warc needs fastwarc: pip install 'lightning-cpt[prep]'") from None
    stream, parts, size = getattr(stream_io, reader)(io.BytesIO(body)), [], 0
    while size <= limit and (part := stream.read(min(1 << 20, limit + 1 - size))):
        parts.append(part)
        size += len(part)
    return b"".join(parts)
