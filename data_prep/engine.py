"""Runs the tasks of a stage through datatrove's executors: processes of this machine, Ray, or SLURM's job files."""

from __future__ import annotations

import json
import logging
import math
import os
import shlex
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from data_prep.errors import DataError

try:
    import dill
    from datatrove.executor.base import PipelineExecutor
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.executor.ray import RayPipelineExecutor
    from datatrove.executor.slurm import SlurmPipelineExecutor
    from datatrove.pipeline.base import PipelineStep
    from loguru import logger
except ImportError:
    raise DataError("`cpt prep run` needs datatrove: pip install 'lightning-cpt[prep]'") from None

TRIES = 3  # of the tasks that a killed process took with it
SCRIPT, SUBMIT = "launch_script.slurm", "submit.sh"

Task = Callable[[int], None]


class Step(PipelineStep):
    """One stage as datatrove knows it: a function of the rank.

    Args:
        name: The stage.
        task: What is done for a rank; pickled, so it stands at the top level of its file.
    """

    type = "cpt"

    def __init__(self, name: str, task: Task) -> None:
        self.name = name
        super().__init__()
        self._task = task

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Do the task; there is nothing to hand on, results are files."""
        self._task(rank)


def run_rank(executor: Any, rank: int) -> int:
    """One task, in whatever process; datatrove marks it as completed."""
    logger.disable("datatrove")  # a mistake is told in one line, by the process that waits
    executor._run_for_rank(rank, 1)
    return rank


class LocalExecutor(LocalPipelineExecutor):
    """Processes of this machine. Unlike its base it notices that one was killed, and does its tasks once more."""

    def run(self, on_task: Callable[[int], object] = lambda count: None) -> None:
        """Do all tasks that are not completed.

        Raises:
            DataError: a task's mistake; processes are killed again and again.
        """
        todo = _todo(self, on_task)
        if self.workers == 1 or len(todo) <= 1:
            for rank in todo:
                run_rank(self, rank)
                on_task(1)
            return
        for attempt in range(TRIES):
            try:
                _in_processes(self, todo, on_task)
                return
            except BrokenProcessPool:
                todo = self.get_incomplete_ranks(range(self.tasks))
                if not todo:  # it had handed in its last one
                    return
                if attempt + 1 < TRIES:
                    print(f"a worker was killed; {len(todo)} task(s) are done again", file=sys.stderr)
        raise DataError(
            "worker processes were killed, perhaps for their memory; the same command with fewer --workers goes on"
        )


def _in_processes(executor: LocalExecutor, todo: list[int], on_task: Callable[[int], object]) -> None:
    with ProcessPoolExecutor(min(executor.workers, len(todo)), mp_context=get_context("forkserver")) as pool:
        try:
            for done in as_completed([pool.submit(run_rank, executor, rank) for rank in todo]):
                done.result()
                on_task(1)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class RayExecutor(RayPipelineExecutor):
    """Tasks of a Ray cluster: that of RAY_ADDRESS, else one of this machine.

    Its base runs a task in a child of the worker, and waits for ever where the child alone is killed; a plain Ray
    task is run again by Ray itself.
    """

    _run_for_rank = PipelineExecutor._run_for_rank  # with its log beside the completion marks, not in /tmp

    def run(self, on_task: Callable[[int], object] = lambda count: None) -> None:
        """Do all tasks that are not completed, ``workers`` at a time.

        Raises:
            DataError: a task's mistake; Ray is not installed; workers are killed again and again.
        """
        ray = _connected(self.workers)
        todo = _todo(self, on_task)
        work = ray.remote(run_rank).options(num_cpus=self.cpus_per_task, max_retries=TRIES, name="cpt-prep")
        executor, running = ray.put(self), list[Any]()
        try:
            while todo or running:
                while todo and len(running) < self.workers:
                    running.append(work.remote(executor, todo.pop(0)))
                done, running = ray.wait(running, num_returns=1)
                ray.get(done)
                on_task(1)
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, DataError) else error) from None
        except ray.exceptions.RayError:  # a worker, its machine or what it held in memory is gone
            raise DataError(
                "Ray's workers were killed, perhaps for their memory; the same command with fewer --workers goes on"
            ) from None
        finally:
            for one in running:
                ray.cancel(one, force=True)


def _connected(workers: int) -> Any:
    try:
        import ray
    except ImportError:
        raise DataError("--executor ray needs Ray: pip install 'lightning-cpt[ray]'") from None
    if not ray.is_initialized():
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if not os.environ.get("RAY_ADDRESS"):
            options |= {"address": "local", "num_cpus": workers, "include_dashboard": False}
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise DataError(f"Ray cannot be reached: {' '.join(str(error).split())}") from None
    return ray


def _todo(executor: Any, on_task: Callable[[int], object]) -> list[int]:
    todo: list[int] = executor.get_incomplete_ranks(range(executor.tasks))
    on_task(executor.tasks - len(todo))
    return todo


class SlurmExecutor(SlurmPipelineExecutor):
    """Writes the job file of a stage, with what it needs, and submits nothing."""

    def write(self) -> list[Path]:
        """The job files: one, unless there are more tasks than an array may have."""
        folder = Path(self.logging_dir.resolve_paths("."))
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "executor.pik", "wb") as file:
            dill.dump(deepcopy(self), file, fmode=dill.CONTENTS_FMODE)
        (folder / "ranks_to_run.json").write_text(json.dumps(list(range(self.tasks))))
        array = min(self.tasks, self.max_array_size)
        command = f"srun -l -n 1 launch_pickled_pipeline {shlex.quote(str(folder / 'executor.pik'))}"
        text = self.get_launch_file_contents(self.get_sbatch_args(array), command)
        (folder / SCRIPT).write_text(text)
        return [folder / SCRIPT] * math.ceil(self.tasks / array)

    def run(self) -> None:
        """In a job: the tasks of its place in the array."""
        logger.disable("datatrove")
        super().run()


def make_executor(
    kind: str, name: str, task: Task, tasks: int, workers: int, folder: Path, slurm: dict[str, Any]
) -> Any:
    """The executor of one stage.

    Args:
        kind: ``local``, ``ray`` or ``slurm``.
        name: The stage's.
        task: What is done for a rank.
        tasks: How many ranks.
        workers: How many at a time.
        folder: Gets completion marks and logs; seen by all machines.
        slurm: partition, time, memory_gb, qos, environment, sbatch.
    """
    logger.disable("datatrove")
    options: dict[str, Any] = {"pipeline": [Step(name, task)], "tasks": tasks, "logging_dir": str(folder)}
    if kind == "local":
        return LocalExecutor(**options, workers=workers)
    if kind == "ray":
        return RayExecutor(**options, workers=workers)
    return SlurmExecutor(
        **options,
        workers=workers,
        job_name=f"cpt-prep-{name}",
        partition=slurm["partition"],
        time=slurm["time"],
        mem_per_cpu_gb=slurm.get("memory_gb", 4),
        qos=slurm.get("qos", ""),
        env_command=slurm.get("environment"),
        sbatch_args=slurm.get("sbatch"),
    )


def submit_script(stages: list[tuple[str, list[Path]]]) -> str:
    """A shell script that submits the stages one after the other, each when all jobs of the one before went well.

    Args:
        stages: Names, and the job files: the same one several times where one array is too short.
    """
    lines = ["#!/bin/bash", "# Submits all stages; run it on a machine that has sbatch.", "set -e", "after="]
    for name, scripts in stages:
        lines.append("jobs=")
        for offset, script in enumerate(scripts):
            lines.append(
                f"jobs=$jobs:$(sbatch --parsable $after --export=ALL,RUN_OFFSET={offset} {shlex.quote(str(script))})"
            )
        lines += ["after=--dependency=afterok$jobs", f'echo "{name}: ${{jobs#:}}"']
    return "\n".join(lines) + "\n"
