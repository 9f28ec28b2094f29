"""Works on tasks in several processes and yields what they make in the tasks' order, through files on disk."""

from __future__ import annotations

import errno
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from data_prep.errors import DataError

_ITEMS_PER_BATCH = 256
_STOP = "stop"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
KILLED = "a worker process was killed, perhaps for its memory; try again with fewer --processes"


def in_order(work: Callable[[Any], Iterator[Any]], tasks: Iterable[Any], processes: int) -> Iterator[Any]:
    """Yield what ``work(task)`` yields, for one task after the other.

    With several processes each task is worked on by one of them and its items wait on disk (in the folder
    ``TMPDIR`` names) for their turn, so that neither side's memory grows with what a task yields.

    Raises:
        DataError: a process was killed; whatever ``work`` raises.
    """
    if processes == 1:
        for task in tasks:
            yield from work(task)
        return
    with TemporaryDirectory(prefix="cpt-prep-") as folder, ProcessPoolExecutor(processes) as pool:
        waiting: deque[tuple[Path, Future[None]]] = deque()
        try:
            for number, task in enumerate(tasks):
                path = Path(folder, f"{number}")
                waiting.append((path, pool.submit(_fill, work, task, path)))
                if len(waiting) > 2 * processes:
                    yield from _drain(*waiting.popleft())
            while waiting:
                yield from _drain(*waiting.popleft())
        except BrokenProcessPool:
            raise DataError(KILLED) from None
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise DataError(
                f"{folder}: {error.strerror}; free some space, or name another folder as TMPDIR"
            ) from None
        finally:
            Path(folder, _STOP).touch()
            pool.shutdown(cancel_futures=True)


def _fill(work: Callable[[Any], Iterator[Any]], task: Any, path: Path) -> None:
    items, stop = work(task), path.with_name(_STOP)
    with open(path, "wb") as file:
        while (batch := list(islice(items, _ITEMS_PER_BATCH))) and not stop.exists():
            pickle.dump(batch, file, pickle.HIGHEST_PROTOCOL)


def _drain(path: Path, filled: Future[None]) -> Iterator[Any]:
    filled.result()
    with open(path, "rb") as file:
        while True:
            try:
                batch = pickle.load(file)
            except EOFError:
                break
            yield from batch
    path.unlink()
