"""Ends every process of the server with the first one, however that ends."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SET_PARENT_DEATH_SIGNAL = 1  # prctl(2)
_PATIENCE = 5.0


def die_with_parent() -> None:
    """Let Linux end this process when its parent dies, even by SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


@contextmanager
def no_child_left() -> Iterator[threading.Event]:
    """Inside, SIGTERM and SIGINT set the event and raise KeyboardInterrupt; at the end no child of this process is alive.

    Children that are forked inside inherit the handlers; there the signals end the process, as uvicorn raises the
    one it was stopped by once more when it is done.
    """
    first = os.getpid()
    active, stopping = True, threading.Event()

    def stop(number: int, frame: Any) -> None:
        if os.getpid() != first:
            os._exit(0)
        stopping.set()
        raise KeyboardInterrupt

    def in_child() -> None:
        if active:
            die_with_parent()

    os.register_at_fork(after_in_child=in_child)
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopping
    finally:
        active = False
        for number in before:
            signal.signal(number, signal.SIG_IGN)  # nothing interrupts the clearing
        for child in multiprocessing.active_children():
            child.terminate()
        for child in multiprocessing.active_children():
            child.join(_PATIENCE)
            if child.is_alive():
                child.kill()
                child.join()
        for number, handler in before.items():
            signal.signal(number, handler)
