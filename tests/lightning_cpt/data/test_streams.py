"""Streams: what is held out of every pass, and a pool that is no longer than a pass."""

from __future__ import annotations

import random
import sys
import types
from collections.abc import Iterator

import pytest

from lightning_cpt.data.evaluation import fixed_pool
from lightning_cpt.data.plugin import Plugin
from lightning_cpt.data.streams import Cursor, StreamPairs


class Shuffled:
    number = 0

    def set_epoch(self, number: int) -> None:
        self.number = number

    def __iter__(self) -> Iterator[dict[str, str]]:
        rows = [{"x": f"q{i}", "y": f"a{i}"} for i in range(20)]
        random.Random(self.number).shuffle(rows)
        return iter(rows)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Plugin:
    module = types.ModuleType("shuffled_source")
    module.Shuffled = Shuffled  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shuffled_source", module)
    return Plugin("data.sources.mine", "shuffled_source.Shuffled")


def test_what_a_stream_holds_out_is_in_no_pass(plugin: Plugin) -> None:
    stream = StreamPairs(plugin, "mine", plugin.build(), held_out=5)
    held = {record["x"] for record in stream.held_records}
    trained = Cursor(stream).take(0, 60, set(range(60)))
    assert held.isdisjoint(record["x"] for record in trained.values())


@pytest.mark.parametrize(("size", "found"), [(7, 7), (20, 20), (1000, 20)])
def test_a_pool_has_each_record_of_a_stream_once(plugin: Plugin, size: int, found: int) -> None:
    pool = fixed_pool(StreamPairs(plugin, "mine", plugin.build()), 0, size)
    assert len(pool) == len({record["x"] for record in pool}) == found
