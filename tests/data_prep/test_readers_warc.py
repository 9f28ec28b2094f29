"""Web pages out of WARC and WET: what is a page, in which encoding, and every cut or damaged record noticed."""

from __future__ import annotations

import gzip
import sys
import zlib
from pathlib import Path

import pytest
import zstandard

from data_prep.documents import Document, find_documents, read_documents
from data_prep.errors import DataError
from data_prep.readers import warc
from data_prep.report import Report

PROSE = "A sentence of the page that is long enough to be its content, not its menu. " * 3
OTHER = "WARC record of another kind (request, metadata ...)"
PACK = {
    ".warc": bytes,
    ".warc.gz": gzip.compress,
    ".warc.zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def record(number: int, block: bytes, kind: str = "response", **headers: str) -> bytes:
    fields = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<urn:uuid:{number:08d}>",
        "WARC-Date": "2024-01-01T00:00:00Z",
        "WARC-Target-URI": f"https://e.org/{number}",
        "Content-Length": str(len(block)),
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"WARC/1.0\r\n{head}\r\n".encode() + block + b"\r\n\r\n"


def http(body: bytes, content_type: str = "text/html", status: str = "200 OK", **headers: str) -> bytes:
    fields = {"Content-Type": content_type} | {k.replace("_", "-"): v for k, v in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def html(text: str = PROSE, head: str = "<title>The\n title</title>") -> str:
    menu = "".join(f'<li><a href="/{i}">Menu {i}</a></li>' for i in range(20))
    body = f"<nav><ul>{menu}</ul></nav><article><h1>Heading</h1><p>{text}</p><p>{text}</p></article>"
    return f'<html lang="en-GB"><head>{head}</head><body>{body}<footer>Terms</footer></body></html>'


def read(path: Path, report: Report | None = None) -> list[Document]:
    return list(read_documents(find_documents([path]), report or Report()))


def read_pages(tmp_path: Path, *blocks: bytes, report: Report | None = None) -> list[Document]:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(gzip.compress(record(i, block)) for i, block in enumerate(blocks)))
    return read(path, report)


@pytest.mark.parametrize("suffix", PACK)
def test_a_page(tmp_path: Path, suffix: str) -> None:
    head = '<title> The\n title</title><link rel="license" href="https://e.org/by/4.0">'
    blocks = [
        record(0, b"software: test", "warcinfo"),
        record(1, b"GET / HTTP/1.1\r\n\r\n", "request"),
        record(2, http(html(head=head).encode())),
    ]
    path, report = tmp_path / f"a{suffix}", Report()
    path.write_bytes(b"".join(map(PACK[suffix], blocks)))
    (document,) = read(path, report)
    assert document.name == f"a{suffix}#00000002"
    assert document.kind == ".html"
    assert document.text == f"Heading\n\n{PROSE.strip()}\n\n{PROSE.strip()}"
    assert document.meta == {
        "url": "https://e.org/2",
        "date": "2024-01-01T00:00:00Z",
        "title": "The title",
        "language": "en-GB",
        "license": "https://e.org/by/4.0",
    }
    assert dict(report.kept) == {"pages read": 1, "files read": 1}
    assert dict(report.dropped) == {OTHER: 2}


def test_what_is_no_page_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warc, "MAX_PAGE_BYTES", 3000)
    report = Report()
    documents = read_pages(
        tmp_path,
        http(html().encode(), status="404 Not Found"),
        http(b"\x89PNG", "image/png"),
        http(b"<html><title>Nothing</title></html>"),
        http(b"<p>" + b"a" * 4000),
        http(gzip.compress(b"a" * 100_000), Content_Encoding="gzip"),
        http(b"\x00\x01\x02" * 40),
        b"no answer at all",
        http(gzip.compress(html().encode())[:-30], Content_Encoding="gzip"),
        http(b"Plain text.", "Text/Plain; charset=utf-8"),
        report=report,
    )
    assert [(document.kind, document.text) for document in documents] == [(".txt", "Plain text.")]
    assert dict(report.dropped) == {
        "page with another status than 200": 1,
        "page neither HTML nor plain text": 1,
        "page without text": 1,
        "page over 3,000 bytes": 2,
        "page not decodable": 1,
        "response that is no HTTP": 1,
        "page damaged inside its packing": 1,
    }


