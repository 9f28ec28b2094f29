"""Work in several processes: the items and their order are those of one, and no failure is swallowed or hangs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from data_prep.errors import DataError
from data_prep.spool import in_order


def count(task: int) -> Iterator[tuple[int, int]]:
    return ((task, i) for i in range(300 * (task % 3)))


def fail(task: int) -> Iterator[int]:
    yield task
    if task == 3:
        raise DataError("task 3: is wrong")


def die(task: int) -> Iterator[int]:
    yield task
    if task == 3:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_the_order_is_that_of_the_tasks(processes: int) -> None:
    expected = [item for task in range(20) for item in count(task)]
    assert list(in_order(count, range(20), processes)) == expected


@pytest.mark.parametrize("processes", [1, 2])
def test_a_mistake_comes_out(processes: int) -> None:
    stream = in_order(fail, range(10), processes)
    assert next(stream) == 0
    with pytest.raises(DataError, match="task 3: is wrong"):
        list(stream)


def test_a_killed_process_is_one_line() -> None:
    with pytest.raises(DataError, match="try again with fewer --processes"):
        list(in_order(die, range(10), 2))


def endless(task: int) -> Iterator[int]:
    if task == 0:
        raise DataError("task 0: is wrong")
    while True:
        yield task


def test_work_that_is_under_way_is_stopped() -> None:
    with pytest.raises(DataError, match="task 0"):
        list(in_order(endless, range(4), 2))


def test_nobody_waits_for_the_rest() -> None:
    stream = in_order(count, range(50), 2)
    assert next(stream) == (1, 0)
    stream.close()  # type: ignore[attr-defined]
