"""MS MARCO's triples to pairs with negatives: texts, ids and jsonl alike, and mistakes named by file and row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash

from data_prep.errors import DataError
from data_prep.lookup import Lookup
from data_prep.pairs import Pair
from data_prep.report import Report
from data_prep.shards import open_splits
from data_prep.triples import Texts, read_triples

TRIPLES = [("1", "10", "20"), ("2", "11", "21"), ("1", "10", "22"), ("1", "12", "21"), ("1", "10", "23")]
TRIPLES += [("1", "10", "20"), ("1", "12", "10"), ("3", "13", "13")]
WORDS = {"1": "who é", "2": "what", "3": "where"}
PASSAGES = {str(i): f"passage {i}, at length" for i in range(10, 24)}


def write_tsv(path: Path, rows: list[tuple[str, ...]]) -> Path:
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def texts(tmp_path: Path) -> Texts:
    queries = write_tsv(tmp_path / "queries.tsv", list(WORDS.items()))
    collection = write_tsv(tmp_path / "collection.tsv", list(PASSAGES.items()))
    return Texts(Lookup(queries), Lookup(collection))


@pytest.fixture
def as_texts(tmp_path: Path) -> Path:
    rows: list[tuple[str, ...]] = [(WORDS[q], PASSAGES[p], PASSAGES[n]) for q, p, n in TRIPLES]
    return write_tsv(tmp_path / "triples.tsv", rows)


def read(*paths: Path, report: Report | None = None, **options: Any) -> list[Pair]:
    return read_triples(list(paths), report or Report(), **options)


def plain(pairs: list[Pair]) -> list[tuple[str, str, list[str]]]:
    return [(pair.x, pair.y, pair.negatives) for pair in pairs]


def expected(limit: int = 7) -> list[tuple[str, str, list[str]]]:
    ids = [("1", "10", ["20", "22", "23"]), ("2", "11", ["21"]), ("1", "12", ["21"])]
    return [(WORDS[q], PASSAGES[p], [PASSAGES[n] for n in negatives[:limit]]) for q, p, negatives in ids]


def test_negatives_are_gathered_by_query_and_positive(as_texts: Path) -> None:
    report = Report()
    pairs = read(as_texts, report=report)
    assert plain(pairs) == expected()
    assert [pair.id for pair in pairs] == ["triples.tsv:1", "triples.tsv:2", "triples.tsv:4"]
    assert [pair.document for pair in pairs] == ["who é", "what", "who é"]
    assert report.kept == {"files read": 1, "pairs": 3, "negatives": 5}
    # 12's negative 10 is a right answer to the same query, and so is 13 to its own.
    assert +report.dropped == {
        "repeated triple": 1,
        "negative that is a right answer too": 2,
        "pair without negatives": 1,
    }


def test_ids_and_jsonl_give_the_same(tmp_path: Path, texts: Texts) -> None:
    ids = write_tsv(tmp_path / "qidpidtriples.tsv", list(TRIPLES))
    pairs = read(ids, texts=texts)
    assert plain(pairs) == expected()
    assert [pair.id for pair in pairs] == ["1-10", "2-11", "1-12"]
    rows: list[dict[str, Any]] = [
        {"query": WORDS[q], "positive": PASSAGES[p], "negative": PASSAGES[n]} for q, p, n in TRIPLES
    ]
    for row in rows[:3]:
        row["negatives"] = [row.pop("negative")]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert plain(read(path)) == expected()


def test_at_most_so_many_negatives_the_first_ones(as_texts: Path) -> None:
    report = Report()
    assert plain(read(as_texts, max_negatives=2, report=report)) == expected(2)
    assert report.dropped["negative beyond --max-negatives"] == 1


def test_all_of_a_query_goes_to_the_held_out_file(tmp_path: Path) -> None:
    train = write_tsv(tmp_path / "train.tsv", [("q", "a", "n"), ("r", "b", "n")])
    dev = write_tsv(tmp_path / "dev.tsv", [("q", "c", "n")])
    pairs = read(train, dev, validation=["dev.tsv"])
    assert {(pair.id, pair.meta["file"]) for pair in pairs} == {
        ("dev.tsv:1", "dev.tsv"),
        ("train.tsv:1", "dev.tsv"),
        ("train.tsv:2", "train.tsv"),
    }


def test_the_command(tmp_path: Path, texts: Texts, prep: Callable[..., int]) -> None:
    ids = write_tsv(tmp_path / "ids.tsv", list(TRIPLES))
    tables = ("--queries", texts.queries.path, "--collection", texts.collection.path)
    fractions = ("--test-fraction", 0, "--validation-fraction", 0)
    assert prep("triples", ids, "--out", tmp_path / "out", *tables, "--max-negatives", 2, *fractions) == 0
    records = list(open_splits(tmp_path / "out")["train"])
    assert sorted((r["x"], r["y"], r["negatives"]) for r in records) == sorted(expected(2))
    with pytest.raises(DataError, match="--queries: ids need both tables"):
        prep("triples", ids, "--out", tmp_path / "other", *tables[:2])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", b"q\tp\tn\nq\tp\n", "a.tsv: row 2: 2 columns instead of 3"),
        ("a.tsv", b"q\tp\tn\tm\n", "a.tsv: row 1: 4 columns instead of 3"),
        ("a.tsv", b"q\t \tn\n", "a.tsv: row 1: has an empty column"),
        ("a.tsv", b"1\t2\t3\n", "a.tsv: row 1: holds ids, not texts; give --queries and --collection"),
        ("a.tsv", b"q\tp\tn\n\xff\tp\tn\n", "a.tsv: not UTF-8 text, at row"),
        ("a.jsonl", b"{", "a.jsonl: row 1: not JSON"),
        ("a.jsonl", b"[]", "a.jsonl: row 1: must be an object"),
        ("a.jsonl", b'{"query": "q", "positive": "p"}', "a.jsonl: row 1: needs texts under query"),
        ("a.jsonl", b'{"query": "q", "positive": "p", "negatives": [1]}', "a.jsonl: row 1: needs texts"),
        (
            "a.jsonl",
            b'{"query": "q", "positive": "\\ud800", "negative": "n"}',
            "a.jsonl: row 1: y holds half",
        ),
        ("a.gz", b"", "a.gz: unknown kind; give .tsv or .jsonl files, unpacked"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path}/{message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "table"),
    [(("9", "10", "20"), "queries"), (("1", "99", "20"), "collection"), (("1", "10", "99"), "collection")],
)
def test_an_id_without_a_text(tmp_path: Path, texts: Texts, row: tuple[str, ...], table: str) -> None:
    path = write_tsv(tmp_path / "ids.tsv", [("2", "11", "20"), row])
    with pytest.raises(
        DataError, match=rf"ids\.tsv: row 2: id (9|99) is not in .*{table}\.tsv; give the table"
    ):
        read(path, texts=texts)


def test_ids_do_not_go_with_jsonl_and_files_must_be_there(tmp_path: Path, texts: Texts) -> None:
    with pytest.raises(DataError, match=r"absent\.tsv: no such file"):
        read(tmp_path / "absent.tsv")
    (tmp_path / "a.jsonl").write_text("{}")
    with pytest.raises(DataError, match=r"row 1: --queries and --collection go with \.tsv files"):
        read(tmp_path / "a.jsonl", texts=texts)


def test_a_lookup_finds_every_text_and_nothing_else(tmp_path: Path) -> None:
    rows = {f"id{i}": f"text {i} é\twith a tab" for i in range(500)}
    table = Lookup(write_tsv(tmp_path / "t.tsv", list(rows.items())))
    assert {key: table[key] for key in rows} == rows
    assert "id7" in table
    assert "id500" not in table
    assert "\ud800" not in table
    with pytest.raises(KeyError):
        table["text 1"]


def test_a_lookup_survives_equal_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xxhash, "xxh64_intdigest", lambda data: len(data))
    table = Lookup(write_tsv(tmp_path / "t.tsv", [("aa", "1"), ("b", "2"), ("cc", "3")]))
    assert [table[key] for key in ("aa", "b", "cc")] == ["1", "2", "3"]
    assert "dd" not in table


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1\ta\n2 b\n", "row 2: must be an id, a tab and a text"),
        (b"\ta\n", "row 1: must be an id, a tab and a text"),
        (b"", "is empty"),
        (b"1\ta\n1\tb\n", "id 1 is there twice"),
    ],
)
def test_bad_tables(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.tsv").write_bytes(content)
    with pytest.raises(DataError, match=rf"t\.tsv: {message}"):
        Lookup(tmp_path / "t.tsv")
    with pytest.raises(DataError, match=r"absent: cannot be read"):
        Lookup(tmp_path / "absent")


def test_a_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_bytes(b"1\ta\n2\t\xff\n")
    with pytest.raises(DataError, match=r"t\.tsv: id 2: not UTF-8 text"):
        Lookup(tmp_path / "t.tsv")["2"]


def test_a_query_of_two_ids_is_one_document(tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text("1\tsame  query\n2\tsame query\n")
    (tmp_path / "c.tsv").write_text("".join(f"{i}\tpassage {i}\n" for i in range(6)))
    (tmp_path / "t.tsv").write_text("1\t0\t1\n1\t0\t3\n2\t3\t4\n")
    texts = Texts(Lookup(tmp_path / "q.tsv"), Lookup(tmp_path / "c.tsv"))
    pairs = read_triples([tmp_path / "t.tsv"], Report(), texts=texts)
    assert {pair.document for pair in pairs} == {"same query"}
    assert "passage 3" not in pairs[0].negatives  # the right answer of the same query
