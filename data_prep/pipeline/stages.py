"""The stages of a pipeline: each task is a pure function of the plan, its rank and the results before it."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.clean import SIDES, drop_equal, drop_near, sketch
from data_prep.code.miner import mine_work
from data_prep.corpus import PRECEDENCE
from data_prep.decontaminate import search as search_texts
from data_prep.decontaminate import settle, table
from data_prep.dedup import drop_duplicates_of, drop_near_duplicates
from data_prep.errors import DataError
from data_prep.evaluation import EvaluationTexts
from data_prep.files import write_atomic
from data_prep.keys import drop_crossed
from data_prep.near import NearIndex
from data_prep.pairs import Pair
from data_prep.pipeline.plan import Plan, load_plan, versions
from data_prep.pool import Pool, write_part
from data_prep.publish import accountant, finished
from data_prep.report import Report
from data_prep.shards import stream_splits
from data_prep.shuffle import by_hash
from data_prep.tables import read_pairs
from data_prep.text_files import mine_files

DONE = "done.json"


def run_task(folder: str, stage: str, rank: int) -> None:
    """Do one task of a run that was begun in ``folder``.

    Raises:
        DataError: this machine has other packages than that on which it was begun, and would make other pairs.
    """
    plan, _ = load_plan(Path(folder))
    here = versions(plan.pipe.kind)
    for name, wanted in plan.versions.items():
        if here[name] != wanted:
            raise DataError(
                f"{name}: {here[name] or 'none'} here, but the run was begun with {wanted or 'none'}; install that here, or "
                f"delete {folder} and begin anew"
            )
    _STAGES[stage](plan, rank)


def mine(plan: Plan, rank: int) -> None:
    """Pairs of this task's inputs, with their splits, what the quality rules say, and their hashes."""
    report = Report()
    with plan.writing("mine", rank) as folder:
        write_part(
            folder,
            _pairs(plan, rank, report),
            report,
            split=plan.pipe.splitter(),
            group=_package if plan.pipe.kind == "code" else _document,
            quality=plan.pipe.quality,
        )


def _pairs(plan: Plan, rank: int, report: Report) -> Iterator[Pair]:
    pipe, inputs = plan.pipe, plan.inputs[rank]
    if pipe.kind == "text":
        return mine_files(inputs, report, **pipe.rules)
    if pipe.kind == "code":
        options = {"languages": pipe.rules["languages"], "rules": pipe.rules["rules"]}
        return mine_work(inputs, **options, processes=1, report=report)
    return read_pairs(inputs, report, **pipe.rules)


def _package(pair: Pair) -> str:
    return str(pair.meta["package"])


def _document(pair: Pair) -> str:
    return pair.document


def exact(plan: Plan, rank: int) -> None:
    """Of equal pairs one stays; then what the quality rules found goes, and what is equal on a side."""
    pool, report = plan.pool(), Report()
    pool.check_groups(plan.pipe.splitter())
    drop_duplicates_of(pool, report)
    drop_crossed(pool.alive, pool.keys(), pool.places, report.dropped)
    if plan.pipe.kind == "code" and plan.pipe.rules["near_duplicate"]:
        with plan.writing("spill") as folder:
            folder.mkdir()
            drop_near_duplicates(pool, report, plan.pipe.rules["near_duplicate"], folder / "near")
        shutil.rmtree(plan.result("spill"))
    pool.drop_faulty(report)
    drop_equal(pool.alive, pool.keys(), report)
    plan.mark("exact", pool.alive, report, begins=pool.begins)


def sketch_(plan: Plan, rank: int) -> None:
    """What near-duplicates are found by."""
    pool = plan.part(rank, "exact")
    with plan.writing("sketch", rank) as folder:
        sketch(pool.batches(), pool.alive, plan.pipe.near, folder)


