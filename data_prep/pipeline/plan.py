"""What a run of a pipeline is: its stages, the inputs of each task, and the folder where their results wait."""

from __future__ import annotations

import hashlib
import json
import pickle
import platform
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.clean import SIDES
from data_prep.code.languages import LANGUAGES
from data_prep.code.miner import find_work
from data_prep.code.sources import SourceFile
from data_prep.documents import find_documents
from data_prep.errors import DataError
from data_prep.files import write_atomic
from data_prep.history import version_of
from data_prep.pipeline.config import Pipe
from data_prep.pool import Pool
from data_prep.report import Report
from data_prep.spill import WORK
from data_prep.spool import FULL

TASK_BYTES = 16_000_000  # of input, where nobody says how many tasks
MAX_TASKS = 256
_FORMAT = "cpt-pipeline-2"
# Whose rules make the pairs: of any, and of one kind of input.
_DECIDING = {
    "": ("lightning-cpt", "numpy", "rensa"),
    "text": ("resiliparse", "fastwarc", "pyarrow"),
    "pairs": ("pyarrow",),
    "code": ("tree-sitter", *(f"tree-sitter-{one}" for one in LANGUAGES)),
}
_PLAN, _TEXTS = "plan", "evaluation.jsonl"
ANEW = "overwrite"  # left by --overwrite, so that the same command goes on with what it has begun


