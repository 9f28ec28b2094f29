"""Reading pairs out of .jsonl, .csv and .parquet: the same pairs, and mistakes named by file and row."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.report import Report
from data_prep.tables import read_pairs

ROWS: list[dict[str, Any]] = [
    {
        "x": 'a "quoted"\nquery, é',
        "y": "answer \u2028 one",
        "id": "r1",
        "negatives": ["n1", "n2"],
        "document": "d",
    },
    {"x": "second", "y": "answer two", "id": "r2", "negatives": [], "document": "d"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            for row in rows:
                writer.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()})
    return path


def read(*paths: Path, report: Report | None = None, **columns: str) -> list[Pair]:
    return list(read_pairs(list(paths), report or Report(), **columns))


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_the_three_kinds_give_the_same(tmp_path: Path, suffix: str) -> None:
    pairs = read(write(tmp_path / f"t{suffix}", ROWS))
    assert [(pair.id, pair.x, pair.y) for pair in pairs] == [(row["id"], row["x"], row["y"]) for row in ROWS]
    assert [pair.negatives for pair in pairs] == [["n1", "n2"], []]
    assert [pair.document for pair in pairs] == ["d", "d"]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_columns_by_name_and_what_is_not_used(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"t{suffix}", [{"query": "q", "code": "c", "stars": "5"}] * 2)
    report = Report()
    pairs = read(path, report=report, x_column="query", y_column="code")
    assert [(pair.id, pair.x, pair.y, pair.meta) for pair in pairs] == [
        (f"t{suffix}:1", "q", "c", {}),
        (f"t{suffix}:2", "q", "c", {}),
    ]
    assert pairs[1].document == f"t{suffix}:2"
    assert report.named == [(f"column of t{suffix} not used", "stars")]
    assert report.kept["files read"] == 1


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_bad_rows_are_named(tmp_path: Path, suffix: str) -> None:
    missing = write(tmp_path / f"a{suffix}", [{"x": "q", "z": "c"}])
    with pytest.raises(
        DataError, match=rf"a\{suffix}: row 1: no column 'y' \(there: x, z\); name it with --y-column"
    ):
        read(missing)
    empty = write(tmp_path / f"b{suffix}", [{"x": "q", "y": "c"}, {"x": "q", "y": " "}])
    with pytest.raises(DataError, match=rf"b\{suffix}: row 2: y is empty"):
        read(empty)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.jsonl", b'{"x": "a", "y": "b"}\n\n{"x": "a"', "t.jsonl: row 3: not JSON"),
        ("t.jsonl", b'[1, 2]', "t.jsonl: row 1: must be an object, not list"),
        ("t.jsonl", b'{"x": "a", "y": null}', "t.jsonl: row 1: no y: a record needs both x and y"),
        ("t.jsonl", b'{"x": "a", "y": 3}', "t.jsonl: row 1: y must be a string, not int"),
        ("t.jsonl", b'{"x": "a", "y": "\\ud800"}', "t.jsonl: row 1: y holds half a surrogate"),
        ("t.jsonl", b'{"x": "a", "y": "b", "document": "\\ud800"}', "t.jsonl: row 1: document holds half"),
        ("t.jsonl", b'{"x": "a", "y": "b", "source": "\\ud800"}', "t.jsonl: row 1: source holds half"),
        ("t.jsonl", b'{"x": "a", "y": "b", "negatives": "["}', "t.jsonl: row 1: negatives: not JSON"),
        ("t.jsonl", b'{"x": "a", "y": "b", "negatives": [1]}', "t.jsonl: row 1: negatives must be a list of strings"),
        ("t.jsonl", b'{"x": "\xff"}', "t.jsonl: not UTF-8 text"),
        ("t.csv", b"x,y\na,b\nc\n", "t.csv: row 2: has more or fewer cells than the header"),
        ("t.csv", b"x,y\na,b,c\n", "t.csv: row 1: has more or fewer cells than the header"),
        ("t.csv", b'x,y\na,"b', "t.csv: line 2: not CSV"),
        ("t.parquet", b"PAR1 and no more", "t.parquet: not a sound parquet file"),
        ("t.json", b"[]", "t.json: unknown kind; give .jsonl, .csv, .parquet files"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / message))
    assert "\n" not in str(caught.value)


def test_good_rows_before_a_bad_one_are_read_first(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"x": "a", "y": "b"}\n{}')
    stream = read_pairs([path], Report())
    assert next(stream).x == "a"
    with pytest.raises(DataError, match=r"row 2: no column 'x' \(there: none\)"):
        next(stream)


def test_a_long_cell_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"x,y\n{'a' * 200_000},b\n", encoding="utf-8-sig")
    assert len(read(path)[0].x) == 200_000


def test_missing_files_and_extras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"absent\.csv: no such file"):
        read(tmp_path / "absent.csv")
    path = write(tmp_path / "t.parquet", ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'lightning-cpt\[prep\]'"):
        read(path)


def test_tables_that_would_lose_or_cannot_say_a_text(tmp_path: Path) -> None:
    offsets = pa.array([0, 2], pa.int32()).buffers()[1]
    bad = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff\xfe")])
    pq.write_table(pa.table({"x": ["a"], "y": ["b"], "z": bad}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: holds text that is not UTF-8"):
        list(read_pairs([tmp_path / "a.parquet"], Report()))
    (tmp_path / "a.csv").write_text("x,y,x\none,two,three\n")
    with pytest.raises(DataError, match=r"a\.csv: column 'x' is there twice"):
        list(read_pairs([tmp_path / "a.csv"], Report()))