@pytest.mark.parametrize(
    ("encoding", "content_type"),
    [
        ("utf-8", "text/html"),
        ("utf-8", "text/html; charset=iso-8859-1"),  # the server is wrong
        ("utf-16", "text/html; charset=utf-8"),
        ("windows-1251", "text/html; charset=windows-1251"),
        ("windows-1251", "text/html"),
        ("windows-1251", "text/html; charset=utf-8"),
        ("windows-1251", "text/html; charset=no-such-one"),
        ("koi8-r", 'text/html;charset="koi8-r"'),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, content_type: str) -> None:
    text = "Это предложение написано на русском языке, чтобы проверить кодировку страницы. " * 3
    (document,) = read_pages(tmp_path, http(html(text).encode(encoding), content_type))
    assert document.text == f"Heading\n\n{text.strip()}\n\n{text.strip()}"


def test_the_page_itself_may_name_its_encoding(tmp_path: Path) -> None:
    page = html(
        "Größe über alles: ein Satz mit dem Zeichen €, und noch einer dazu.", '<meta charset="cp1252">'
    )
    (document,) = read_pages(tmp_path, http(page.encode("cp1252")))
    assert "Größe über alles: ein Satz mit dem Zeichen €" in document.text


def test_a_few_wrong_bytes_are_replaced(tmp_path: Path) -> None:
    page = html(PROSE + "caf\u00e9 \u65e5\u672c" * 50).encode() + b"\xff"
    (document,) = read_pages(tmp_path, http(page, "text/html; charset=utf-8"))
    assert "café 日本" in document.text


def brotli(body: bytes) -> bytes:
    """One block of the format that is stored, not compressed, and the mark of the end."""
    head = ((len(body) - 1) << 4) | (1 << 20)
    return head.to_bytes(3, "little") + body + b"\x03"


def chunked(body: bytes) -> bytes:
    parts = [body[i : i + 100] for i in range(0, len(body), 100)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])


@pytest.mark.parametrize(
    ("pack", "headers"),
    [
        (chunked, {"Transfer_Encoding": "chunked"}),
        (bytes, {"Transfer_Encoding": "chunked", "Content_Encoding": "gzip"}),  # undone by the crawl
        (gzip.compress, {"Content_Encoding": "gzip"}),
        (lambda body: chunked(gzip.compress(body)), {"Transfer_Encoding": "chunked", "Content_Encoding": "gzip"}),
        (zlib.compress, {"Content_Encoding": "deflate"}),
        (brotli, {"Content_Encoding": "br"}),
        (bytes, {"Content_Encoding": "br"}),
    ],
)  # fmt: skip
def test_packed_pages(tmp_path: Path, pack, headers: dict[str, str]) -> None:  # type: ignore[no-untyped-def]
    (document,) = read_pages(tmp_path, http(pack(html().encode()), **headers))
    assert document.text.startswith(f"Heading\n\n{PROSE.strip()}")


def test_the_texts_of_a_crawl(tmp_path: Path) -> None:
    text = "Home\nLog in\nCategories\nContact\nThe heading\nIt is a sentence.\r\nAnother one, é."
    language = {"WARC_Identified_Content_Language": "eng"}
    path, report = tmp_path / "a.warc.wet.gz", Report()
    blocks = [
        record(0, b"software: test", "warcinfo"),
        record(1, text.encode(), "conversion", **language),
        record(2, b" \n", "conversion"),
        record(3, b"\xff\xfe", "conversion"),
    ]
    path.write_bytes(b"".join(map(gzip.compress, blocks)))
    (document,) = read(path, report)
    assert document == Document(
        "a.warc.wet.gz#00000001",
        ".wet",
        text.replace("\r\n", "\n"),
        {"url": "https://e.org/1", "date": "2024-01-01T00:00:00Z", "language": "eng"},
    )
    assert dict(report.dropped) == {OTHER: 1, "page without text": 1, "page not decodable": 1}


def three_pages() -> list[bytes]:
    kinds = ("response", "request", "response")
    return [record(i, http(html(f"{PROSE} {i}").encode()), kind) for i, kind in enumerate(kinds)]


