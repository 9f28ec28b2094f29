"""Times training steps without what lies between them, also on a device that works on after a step was asked of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from lightning_cpt.peak import synchronize


class _Lap(NamedTuple):
    asked: float  # when the loop asked for the batch
    got: float  # when it had it
    ended: float  # when the step was asked of the device
    mark: Any  # where the device then stood, None where it works at once


class Stopwatch:
    """Adds up laps: each from the moment the loop asks for a batch until the batch's work is done.

    What comes after that and before the next batch is asked for is no training: validation, probes, checkpoints,
    log files, other callbacks. On CUDA the work ends later than the call that asks for it. A mark is left on the
    device at each end, and all are read after one synchronisation, in :meth:`read`: so no step has to wait, and a
    long pause behind a step does not hide the work that was still going on in it.

    Args:
        device: The device that does the work.
        clock: Seconds.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        self.device = device
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """Forget all laps."""
        synchronize(self.device)
        self._laps: list[_Lap] = []
        self._zero, self._zero_mark = self._clock(), _mark(self.device)  # the same moment on both clocks

    def now(self) -> float:
        return self._clock()

    def lap(self, asked: float, got: float) -> None:
        """A batch that was asked for and handed over at these times, and has been trained on now."""
        self._laps.append(_Lap(asked, got, self._clock(), _mark(self.device)))

    def read(self) -> tuple[float, float]:
        """Seconds of the laps since the last reading, and how many of them were spent waiting for batches.

        Waiting counts only from where the device had nothing left to do.
        """
        synchronize(self.device)
        seconds = waited = 0.0
        free = self._zero  # when the device had done all laps before
        for lap in self._laps:
            begin = max(lap.asked, free)
            waited += max(lap.got - begin, 0)
            free = max(self._end(lap), begin)
            seconds += free - begin
        self.restart()
        return seconds, waited

    def _end(self, lap: _Lap) -> float:
        if lap.mark is None:
            return lap.ended
        return max(lap.ended, self._zero + self._zero_mark.elapsed_time(lap.mark) / 1000)


def _mark(device: torch.device) -> Any:
    if device.type != "cuda":
        return None
    mark = torch.cuda.Event(enable_timing=True)
    mark.record(torch.cuda.current_stream(device))
    return mark
