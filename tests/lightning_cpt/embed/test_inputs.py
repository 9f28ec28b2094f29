"""Ids and texts out of every kind of input, in order, each once; what is none is named by file and row."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.shards import write_shards
from lightning_cpt.embed.inputs import Fields, read_rows
from lightning_cpt.errors import ConfigError

X = Fields("x")
ROWS: list[dict[str, Any]] = [
    {"id": "a", "text": "one"},
    {"text": "two\nlines", "x": "no"},
    {"_id": 7, "x": "three"},
]
READ = [("a", "one"), ("f.jsonl:2", "two\nlines"), ("7", "three")]


def rows(*inputs: Path | str, kind: str | None = None, fields: Fields = X) -> list[tuple[str, str]]:
    return list(read_rows([str(name) for name in inputs], kind, fields))


def jsonl(items: list[Any]) -> bytes:
    return "".join(json.dumps(item) + "\n" for item in items).encode()


def test_jsonl_plain_and_packed(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_bytes(b"\xef\xbb\xbf" + jsonl(ROWS) + b"\n")
    assert rows(tmp_path / "f.jsonl") == READ
    (tmp_path / "f.jsonl.gz").write_bytes(gzip.compress(jsonl(ROWS)))
    assert [text for _, text in rows(tmp_path / "f.jsonl.gz")] == [text for _, text in READ]
    (tmp_path / "f.jsonl.zst").write_bytes(zstandard.compress(jsonl(ROWS)))
    assert [text for _, text in rows(tmp_path / "f.jsonl.zst")] == [text for _, text in READ]


def test_lines_of_text_are_rows_empty_ones_too(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("one\r\n\n  zwölf \u2028 still 3\nlast".encode())
    assert rows(tmp_path / "t.txt") == [
        ("t.txt:1", "one"),
        ("t.txt:2", ""),
        ("t.txt:3", "  zwölf \u2028 still 3"),
        ("t.txt:4", "last"),
    ]


def test_csv_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('id,body\n1,"a, b"\n2,\n')
    fields = Fields("y", text="body")
    assert rows(tmp_path / "t.csv", fields=fields) == [("1", "a, b"), ("2", "")]
    pq.write_table(pa.table({"doc": ["p", "q"], "y": ["why", "not"]}), tmp_path / "t.parquet")
    named = Fields("y", identity="doc")
    assert rows(tmp_path / "t.parquet", fields=named) == [("p", "why"), ("q", "not")]


def test_shards_by_side_and_several_inputs_in_order(tmp_path: Path) -> None:
    pairs = [Pair(id=f"p{i}", x=f"x{i}", y=f"y{i}") for i in range(5)]
    write_shards(tmp_path / "data" / "test", iter(pairs), source="toy", records_per_chunk=2)
    (tmp_path / "t.txt").write_text("line\n")
    found = rows(tmp_path / "t.txt", tmp_path / "data" / "test", fields=Fields("y"))
    assert found == [("t.txt:1", "line"), *((f"p{i}", f"y{i}") for i in range(5))]
    with pytest.raises(ConfigError, match=r"several splits; name one, such as .*test"):
        rows(tmp_path / "data")


def test_a_folder_is_read_by_name_hidden_files_are_not(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/1.txt", "a.jsonl", ".hidden/x.txt", "b/readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text('{"text": "t"}\n')
    assert [identity for identity, _ in rows(tmp_path)] == ["a.jsonl:1", "b/1.txt:1", "b/2.txt:1"]
    assert len(rows(tmp_path, kind="txt")) == 2


@pytest.mark.parametrize(
    ("kind", "data"), [(None, b"one\ntwo\n"), ("jsonl", b'{"text": "one"}\n{"x": "two"}\n')]
)
def test_standard_input(monkeypatch: pytest.MonkeyPatch, kind: str | None, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert rows("-", kind=kind) == [("stdin:1", "one"), ("stdin:2", "two")]
    with pytest.raises(ConfigError, match="once only"):
        rows("-", "-")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.jsonl", b'{"text": "a"}\n{"no": 1}\n', r"t\.jsonl: row 2: no text \(there: no\).*--text-field"),
        ("t.jsonl", b"[1]\n", r"t\.jsonl: row 1: must be an object"),
        ("t.jsonl", b"{\n", r"t\.jsonl: row 1: not JSON"),
        ("t.jsonl", b"[" * 100_000, r"t\.jsonl: row 1: not JSON"),
        ("t.jsonl", b'{"text": "\\ud800"}\n', "half of a surrogate pair"),
        ("t.jsonl", b'{"text": "\xff"}\n', r"t\.jsonl: not UTF-8"),
        ("t.txt", b"\xff\n", r"t\.txt: not UTF-8"),
        ("t.csv", b"text,b\n1\n", r"t\.csv: row 1: has more or fewer cells"),
        (
            "t.jsonl.gz",
            gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:-12],
            r"t\.jsonl\.gz: cut short or damaged",
        ),
        ("t.parquet", b"PAR1", r"t\.parquet: not a sound parquet file"),
        ("t.pdf", b"", r"t\.pdf: of no known kind .*--kind"),
    ],
)
def test_what_is_no_row_is_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises((ConfigError, DataError), match=message):
        rows(tmp_path / name)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or folder"):
        rows(tmp_path / "none.txt")
    with pytest.raises(ConfigError, match="holds neither shards nor"):
        rows(tmp_path)