def group(plan: Plan, rank: int) -> None:
    """Groups of near-duplicates on one side."""
    pool = plan.pool("exact")
    index = _index(plan, pool, SIDES[rank])
    labels = index.groups()
    with plan.writing("group", rank) as folder:
        folder.mkdir()
        labels.astype("<u4").tofile(folder / "labels")
        (folder / "crowded").write_text(str(index.crowded))


def _index(plan: Plan, pool: Pool, side: str) -> NearIndex:
    folders = [folder / side for folder in plan.results("sketch")]
    return NearIndex(folders, pool.begins[:-1], pool.count, plan.pipe.near.threshold, pool.keys().rank)


def near(plan: Plan, rank: int) -> None:
    """Of near-duplicates one stays."""
    pool, report = plan.pool("exact"), Report()
    indexes, labels = [], []
    for number, side in enumerate(SIDES):
        index = _index(plan, pool, side)
        index.crowded = int((plan.result("group", number) / "crowded").read_text())
        indexes.append(index)
        labels.append(np.fromfile(plan.result("group", number) / "labels", "<u4"))
    drop_near(pool, labels, indexes, pool.keys(), plan.pipe.near, report)
    plan.mark("near", pool.alive, report)


def search(plan: Plan, rank: int) -> None:
    """The evaluation tasks' n-grams in the pairs that are left."""
    pool = plan.part(rank, plan.last_before("search"))
    evaluation = _evaluation(plan.folder, load_plan(plan.folder)[1])
    with plan.writing("search", rank) as folder:
        search_texts(pool.batches(pool.alive), pool.alive, evaluation, folder)


@lru_cache(1)
def _evaluation(folder: Path, mark: str) -> EvaluationTexts:
    """Indexed once in each process for a run of that ``mark``: it takes longer than many a task's search."""
    plan, _ = load_plan(folder)
    return EvaluationTexts(plan.evaluation_texts(), plan.pipe.ngrams)


def write(plan: Plan, rank: int) -> None:
    """The shards in the order of the ids' hashes, the account and the data card."""
    if (plan.folder / DONE).exists():
        return
    pool, report = plan.pool(plan.last_before("write")), Report()
    report.add(pool.report)
    for stage in plan.stages():
        if stage.name in ("exact", "near"):
            report.add(plan.report(stage.name))
    more = _contamination(plan, pool, report)
    if not (pool.alive & (pool.places == PRECEDENCE.index("train"))).any():
        raise DataError(f"{plan.pipe.out}: no training pairs: all were filtered, held out or dropped")
    with plan.writing("sorted") as folder:
        finish = accountant(_options(plan), report, folder=plan.out, **more)
        splits = by_hash(pool, folder)
        manifests = stream_splits(plan.out, splits, source=plan.pipe.source, overwrite=True, finish=finish)
    shutil.rmtree(plan.result("sorted"))
    lines = finished(plan.out, manifests, lambda: None, drawn=True)
    said = [report.table(), *([table(more["contamination"])] if more else []), *lines]
    fingerprints = {name: manifest["fingerprint"] for name, manifest in manifests.items()}
    write_atomic(plan.folder / DONE, json.dumps({"said": said, "fingerprints": fingerprints}).encode())


def _contamination(plan: Plan, pool: Pool, report: Report) -> dict[str, Any]:
    if not plan.pipe.evaluation:
        return {}
    evaluation = _evaluation(plan.folder, load_plan(plan.folder)[1])
    found = settle(pool.alive, plan.results("search"), pool.begins[:-1], evaluation, report)
    return {"contamination": found.to_dict()}


def _options(plan: Plan) -> Namespace:
    """The YAML as a command's options, one a line: ``text.piece_chars``."""
    flat: dict[str, Any] = {}
    for name, value in plan.pipe.said.items():
        if name == "slurm":
            continue
        flat |= (
            {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
        )
    return Namespace(prep_command="run", **flat)


_STAGES = {
    "mine": mine,
    "exact": exact,
    "sketch": sketch_,
    "group": group,
    "near": near,
    "search": search,
    "write": write,
}
