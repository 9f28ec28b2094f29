"""The seven probes on cached vectors: ours, exact and fast, against the same protocol run plainly; one core each."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import make_classification
from threadpoolctl import threadpool_limits

from benchmarks.common import Record, alternate, say, summary, table
from benchmarks.evaluation_plain import plain_probe
from benchmarks.evaluation_texts import cached_encoder, read_tasks
from eval_suite.probe import Labelled
from eval_suite.task import Options
from eval_suite.tasks.linear_probe import features_of, run_probe
from eval_suite.tasks.senteval import SEVEN, TASKS

KFOLD = 10


class Job(NamedTuple):
    scheme: str
    parts: dict[str, Labelled]


def measure(record: Record, args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Alternates the three sides; returns their seconds, ratios and scores, and a table of both."""
    jobs = made_up() if args.quick else real(args)
    kfold = 3 if args.quick else KFOLD
    sides: dict[str, Callable[[], Any]] = {
        "plain": lambda: _timed(jobs, lambda job: _plain(job, kfold)),
        "exact": lambda: _timed(jobs, lambda job: _ours(job, "exact", kfold)),
        "fast": lambda: _timed(jobs, lambda job: _ours(job, "fast", kfold)),
    }
    named = {f"probe/{name}": side for name, side in sides.items()}
    alternate(record, named, args.repetitions, lambda label, r: say(f"{label}: {r['total']:.1f} s"))
    return _summary(record, list(jobs))


def real(args: argparse.Namespace) -> dict[str, Job]:
    tasks = read_tasks(args.data)
    encoder = cached_encoder(tasks, args)
    return {
        name: Job(TASKS[name].scheme, features_of(encoder, parts, False)[0]) for name, parts in tasks.items()
    }


def made_up() -> dict[str, Job]:
    """A task of each scheme, small."""
    x, y = make_classification(600, 24, n_informative=12, flip_y=0.2, random_state=0)
    rows = [Labelled(x[a:b].astype(np.float32), y[a:b]) for a, b in ((0, 400), (400, 500), (500, 600))]
    nested = Job("nested", {"all": rows[0]})
    return {
        "CR": nested,
        "SST2": Job("split", dict(zip(("train", "dev", "test"), rows, strict=True))),
        "TREC": Job("kfold", {"train": rows[0], "test": rows[2]}),
    }


def _timed(jobs: dict[str, Job], probe: Callable[[Job], Any]) -> dict[str, Any]:
    seconds, found = {}, {}
    for name, job in jobs.items():
        start = time.perf_counter()
        found[name] = probe(job)
        seconds[name] = time.perf_counter() - start
    return {"seconds": seconds, "total": sum(seconds.values()), "scores": found}


def _plain(job: Job, kfold: int) -> dict[str, Any]:
    with threadpool_limits(1):
        return plain_probe(job.scheme, job.parts, kfold)


def _ours(job: Job, probe: str, kfold: int) -> dict[str, Any]:
    with threadpool_limits(1):
        found = run_probe(job.scheme, job.parts, Options(workers=1, kfold=kfold, probe=probe))
    return {"score": found.score, "dev": found.dev_score, "c": found.chosen_c}


def _summary(record: Record, names: list[str]) -> tuple[dict[str, Any], str]:
    runs = {side: record.runs(f"probe/{side}") for side in ("plain", "exact", "fast")}
    seconds = {side: [r["total"] for r in found] for side, found in runs.items()}
    ratios = {
        side: summary([p / s for p, s in zip(seconds["plain"], seconds[side], strict=True)])
        for side in ("exact", "fast")
    }
    scores = {side: found[0]["scores"] for side, found in runs.items()}
    apart = {n: abs(scores["fast"][n]["score"] - scores["exact"][n]["score"]) for n in names}
    rows = [
        [
            name,
            *(f"{np.median([r['seconds'][name] for r in runs[side]]):.1f}" for side in runs),
            *(f"{scores[side][name]['score']:.2f}" for side in runs),
            *(f"{scores[side][name]['dev']:.2f}" for side in ("exact", "fast")),
            f"{apart[name]:.2f}",
        ]
        for name in sorted(names, key=SEVEN.index)
    ]
    total = ["all", *(f"{np.median(seconds[side]):.1f}" for side in runs), "", "", "", "", "", ""]
    header = [
        "task",
        "plain s",
        "exact s",
        "fast s",
        "plain",
        "exact",
        "fast",
        "exact dev",
        "fast dev",
        "apart",
    ]
    text = table(header, [*rows, total])
    text += "".join(
        f"\n{side}: {r['median']:.2f} times as quick as plain ({r['low']:.2f} to {r['high']:.2f})"
        for side, r in ratios.items()
    )
    equal = scores["plain"] == scores["exact"]
    text += f"\nexact equals plain in every score, dev score and C: {equal}; fast is at most {max(apart.values()):.2f} off"
    found = {
        "seconds": {side: summary(values) for side, values in seconds.items()},
        "times_as_quick": ratios,
        "exact_equals_plain": equal,
        "fast_apart": apart,
        "scores": scores,
    }
    return found, text