@pytest.mark.parametrize("suffix", PACK)
def test_every_cut_is_noticed(tmp_path: Path, suffix: str) -> None:
    """Wherever the file is cut: the pages that are whole are read, and the loss of the others is told."""
    parts = [PACK[suffix](part) for part in three_pages()]
    data, path = b"".join(parts), tmp_path / f"a{suffix}"
    ends = [sum(map(len, parts[:k])) for k in range(4)]
    marks = {size for end in ends for size in range(max(0, end - 30), min(len(data), end + 80))}
    for size in sorted(marks | set(range(0, len(data), 97))):
        path.write_bytes(data[:size])
        report = Report()
        names = [document.name[-1] for document in read(path, report)]
        if size in ends or any(end - 4 <= size < end for end in ends if suffix == ".warc"):
            continue  # between records, where nobody can tell; or only the blank lines after one are lost
        assert report.named, size
        assert names == ["0", "2"][: len(names)], size
        assert len(names) >= (size >= ends[1]), size


DAMAGES = ("first bytes", "middle", "length too large", "no length")


@pytest.mark.parametrize(
    ("suffix", "damage"),
    # A plain file has no check of a page's bytes.
    [(suffix, damage) for suffix in PACK for damage in DAMAGES if (suffix, damage) != (".warc", "middle")],
)
def test_a_damaged_record_is_passed_over(tmp_path: Path, suffix: str, damage: str) -> None:
    pages = [record(i, http(html(f"{PROSE} {i}").encode())) for i in range(5)]
    if damage == "length too large":
        pages[2] = pages[2].replace(b"Content-Length: ", b"Content-Length: 99999")
    elif damage == "no length":
        pages[2] = pages[2].replace(b"Content-Length: ", b"Content-Longth: ")
    parts = [PACK[suffix](page) for page in pages]
    if damage in ("first bytes", "middle"):
        place = 1 if damage == "first bytes" else len(parts[2]) // 2
        parts[2] = (
            parts[2][:place] + bytes(b ^ 0xFF for b in parts[2][place : place + 4]) + parts[2][place + 4 :]
        )
    path, report = tmp_path / f"a{suffix}", Report()
    path.write_bytes(b"".join(parts))
    assert [document.name[-1] for document in read(path, report)] == ["0", "1", "3", "4"]
    ((reason, name),) = report.named
    assert reason == "damaged WARC record"
    assert name.startswith(f"a{suffix}: the record at byte ")
    begins = [sum(map(len, parts[:k])) for k in (1, 2)]
    assert int(name.split("byte ")[1].split(", or")[0].replace(",", "")) in begins


def test_a_file_packed_as_a_whole(tmp_path: Path) -> None:
    """One gzip member for all records, as a tool that knows no WARC packs it."""
    path, data = tmp_path / "a.warc.gz", gzip.compress(b"".join(three_pages()))
    path.write_bytes(data)
    report = Report()
    assert len(read(path, report)) == 2
    assert report.named == []
    for size in range(1, len(data), 13):
        path.write_bytes(data[:size])
        report = Report()
        read(path, report)
        assert [reason for reason, _ in report.named] == ["WARC file cut or damaged, its rest"], size


def test_records_without_an_id_are_numbered(tmp_path: Path) -> None:
    pages = [record(i, http(html().encode()), WARC_Record_ID="") for i in range(2)]
    (tmp_path / "a.warc").write_bytes(b"".join(pages))
    assert [document.name for document in read(tmp_path / "a.warc")] == ["a.warc#1", "a.warc#2"]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("fastwarc.warc", "reading .warc needs fastwarc: pip install 'lightning-cpt[prep]'"),
        ("resiliparse.parse.html", "reading web pages needs resiliparse: pip install 'lightning-cpt[prep]'"),
    ],
)
def test_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, message: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "data_prep.readers.page", raising=False)
    with pytest.raises(DataError) as caught:
        read_pages(tmp_path, http(html().encode()))
    assert str(caught.value) == message


@pytest.mark.parametrize("length", ["\u00b2", "\x1e56", "9" * 5000])
def test_a_length_that_is_no_number(tmp_path: Path, length: str) -> None:
    records = [
        f"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Length: {n}\r\n\r\nhello world!\r\n\r\n"
        for n in ("12", length, "12")
    ]
    path = tmp_path / "a.wet"
    path.write_bytes("".join(records).encode())
    report = Report()
    assert len(read(path, report)) == 2
    assert report.dropped["damaged WARC record"] == 1
