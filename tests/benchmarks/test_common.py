"""Results go on where an interrupted run stopped; what cannot be mixed is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.common import Record, alternate, summary, table
from lightning_cpt.errors import ConfigError

SETTINGS = {"device": "cpu", "pairs": 8, "sizes": (1, 2)}


def test_summary_is_median_and_spread():
    assert summary([3.0, 1.0, 10.0]) == {"median": 3.0, "low": 1.0, "high": 10.0, "values": [3.0, 1.0, 10.0]}


def test_repetitions_alternate_the_other_way_round_every_second_time():
    order: list[str] = []
    record = Record(None, "b", SETTINGS)
    sides = {name: lambda name=name: order.append(name) for name in "abc"}
    alternate(record, sides, 3, lambda *_: None)
    assert "".join(order) == "abccbaabc"


def test_an_interrupted_run_goes_on(tmp_path: Path):
    path, asked = tmp_path / "r.json", []

    def ask() -> int:
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(1)
        return len(asked)

    with pytest.raises(KeyboardInterrupt):
        alternate(Record(path, "b", SETTINGS), {"one": ask}, 5, lambda *_: None)
    record = Record(path, "b", SETTINGS)
    assert record.runs("one") == [1, 2, 3]
    alternate(record, {"one": lambda: 0}, 5, lambda *_: None)
    assert json.loads(path.read_text())["runs"]["one"] == [1, 2, 3, 0, 0]


def test_no_round_begins_after_the_minutes():
    record = Record(None, "b", SETTINGS)
    alternate(record, {"one": lambda: 1, "two": lambda: 2}, 5, lambda *_: None, minutes=0)
    assert record.runs("one") == [1]
    assert record.runs("two") == [2]


def test_once_measures_once_even_where_nothing_came_of_it(tmp_path: Path):
    record = Record(tmp_path / "r.json", "b", SETTINGS)
    assert record.once("none", lambda: None) is None
    assert Record(tmp_path / "r.json", "b", SETTINGS).once("none", lambda: 1) is None


@pytest.mark.parametrize(
    ("name", "settings", "shown"),
    [("b", {**SETTINGS, "pairs": 9}, "settings.pairs 8, not 9"), ("c", SETTINGS, "benchmark b, not c")],
)
def test_other_results_are_not_continued(tmp_path: Path, name: str, settings: dict, shown: str):
    Record(tmp_path / "r.json", "b", SETTINGS).add("one", 1)
    with pytest.raises(ConfigError, match=shown):
        Record(tmp_path / "r.json", name, settings)
    assert Record(tmp_path / "r.json", name, settings, fresh=True).runs("one") == []


@pytest.mark.parametrize("text", ["", "[]", "{}", "not json"])
def test_a_file_that_is_no_result_is_named(tmp_path: Path, text: str):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ConfigError, match=r"r\.json is no result"):
        Record(tmp_path / "r.json", "b", SETTINGS)


def test_the_environment_names_no_machine(tmp_path: Path):
    import os
    import platform

    text = json.dumps(Record(None, "b", SETTINGS).data)
    assert os.getcwd() not in text
    assert platform.node() == "" or f'"{platform.node()}"' not in text


def test_a_table_is_aligned():
    lines = table(["name", "n", "x"], [["a", 12345, 1.5], ["longer", None, 123.456]]).splitlines()
    assert lines == ["name         n      x", "a       12,345  1.500", "longer       -  123.5"]
