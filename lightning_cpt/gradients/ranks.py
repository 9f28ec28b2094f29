"""Real gloo processes, started once, that compute gradients of a model they were handed at the start."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from typing import Any

from lightning_cpt.errors import ConfigError
from lightning_cpt.gradients.measure import Gradients, Job

PATIENCE = 120.0  # seconds for one job; no rank may wait for another for ever
_PRELOAD = [
    "torch.distributed",
    "torch._dynamo",
    "transformers.modeling_utils",
    "lightning_cpt.gradients.measure",
]


def warm_up() -> None:
    """Start the server that ranks are forked from; it imports on the second core while this process reads on."""
    from multiprocessing import forkserver

    # Forked from a process that has imported torch, but never run it: quick, and no threads are lost.
    multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOAD)
    with _deaf_children():
        forkserver.ensure_running()


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes started here ignore Ctrl-C, which is for the one that starts, and stops, them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class Order:
    """A job for some ranks.

    Args:
        job: What each of them computes.
        world_size: How many they are; 1 needs no process group.
        store: File by which the ranks of a group find each other, another one for each group; empty for one process.
    """

    job: Job
    world_size: int
    store: str


class Ranks:
    """Processes that wait for work. To be used as a context manager: no process is left behind.

    Args:
        most: Number of ranks of the largest group; one process more works beside them.
        patience: Seconds after which a rank that has not answered counts as hung.
    """

    def __init__(self, most: int, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._folder = tempfile.TemporaryDirectory()
        self._ranks: list[tuple[Any, Connection]] = []
        self.beside = most  # number of the process that works alone
        self._world_size = self._groups = 0
        warm_up()
        context = multiprocessing.get_context("forkserver")
        try:
            for rank in range(most + 1):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, rank, patience), daemon=True)
                process.start()
                theirs.close()
                self._ranks.append((process, ours))
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def load(self, step: bytes) -> None:
        """Hand the processes the pickled Step that their jobs start from, and the places to import it from.

        Returns when all of them have imported what it needs, so that no job's patience has to cover that.

        Raises:
            ConfigError: one cannot read it, died, or is not ready after two minutes.
        """
        for _, pipe in self._ranks:
            pipe.send_bytes(pickle.dumps((sys.path, step)))
        for rank, (_, pipe) in enumerate(self._ranks):
            where = f"check-gradients: process {rank}, at its start,"
            if not pipe.poll(PATIENCE):
                raise ConfigError(f"{where} gave no answer within {PATIENCE:.0f} s")
            self._read(rank, where)

    def run(self, world_size: int, job: Job) -> list[Gradients]:
        """The job on the first ``world_size`` processes as one group; the gradients in the order of the ranks."""
        ranks = range(world_size)
        self.send(ranks, job, world_size)
        return self.receive(ranks, job)

    def send(self, ranks: Sequence[int], job: Job, world_size: int = 1) -> None:
        """Give the job to the processes, and do not wait."""
        order = Order(job, world_size, self._store(world_size))
        for rank in ranks:
            try:
                self._ranks[rank][1].send_bytes(pickle.dumps(order))
            except OSError:
                raise self._death(rank, _where(job, rank, len(ranks))) from None

    def _store(self, world_size: int) -> str:
        """Path of the group's file, a new one whenever another group is to be made; none for a process alone."""
        if world_size != self._world_size:
            self._world_size, self._groups = world_size, self._groups + 1
        return f"{self._folder.name}/group-{self._groups}" if world_size > 1 else ""

    def receive(self, ranks: Sequence[int], job: Job) -> list[Gradients]:
        """What the processes found.

        Raises:
            ConfigError: one failed, died or hung; all are stopped then, since the others may wait for it.
        """
        answers: dict[int, Gradients] = {}
        pipes = {self._ranks[rank][1]: rank for rank in ranks}
        end = time.monotonic() + self._patience
        while len(answers) < len(ranks):
            open_pipes = [pipe for pipe, rank in pipes.items() if rank not in answers]
            ready = wait(open_pipes, timeout=max(0.0, end - time.monotonic()))
            if not ready:
                raise ConfigError(
                    f"{_where(job, pipes[open_pipes[0]], len(ranks))} gave no answer within {self._patience:.0f} s: "
                    "it hangs, or waits for a rank that does not take part in its exchange"
                )
            for pipe in ready:
                rank = pipes[pipe]  # type: ignore[index]
                answers[rank] = self._read(rank, _where(job, rank, len(ranks)))
        return [answers[rank] for rank in ranks]

    def _read(self, rank: int, where: str) -> Any:
        try:
            good, value = pickle.loads(self._ranks[rank][1].recv_bytes())
        except (EOFError, OSError):
            raise self._death(rank, where) from None
        if not good:
            raise ConfigError(f"{where} failed: {value}")
        return value

    def _death(self, rank: int, where: str) -> ConfigError:
        process = self._ranks[rank][0]
        process.join(1)
        code = process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit status {code}"
        return ConfigError(f"{where} died with {how}")

    def stop(self) -> None:
        """Kill and reap all processes."""
        for process, pipe in self._ranks:
            pipe.close()
            process.kill()
        for process, _ in self._ranks:
            process.join()
        self._ranks = []
        self._folder.cleanup()


def _where(job: Job, rank: int, world_size: int) -> str:
    place = f"rank {rank} of {world_size}" if world_size > 1 else "the process"
    return f"check-gradients: {place}, in the case {job.case.name!r} in {job.precision},"


def _serve(pipe: Connection, rank: int, patience: float) -> None:
    """One rank's process: compute what is sent, send back the gradients."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):  # gloo and transformers talk, each rank by itself; errors go through the pipe
        os.dup2(quiet, descriptor)

    import torch

    torch.set_num_threads(1)
    step = b""
    while True:
        try:
            message = pickle.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            if isinstance(message, Order):
                answer: tuple[bool, Any] = (True, _work(message, rank, step, patience))
            else:
                sys.path, step = message
                pickle.loads(step)  # imports what it needs
                answer = (True, None)
        except Exception as error:
            answer = (False, _one_line(error))
        pipe.send_bytes(pickle.dumps(answer))


def _work(order: Order, rank: int, step: bytes, patience: float) -> Gradients:
    from lightning_cpt.gradients.measure import gradients

    _join_group(order, rank, patience)
    return gradients(pickle.loads(step), order.job)


_group: list[str] = []  # store of the group that this process is in, if any


def _join_group(order: Order, rank: int, patience: float) -> None:
    """Be in the order's group and no other, or in none where it has no store."""
    import torch.distributed as dist

    if _group == [order.store]:
        return
    if dist.is_initialized():
        dist.destroy_process_group()
    _group[:] = [order.store]
    if order.store:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{order.store}",
            rank=rank,
            world_size=order.world_size,
            timeout=timedelta(seconds=patience),
        )


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return f"{what} ({last.filename}:{last.lineno})"
