"""Measured code in processes of its own: asked in turn, alike in threads and allocator, memory truly seen."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_BLOCK = 32 << 20  # bytes; the largest that glibc takes from its own heap
# A process that trains keeps the memory of the step before; it is given back between steps by `trim` alone.
_MALLOC = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(_BLOCK),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 42),
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # to ask for a GPU at an import does not begin CUDA before the fork
}


class WorkerLost(RuntimeError):
    """The process ended or the call failed; the text says why."""


class Worker:
    """An object in a fresh process, whose methods are called from here.

    Args:
        make: Makes the object there; a function or class that can be imported.
        arguments, options: What it is made from.
        preload: Modules that the server of processes imports once, for all.
    """

    def __init__(
        self, make: Callable[..., Any], *arguments: Any, preload: tuple[str, ...] = (), **options: Any
    ) -> None:
        os.environ.update(_MALLOC)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(preload))
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments, options), daemon=True)
        self._process.start()
        theirs.close()
        self._answer()

    def ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        """The method's result.

        Raises:
            WorkerLost: it raised, or the process is gone.
        """
        try:
            self._connection.send((method, arguments, options))
        except OSError:
            raise WorkerLost("the process is gone") from None
        return self._answer()

    def _answer(self) -> Any:
        try:
            good, value = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(5)
            raise WorkerLost(
                f"the process ended ({self._process.exitcode}); -9 is mostly out of memory"
            ) from None
        if not good:
            raise WorkerLost(value)
        return value

    def close(self) -> None:
        with suppress(OSError):
            self._connection.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
        self._connection.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(
    connection: Connection, make: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    with suppress(KeyboardInterrupt, EOFError):  # Ctrl-C reaches the children too; the parent reports it
        made: Any = None
        call: Any = ("__init__", arguments, options)
        while call is not None:
            method, given, named = call
            try:
                value = None
                if made is None:
                    made = make(*given, **options)
                else:
                    value = getattr(made, method)(*given, **named)
                connection.send((True, value))
            except Exception as error:
                if os.environ.get("BENCHMARK_DEBUG"):
                    traceback.print_exc()
                connection.send((False, f"{type(error).__name__}: {error}"))
                if made is None:
                    return
            call = connection.recv()


class HostPeak:
    """How far the process's resident memory rises inside the block, in bytes: ``rise`` after it."""

    def __enter__(self) -> HostPeak:
        trim()
        self._reset = _reset_peak()
        self._start = _status("VmRSS")
        self.rise = 0
        return self

    def __exit__(self, *_: object) -> None:
        # Where the peak cannot be reset it is that of the process's life, which is why the process is a fresh one.
        self.rise = max(0, _status("VmHWM") - self._start)


def trim() -> None:
    """Give freed memory back to the system."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def touch(size: int) -> None:
    """Have ``size`` bytes of pages at hand, as in a process that has made such a step before."""
    blocks = [bytearray(_BLOCK // 2) for _ in range(size // (_BLOCK // 2))]
    for block in blocks:
        block[::4096] = b"x" * len(block[::4096])


def _reset_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _status(key: str) -> int:
    """Bytes under a key of /proc/self/status."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return 0


@contextmanager
def closing_all(workers: dict[str, Worker]) -> Iterator[dict[str, Worker]]:
    """Ends all workers at the block's end, however it is left."""
    try:
        yield workers
    finally:
        for worker in workers.values():
            worker.close()
