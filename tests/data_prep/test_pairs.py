"""The record's checks: each mistake is one line that names the place and the field."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import CorruptChunk, DataError
from data_prep.pairs import Pair
from data_prep.report import Report
from data_prep.tables import read_pairs


def test_round_trip() -> None:
    pair = Pair("a", "x", "y", ["n"], "s", {"document": "d", "span": [1, 2]})
    assert Pair.from_dict(pair.to_dict(), "here") == pair
    assert pair.document == "d"


def test_defaults_and_unknown_keys() -> None:
    pair = Pair.from_dict({"x": "a", "y": "b", "url": "u", "id": 7, "meta": None, "negatives": None}, "here")
    assert pair == Pair("7", "a", "b", [], "", {"url": "u"})
    assert pair.document == "7"
    assert Pair.from_dict({"x": "a", "y": "b"}, "here", default_id="row 3").id == "row 3"


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ({"id": "i", "x": "a"}, "no y"),
        ({"id": "i", "x": None, "y": "b"}, "no x"),
        ({"id": "i", "x": "a", "y": 3}, "y must be a string, not int"),
        ({"id": "i", "x": " \n", "y": "b"}, "x is empty"),
        ({"x": "a", "y": "b"}, "no id"),
        ({"id": True, "x": "a", "y": "b"}, "no id, or not a string"),
        ({"id": "i", "x": "a", "y": "b", "negatives": "n"}, "negatives must be a list"),
        ({"id": "i", "x": "a", "y": "b", "negatives": [1]}, "negatives must be a list"),
        ({"id": "i", "x": "a", "y": "b", "meta": [1]}, "meta must be an object"),
        ({"id": "i", "x": "a\ud800", "y": "b"}, "x holds half a surrogate pair"),
        (["x", "y"], "must be an object with x and y, not list"),
    ],
)
def test_bad_records(record: Any, what: str) -> None:
    with pytest.raises(DataError) as caught:
        Pair.from_dict(record, "file.jsonl: row 3")
    assert str(caught.value).startswith("file.jsonl: row 3: ")
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_corrupt_chunk_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(CorruptChunk("a.tar", 3, "a.tar: chunk 3: bad")))
    assert (error.shard, error.chunk, str(error)) == ("a.tar", 3, "a.tar: chunk 3: bad")
    assert isinstance(error, ValueError)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("document", [0, False, 0.0])
def test_a_document_called_0_is_one_document(tmp_path: Path, document: Any) -> None:
    path = write_rows(
        tmp_path / "p.jsonl", [{"x": f"q{i}", "y": f"a{i}", "document": document} for i in range(9)]
    )
    assert {pair.document for pair in read_pairs([path], Report())} == {str(document)}
    assert Pair.from_dict({"id": "a", "x": "q", "y": "a", "document": 0}, "here").document == "0"
