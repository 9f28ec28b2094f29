"""Streams: what is held out of every pass."""

from __future__ import annotations
import pytest
import sys
import types
import random
from lightning_cpt.data.streams import Cursor, StreamPairs
from lightning_cpt.data.plugin import Plugin


def test_what_a_stream_holds_out_is_in_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shuffled:
        number = 0

        def set_epoch(self, number):
            self.number = number

        def __iter__(self):
            rows = [{"x": f"q{i}", "y": f"a{i}"} for i in range(20)]
            random.Random(self.number).shuffle(rows)
            return iter(rows)

    module = types.ModuleType("shuffled_source")
    module.Shuffled = Shuffled
    monkeypatch.setitem(sys.modules, "shuffled_source", module)
    plugin = Plugin("data.sources.mine", "shuffled_source.Shuffled")
    stream = StreamPairs(plugin, "mine", plugin.build(), held_out=5)
    held = {record["x"] for record in stream.held_records}
    trained = Cursor(stream).take(0, 60, set(range(60)))
    assert held.isdisjoint(record["x"] for record in trained.values())