@dataclass(frozen=True, slots=True)
class Stage:
    """One kind of work.

    Args:
        name: Of the function in ``stages.py`` and of the folder of its results.
        tasks: How many are independent of each other.
    """

    name: str
    tasks: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A pipeline with its inputs dealt to tasks.

    Args:
        folder: Where results wait.
        out: Where the shards go; absolute, as tasks may run anywhere.
        pipe: What is done.
        inputs: For each task, the files it mines.
        versions: Of the packages that decide what comes out.
    """

    folder: Path
    out: Path
    pipe: Pipe
    inputs: list[list[Any]]
    versions: dict[str, str | None]

    def stages(self) -> list[Stage]:
        """In their order; each wants all of those before it."""
        tasks = len(self.inputs)
        near = [Stage("sketch", tasks), Stage("group", len(SIDES)), Stage("near", 1)]
        return [
            Stage("mine", tasks),
            Stage("exact", 1),
            *(near if self.pipe.near.threshold else []),
            *([Stage("search", tasks)] if self.pipe.evaluation else []),
            Stage("write", 1),
        ]

    def result(self, stage: str, rank: int = 0) -> Path:
        return self.folder / stage / f"{rank:05d}"

    def results(self, stage: str) -> list[Path]:
        """Of all tasks that mined inputs."""
        return [self.result(stage, rank) for rank in range(len(self.inputs))]

    @contextmanager
    def writing(self, stage: str, rank: int = 0) -> Iterator[Path]:
        """A folder to be made for a task's result, which is there under its name only when it is whole.

        A task that runs twice at a time (its machine was thought dead) does no harm: both make the same.
        """
        final = self.result(stage, rank)
        temporary = final.with_name(f".{final.name}.{secrets.token_hex(4)}")
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if final.exists():
                shutil.rmtree(final, ignore_errors=True)
            try:
                temporary.rename(final)
            except OSError:
                if not final.exists():
                    raise
        except OSError as error:
            cure = "free some space, and " if error.errno in FULL else ""
            raise DataError(f"{final}: {error.strerror}; {cure}run the same command again") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def pool(self, after: str | None = None) -> Pool:
        """All pairs, with those alive that were after a stage."""
        pool = Pool(self.results("mine"))
        if after:
            pool.alive = np.fromfile(self.result(after) / "alive", bool)
        return pool

    def part(self, rank: int, after: str) -> Pool:
        """The pairs of one task, numbered from 0."""
        pool = Pool([self.result("mine", rank)])
        begin = json.loads((self.result("exact") / "begins.json").read_bytes())[rank]
        pool.alive = np.fromfile(self.result(after) / "alive", bool, pool.count, offset=begin)
        return pool

    def mark(self, stage: str, alive: np.ndarray, report: Report, **more: Any) -> None:
        """Write who is alive after a stage of one task, and its account."""
        with self.writing(stage) as folder:
            folder.mkdir()
            alive.tofile(folder / "alive")
            (folder / "report.json").write_text(json.dumps(report.to_dict()))
            for name, value in more.items():
                (folder / f"{name}.json").write_text(json.dumps(value))

    def report(self, stage: str) -> Report:
        return Report.from_dict(json.loads((self.result(stage) / "report.json").read_bytes()))

    def evaluation_texts(self) -> Iterator[tuple[str, str]]:
        """(task, text)."""
        with open(self.folder / _TEXTS, encoding="utf-8") as file:
            for line in file:
                task, text = json.loads(line)
                yield task, text

    def last_before(self, stage: str) -> str:
        """The last stage before another one that says who is alive."""
        names = [one.name for one in self.stages()]
        return [name for name in names[: names.index(stage)] if name in ("exact", "near")][-1]


def make_plan(
    pipe: Pipe, tasks: int | None, texts: Iterable[tuple[str, str]] | None, *, anew: bool = False
) -> tuple[Plan, bool]:
    """Find the inputs and deal them to tasks, or go on with the run that is there.

    Args:
        pipe: What is to be done.
        tasks: Into how many the parallel stages are cut; None takes one for each 16 MB of input.
        texts: (task, text) of evaluation, where the pipeline takes them out.
        anew: Forget a run of something else that was begun.

    Returns:
        The plan, and whether a run of it was begun before.

    Raises:
        DataError: no inputs; a run of another pipeline, or of other inputs, was begun in the folder.
    """
    inputs = _inputs(pipe)
    sizes = [_size(one) for one in inputs]
    wanted = tasks or min(MAX_TASKS, len(inputs), max(1, sum(sizes) // TASK_BYTES))
    out = pipe.out.absolute()
    plan = Plan(out / WORK, out, pipe, _deal(inputs, sizes, min(wanted, len(inputs))), versions(pipe.kind))
    staged = b"".join(json.dumps([task, text]).encode("utf-8") + b"\n" for task, text in texts or ())
    mark = _mark(plan, [_state(one) for one in inputs], staged)
    if (plan.folder / _PLAN).exists():
        try:
            begun = load_plan(plan.folder)[1]
        except DataError:
            if not anew:
                raise
            begun = ""
        if begun == mark:
            return plan, True
        if not anew:
            raise DataError(
                f"{plan.folder}: holds a run of another pipeline, of other inputs, of other packages or of another number "
                "of tasks; go on with that one, or begin anew with --overwrite"
            )
        shutil.rmtree(plan.folder, ignore_errors=True)
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        if anew:
            (plan.folder / ANEW).touch()
        write_atomic(plan.folder / _TEXTS, staged)
        write_atomic(plan.folder / _PLAN, pickle.dumps((_FORMAT, plan, mark)))
    except OSError as error:
        raise DataError(f"{pipe.out}: cannot be written ({error.strerror}); name another folder") from None
    return plan, False


def load_plan(folder: Path) -> tuple[Plan, str]:
    """The plan of a run that was begun, and the mark of what it depends on.

    Raises:
        DataError: it is damaged, or another version's.
    """
    try:
        format_, plan, mark = pickle.loads((folder / _PLAN).read_bytes())
    except Exception:  # what a cut or foreign pickle raises is anything
        format_, plan, mark = "", None, ""
    if format_ != _FORMAT:
        raise DataError(f"{folder}: damaged, or of another version; begin anew with --overwrite")
    return plan, mark


def _inputs(pipe: Pipe) -> list[Any]:
    paths = [Path(path) for path in pipe.paths]
    if pipe.kind == "text":
        return [(name, path.absolute()) for name, path in find_documents(paths)]
    if pipe.kind == "code":
        found = find_work(paths, pipe.rules["languages"])
        return [one if isinstance(one, SourceFile) else one.absolute() for one in found]
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
    return [path.absolute() for path in paths]


def _path(item: Any) -> Path:
    if isinstance(item, SourceFile):
        return item.path
    return item[1] if isinstance(item, tuple) else Path(item)


def _size(item: Any) -> int:
    if isinstance(item, SourceFile) and item.blob:
        return 4096  # git's objects do not say
    try:
        return _path(item).stat().st_size
    except OSError:
        return 0


def _state(item: Any) -> list[Any]:
    """What says that an input is the same as before."""
    if isinstance(item, SourceFile) and item.blob:
        return [item.name, item.blob]
    try:
        found = _path(item).stat()
    except OSError:
        return [str(item)]
    return [str(item), found.st_size, found.st_mtime_ns]


def _deal(items: Sequence[Any], sizes: Sequence[int], tasks: int) -> list[list[Any]]:
    """Runs of neighbouring items of about equal size; none is empty."""
    dealt: list[list[Any]] = [[] for _ in range(tasks)]
    total, done, place = sum(sizes) + len(items), 0, 0
    for number, (item, size) in enumerate(zip(items, sizes, strict=True)):
        left = len(items) - number  # the tasks behind this one want an item each
        if (
            dealt[place]
            and place + 1 < tasks
            and (done * tasks >= (place + 1) * total or left <= tasks - place - 1)
        ):
            place += 1
        dealt[place].append(item)
        done += size + 1
    return dealt


def versions(kind: str) -> dict[str, str | None]:
    """Of Python and the packages that decide what comes out of such inputs; None of those that are not installed."""
    names = (*_DECIDING[""], *_DECIDING[kind])
    return {"python": platform.python_version(), **{name: version_of(name) for name in names}}


def _mark(plan: Plan, states: list[Any], texts: bytes) -> str:
    """Of all that the outcome depends on, and of how the work is cut."""
    pipe = plan.pipe
    said = {key: value for key, value in pipe.said.items() if key != "slurm"}
    rules = repr(
        (pipe.rules, pipe.quality, pipe.near, pipe.ngrams)
    )  # what is not said may get other defaults
    cut = [len(one) for one in plan.inputs]
    content = json.dumps([_FORMAT, said, rules, states, cut, plan.versions], default=str)
    return hashlib.sha256(content.encode() + texts).hexdigest()
