"""Reads .warc and .wet: web pages by their main content, and the plain texts that a crawl made of its pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from data_prep.readers.document import Document, ReadRules, Source
from data_prep.readers.http import answer
from data_prep.readers.records import records
from data_prep.report import Report

if TYPE_CHECKING:
    from fastwarc.warc import WarcRecord

MAX_PAGE_BYTES = 16_000_000
_HTML = ("text/html", "application/xhtml+xml")


class _Drop(Exception):
    """A record is no document; the message is the reason that is counted."""


def read(source: Source, rules: ReadRules, report: Report) -> Iterator[Document]:
    """Yield the pages of responses (status 200, HTML or plain text) and the texts of conversion records.

    What is no such page is counted by reason; a damaged record is named by file and byte, and reading goes on
    with the next whole one.

    Raises:
        DataError: fastwarc or resiliparse is not installed.
    """
    found = records(source, report, {"response", "conversion"}, MAX_PAGE_BYTES)
    for number, (record, block) in enumerate(found, 1):
        name = f"{source.name}#{_identity(record) or number}"
        try:
            if block is None:
                raise _Drop(f"page over {MAX_PAGE_BYTES:,} bytes")
            to_document = _page if str(record.record_type) == "response" else _conversion
            document = to_document(name, record, block)
        except _Drop as reason:
            report.dropped[str(reason)] += 1
            continue
        report.kept["pages read"] += 1
        yield document
    report.kept["files read"] += 1


def _identity(record: WarcRecord) -> str:
    return (record.record_id or "").strip("<>").removeprefix("urn:uuid:")


def _page(name: str, record: WarcRecord, block: bytes) -> Document:
    from data_prep.readers.page import Page, decode, read_html

    kind, content_type, body = _content(block)
    if kind in _HTML:
        page, kind = read_html(body, content_type), ".html"
    else:
        text = decode(body, content_type)
        page, kind = None if text is None else Page(text, {}), ".txt"
    if page is None:
        raise _Drop("page not decodable")
    if not page.text.strip():
        raise _Drop("page without text")
    return Document(name, kind, page.text, _origin(record) | page.meta)


def _content(block: bytes) -> tuple[str, str, bytes]:
    """Kind, whole content type and body of the answer."""
    page = answer(block, MAX_PAGE_BYTES)
    if page is None:
        raise _Drop("response that is no HTTP")
    if page.status != 200:
        raise _Drop("page with another status than 200")
    if page.kind not in (*_HTML, "text/plain"):
        raise _Drop("page neither HTML nor plain text")
    if page.body is None:
        raise _Drop("page damaged inside its packing")
    if len(page.body) > MAX_PAGE_BYTES:
        raise _Drop(f"page over {MAX_PAGE_BYTES:,} bytes")
    return page.kind, page.content_type, page.body


def _conversion(name: str, record: WarcRecord, block: bytes) -> Document:
    try:
        text = block.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise _Drop("page not decodable") from None
    if not text.strip():
        raise _Drop("page without text")
    language = record.headers.get("WARC-Identified-Content-Language")
    return Document(name, ".wet", text, _origin(record) | ({"language": language} if language else {}))


def _origin(record: WarcRecord) -> dict[str, str]:
    found = {"url": record.headers.get("WARC-Target-URI"), "date": record.headers.get("WARC-Date")}
    return {key: value.strip("<>") for key, value in found.items() if value}
