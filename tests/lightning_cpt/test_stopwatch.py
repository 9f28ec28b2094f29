"""The stopwatch with a clock that the test moves, on a device that works at once and on one that lags behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightning_cpt import stopwatch
from lightning_cpt.stopwatch import Stopwatch


class Clock:
    """Seconds, and when the device will have done what it was asked for."""

    def __init__(self) -> None:
        self.time = 100.0
        self.device = 0.0

    def __call__(self) -> float:
        return self.time

    def work(self, seconds: float) -> None:
        self.device = max(self.device, self.time) + seconds

    def synchronize(self, device: Any) -> None:
        self.time = max(self.time, self.device)

    def mark(self, device: Any) -> Mark:
        return Mark(max(self.time, self.device))


class Mark:
    """As torch.cuda.Event, with a clock of its own zero."""

    def __init__(self, at: float) -> None:
        self.at = at

    def elapsed_time(self, later: Mark) -> float:
        return 1000 * (later.at - self.at)


def step(watch: Stopwatch, clock: Clock, wait: float, work: float, pause: float = 0.0) -> None:
    """A step on a device that works at once, and a pause behind it."""
    asked = clock.time
    clock.time += wait
    got = clock.time
    clock.time += work
    watch.lap(asked, got)
    clock.time += pause


def test_what_lies_between_steps_does_not_count() -> None:
    clock = Clock()
    watch = Stopwatch(torch.device("cpu"), clock)
    clock.time += 50
    step(watch, clock, wait=1, work=2, pause=30)
    step(watch, clock, wait=0.5, work=3, pause=7)
    assert watch.read() == pytest.approx((6.5, 1.5))
    assert watch.read() == (0, 0)
    step(watch, clock, wait=1, work=1)
    assert watch.read() == pytest.approx((2, 1))


@pytest.fixture
def lagging(monkeypatch: pytest.MonkeyPatch) -> tuple[Stopwatch, Clock]:
    clock = Clock()
    monkeypatch.setattr(stopwatch, "synchronize", clock.synchronize)
    monkeypatch.setattr(stopwatch, "_mark", clock.mark)
    return Stopwatch(torch.device("cuda"), clock), clock


def submit(watch: Stopwatch, clock: Clock, wait: float, work: float, pause: float = 0.0) -> None:
    """A step that is only asked of the device, in no time."""
    asked = clock.time
    clock.time += wait
    clock.work(work)
    watch.lap(asked, clock.time)
    clock.time += pause


def test_a_device_that_lags_behind_counts_until_it_is_done(lagging: tuple[Stopwatch, Clock]) -> None:
    watch, clock = lagging
    for _ in range(3):
        submit(watch, clock, wait=0, work=2)
    assert clock.time == 100
    assert watch.read() == pytest.approx((6, 0))


def test_a_pause_hides_no_work(lagging: tuple[Stopwatch, Clock]) -> None:
    """The device works for 2 of the pause's 10 seconds; the other 8 are no training."""
    watch, clock = lagging
    submit(watch, clock, wait=0, work=2, pause=10)
    submit(watch, clock, wait=0, work=2)
    assert watch.read() == pytest.approx((4, 0))


def test_waiting_counts_from_when_the_device_is_idle(lagging: tuple[Stopwatch, Clock]) -> None:
    """The second batch is waited for 3 seconds, 2 of which the device still works on the first."""
    watch, clock = lagging
    submit(watch, clock, wait=0, work=2)
    submit(watch, clock, wait=3, work=2)
    assert watch.read() == pytest.approx((5, 1))
    submit(watch, clock, wait=0, work=2)
    submit(watch, clock, wait=1, work=2)
    assert watch.read() == pytest.approx((4, 0))
