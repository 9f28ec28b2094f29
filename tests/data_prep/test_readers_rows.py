"""Rows as documents, of .jsonl and .parquet: names, meta, bad rows, cut files, columns, bounded memory."""

from __future__ import annotations

import datetime
import gzip
import json
import random
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from data_prep.documents import Document, find_documents, read_documents
from data_prep.errors import DataError
from data_prep.readers import ReadRules, jsonl
from data_prep.report import Report


def read(path: Path, report: Report | None = None, **rules: str) -> list[Document]:
    files = find_documents([path])
    return list(read_documents(files, report or Report(), rules=ReadRules(**rules)))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
        return path
    raw = "".join(json.dumps(row) + "\n" for row in rows).encode()
    pack = {".gz": gzip.compress, ".zst": zstandard.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(raw))
    return path


KINDS = ["d.jsonl", "d.jsonl.gz", "d.jsonl.zst", "d.parquet"]
ROWS = [{"text": f"text {i} é", "id": f"k{i}", "url": f"https://e.org/{i}"} for i in range(7)]


@pytest.mark.parametrize("name", KINDS)
def test_all_kinds_give_the_same(tmp_path: Path, name: str) -> None:
    report = Report()
    documents = read(write(tmp_path / name, ROWS), report)
    assert [document.text for document in documents] == [row["text"] for row in ROWS]
    assert [document.name for document in documents] == [f"{name}#{row['id']}" for row in ROWS]
    assert [document.meta for document in documents] == [{"url": row["url"]} for row in ROWS]
    assert report.kept["files read"] == 1


@pytest.mark.parametrize("name", ["d.jsonl", "d.parquet"])
def test_what_a_row_says_of_itself(tmp_path: Path, name: str) -> None:
    row = {
        "text": "t", "id": 5, "timestamp": "2024-01-01", "license": "", "lang": "en", "score": 1.5,
        "metadata": {"licence": "CC-BY-4.0", "url": "https://e.org", "lang": "de"},
    }  # fmt: skip
    (document,) = read(write(tmp_path / name, [row]))
    assert document.name == f"{name}#5"
    meta = {"url": "https://e.org", "date": "2024-01-01", "license": "CC-BY-4.0", "language": "en"}
    assert document.meta == meta


def test_dates_of_parquet(tmp_path: Path) -> None:
    row = {"text": "t", "date": datetime.datetime(2024, 1, 2, 3), "id": None, "title": "A"}
    (document,) = read(write(tmp_path / "d.parquet", [row]))
    assert document.meta == {"date": "2024-01-02T03:00:00", "title": "A"}
    assert document.name == "d.parquet#1"


@pytest.mark.parametrize("name", KINDS)
def test_a_bad_row_stops_or_is_skipped(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [ROWS[0], {**ROWS[1], "text": None}, ROWS[2]])
    message = rf"{name}: row 2: no text under 'text'; name the field with --text-field .*--on-bad-row skip"
    with pytest.raises(DataError, match=message):
        read(path)
    report = Report()
    assert [document.text for document in read(path, report, on_bad_row="skip")] == ["text 0 é", "text 2 é"]
    assert report.named == [("row without text", f"{name}: row 2")]


def test_each_fault_of_a_row_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_ROW_BYTES", 200)
    lines = [
        b'{"text": "first"}',
        b"{",
        b"[" * 100_000,
        b'{"text": "' + b"a" * 300 + b'"}',
        b'{"text": "\\ud800"}',
        b'{"text": "caf\xe9"}',
        b'{"text": "\x81"}',
        b'{"text": "last"}',
    ]
    (tmp_path / "d.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    report = Report()
    documents = read(tmp_path / "d.jsonl", report, on_bad_row="skip")
    assert [document.text for document in documents] == ["first", "café", "last"]
    assert dict(report.dropped) == {"row not JSON": 2, "row too long": 2, "row that is no Unicode text": 1}
    assert report.kept["rows read as cp1252, not being UTF-8"] == 1


def test_skipping_is_named_wrongly() -> None:
    with pytest.raises(DataError, match="--on-bad-row never: must be stop or skip"):
        ReadRules(on_bad_row="never")


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_cut_file_is_a_loss(tmp_path: Path, suffix: str) -> None:
    rows = [{"text": f"{i} " * 50} for i in range(5000)]
    path = write(tmp_path / f"d.jsonl{suffix}", rows)
    path.write_bytes(path.read_bytes()[:-100])
    report = Report()
    texts = [document.text for document in read(path, report)]
    assert 0 < len(texts) < 5000
    assert texts == [row["text"] for row in rows[: len(texts)]]
    assert report.named == [("file cut short, its rest", f"d.jsonl{suffix} (after {len(texts):,} documents)")]
    assert report.kept["files read"] == 0


def test_parts_of_one_file_are_read_together(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n{"te') + gzip.compress(b'xt": "b"}\n'))
    assert [document.text for document in read(path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("body", "t", r"d.parquet: no column 'text' \(there: body\); name it with --text-field"),
        ("text", 5, "d.parquet: column 'text' holds int64, no text; name another with --text-field"),
    ],
)
def test_a_missing_column(tmp_path: Path, column: str, value: object, message: str) -> None:
    path = write(tmp_path / "d.parquet", [{column: value}])
    with pytest.raises(DataError, match=message):
        read(path)
    if column != "text":
        assert [document.text for document in read(path, text_field=column)] == ["t"]


def test_text_that_is_no_utf8(tmp_path: Path) -> None:
    """Parquet files do not promise that a text is one."""
    bad = pa.array([b"good", b"\xff", b"fine"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": bad}), tmp_path / "d.parquet")
    report = Report()
    texts = [document.text for document in read(tmp_path / "d.parquet", report, on_bad_row="skip")]
    assert texts == ["good", "fine"]
    assert report.named == [("row without text", "d.parquet: row 2")]


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", "cut"])
def test_a_damaged_parquet_file(tmp_path: Path, content: bytes | str) -> None:
    path = write(tmp_path / "d.parquet", ROWS)
    path.write_bytes(path.read_bytes()[:-20] if isinstance(content, str) else content)
    report = Report()
    assert read(path, report) == []
    assert report.named == [("file not readable", "d.parquet")]


def test_missing_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "d.parquet", ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        DataError, match=r"reading .parquet needs pyarrow: pip install 'lightning-cpt\[prep\]'"
    ):
        read(path)


@pytest.mark.parametrize("name", ["d.jsonl.gz", "d.jsonl.zst"])
def test_a_file_is_never_held_whole(tmp_path: Path, name: str) -> None:
    draw = random.Random(0)
    path = write(tmp_path / name, [{"text": f"{i} {draw.randbytes(8000).hex()}"} for i in range(500)])
    tracemalloc.start()
    total = sum(len(document.text) for document in read_documents(find_documents([path]), Report()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total > 7_500_000
    assert peak < 3_000_000
