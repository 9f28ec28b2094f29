"""`cpt prep run`: the stages of a pipeline one after the other, each by an executor; goes on where it stopped."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from tqdm import tqdm

from data_prep.errors import DataError
from data_prep.pipeline.config import Pipe
from data_prep.pipeline.plan import ANEW, WORK, Plan, Stage, make_plan
from data_prep.pipeline.stages import DONE, run_task
from data_prep.shards import SPLITS
from data_prep.shards.index import load_manifest
from data_prep.shards.write import check_target

EXECUTORS = ("local", "ray", "slurm")


def run(args: argparse.Namespace, pipe: Pipe, texts: Iterable[tuple[str, str]] | None) -> int:
    """Run a pipeline, or go on with it.

    Args:
        args: ``executor``, ``workers``, ``tasks``, ``overwrite``.
        pipe: What is done.
        texts: (task, text) of evaluation, where the pipeline takes them out.

    Raises:
        DataError: mistakes of any kind; a finished folder without ``overwrite``.
    """
    from data_prep import engine  # datatrove takes a second to import

    _check_slurm(args.executor, pipe)
    _make_way(pipe.out, args.overwrite)
    plan, begun = make_plan(pipe, args.tasks, texts, anew=args.overwrite)
    if (plan.folder / DONE).exists():  # SLURM's last task leaves it so
        return _finish(plan.folder)
    made = [
        (
            stage,
            engine.make_executor(
                args.executor,
                stage.name,
                partial(run_task, str(plan.folder), stage.name),
                stage.tasks,
                args.workers,
                plan.folder / "tasks" / stage.name,
                pipe.slurm,
            ),
        )
        for stage in plan.stages()
    ]
    if args.executor == "slurm":
        script = plan.folder / engine.SUBMIT
        script.write_text(engine.submit_script([(stage.name, executor.write()) for stage, executor in made]))
        print(f"{len(made)} stages; submit them with: bash {script}")
        return 0
    if begun:
        _forget_halves(plan)
    for stage, executor in made:
        with _bar(stage) as bar:
            executor.run(bar.update)
        if stage.name in ("exact", "near"):
            print(f"{stage.name}:\n{plan.report(stage.name).table()}", flush=True)
    return _finish(plan.folder)


def _make_way(out: Path, overwrite: bool) -> None:
    """Remove a run that is not to be gone on with; where none is left, refuse shards that must not be replaced."""
    work = out / WORK
    done = (work / DONE).exists()
    if (overwrite and (done or not (work / ANEW).exists())) or (done and not _is_there(out)):
        shutil.rmtree(work, ignore_errors=True)
    if not work.exists():
        for name in SPLITS:
            check_target(out / name, overwrite=overwrite)


def _is_there(out: Path) -> bool:
    """Whether the shards that a finished run made are still those in ``out``."""
    made: dict[str, str] = json.loads((out / WORK / DONE).read_bytes())["fingerprints"]
    try:
        return all(load_manifest(out / name)["fingerprint"] == found for name, found in made.items())
    except DataError:
        return False


def _check_slurm(executor: str, pipe: Pipe) -> None:
    for key in ("partition", "time"):
        if executor == "slurm" and key not in pipe.slurm:
            raise DataError(f"--executor slurm: the pipeline's section slurm has to name a {key}")


def _bar(stage: Stage) -> tqdm:
    return tqdm(total=stage.tasks, unit=" tasks", desc=f"{stage.name:<6}", mininterval=1.0)


def _forget_halves(plan: Plan) -> None:
    """Delete what tasks of a killed run left half done, and the marks of those whose results somebody deleted."""
    for stage in plan.stages():
        for path in (plan.folder / stage.name).glob(".*"):
            shutil.rmtree(path, ignore_errors=True)
        for rank in range(stage.tasks):
            result = plan.folder / DONE if stage.name == "write" else plan.result(stage.name, rank)
            if not result.exists():
                (plan.folder / "tasks" / stage.name / "completions" / f"{rank:05d}").unlink(missing_ok=True)
    shutil.rmtree(plan.folder / "sorted", ignore_errors=True)


def _finish(folder: Path) -> int:
    done = json.loads((folder / DONE).read_bytes())
    print("\n".join(done["said"]))
    shutil.rmtree(folder, ignore_errors=True)
    return 0
