"""Hugging Face data sets out of local files: streamed with an exact state, shuffled, whole; mistakes are one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import DataError
from lightning_cpt.data.items import ItemPairs
from lightning_cpt.data.sources import Pairs, checked_sources
from lightning_cpt.data.streams import Cursor, StreamPairs
from lightning_cpt.errors import ConfigError

datasets = pytest.importorskip("datasets")
COUNT = 60


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three jsonl files of 20 rows."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    names = []
    for number in range(3):
        rows = [
            {"q": f"question {i}", "a": f"answer {i}", "n": [f"n{i}"]}
            for i in range(number * 20, number * 20 + 20)
        ]
        names.append(str(tmp_path / f"part{number}.jsonl"))
        Path(names[-1]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return names


def opened(files: list[str], kind: str = "json", **options: Any) -> Pairs:
    arguments = {"path": kind, "data_files": files, "x": "q", "y": "a", **options}
    keys: Any = {"class_path": "lightning_cpt.data.huggingface.pairs", "init_args": arguments}
    return checked_sources(None, {"hf": keys})["hf"].open()["train"]


def taken(cursor: Cursor, start: int, stop: int) -> list[str]:
    return [record["x"] for record in cursor.take(start, stop, set(range(start, stop))).values()]


@pytest.mark.parametrize("kind", ["json", "parquet"])
@pytest.mark.parametrize("place", [1, 20, 33, 59, 60, 61, 75, 125])
def test_a_state_goes_on_behind_it_in_any_pass(
    files: list[str], kind: str, place: int, tmp_path: Path
) -> None:
    if kind == "parquet":
        import pyarrow.json
        import pyarrow.parquet

        for name in files:
            pyarrow.parquet.write_table(
                pyarrow.json.read_json(name), name.replace("jsonl", "parquet"), row_group_size=7
            )
        files = [name.replace("jsonl", "parquet") for name in files]
    stream = opened(files, kind, negatives="n")
    assert isinstance(stream, StreamPairs)
    assert stream.stateful
    whole = taken(Cursor(stream), 0, 190)
    rows = [f"question {i}" for i in range(COUNT)]
    assert whole[:COUNT] == rows
    assert sorted(whole[COUNT : 2 * COUNT]) == sorted(whole[2 * COUNT : 3 * COUNT]) == sorted(rows)
    first = Cursor(stream)
    first.take(0, place, set())
    state = json.loads(json.dumps(first.state()))
    assert state["position"] == place
    assert taken(Cursor(stream, state), place, 190) == whole[place:]


def test_a_shuffled_stream_has_no_state_and_another_order_each_pass(files: list[str]) -> None:
    stream = opened(files, shuffle_buffer=16, seed=3)
    assert isinstance(stream, StreamPairs)
    assert not stream.stateful
    found = taken(Cursor(stream), 0, 120)
    assert sorted(found[:60]) == sorted(found[60:]) == sorted(f"question {i}" for i in range(COUNT))
    assert found[:60] != found[60:] != sorted(found[60:])
    assert taken(Cursor(stream), 0, 120) == found


def test_a_table_has_a_length(files: list[str]) -> None:
    table = opened(files, streaming=False, negatives="n")
    assert isinstance(table, ItemPairs)
    assert table.count == COUNT
    assert table.record(31)["y"] == "answer 31"
    assert table.record(31)["negatives"] == ["n31"]
    assert table.fingerprint == opened(files, streaming=False, negatives="n").fingerprint


def test_mistakes_are_one_line(files: list[str]) -> None:
    with pytest.raises(
        DataError, match=r"^data\.sources\.hf: record 0: no column 'question'; there are q, a, n$"
    ):
        opened(files, x="question")
    with pytest.raises(ConfigError, match=r"^data\.sources\.hf: init_args: json: cannot be opened: [^\n]*$"):
        opened([f"{files[0]}.not"])
    with pytest.raises(ConfigError, match=r"^data\.sources\.hf\.init_args: [^\n]*kolumn[^\n]*$"):
        opened(files, kolumn=1)
