"""Work in processes of its own: results and errors come back, memory is seen."""

from __future__ import annotations

import io

import pytest

from benchmarks.processes import HostPeak, Worker, WorkerLost


def test_an_object_in_another_process_answers_and_reports_what_it_raises():
    with Worker(io.StringIO, "abc") as worker:
        assert worker.ask("getvalue") == "abc"
        with pytest.raises(WorkerLost, match="AttributeError"):
            worker.ask("nothing")
        assert worker.ask("read", 2) == "ab"


def test_what_cannot_be_made_is_reported():
    with pytest.raises(WorkerLost, match="TypeError"):
        Worker(io.StringIO, 3)


def test_the_peak_is_that_of_the_block_alone():
    size = 64 << 20
    with HostPeak() as first:
        big = bytearray(2 * size)
        del big
    with HostPeak() as second:
        big = bytearray(size)
        del big
    assert 1.9 * size < first.rise < 2.6 * size
    assert 0.9 * size < second.rise < 1.6 * size
