"""Measures the quickstart's encoder before and after, and writes report.json, report.html and the picture."""

from __future__ import annotations

import csv
import html
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_prep.shards import open_splits
from eval_suite.pool import PoolScore, lexical_search
from eval_suite.stats import bootstrap_interval, paired_bootstrap
from lightning_cpt import __version__
from lightning_cpt.checkpoint import read_checkpoint
from lightning_cpt.data.evaluation import fixed_pool
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.quickstart import corpus, measure
from lightning_cpt.quickstart.opponents import RandomBag
from lightning_cpt.quickstart.page import page
from lightning_cpt.quickstart.pictures import Bar, Curve, draw
from lightning_cpt.quickstart.place import POOL, SEED, Place
from lightning_cpt.scored import QuietEncoder, quiet
from lightning_cpt.tokenization import PairTokenizer

SHOWN = 8  # example queries on the page


@dataclass(frozen=True)
class Found:
    """One query of the pool with the three functions that came first, each ``path:name``, the right one marked."""

    query: str
    first: list[str]
    rank: int


def write_report(place: Place, *, with_senteval: bool, began: float) -> None:
    """Measure, write the three files into ``place.out`` and print the table.

    Args:
        place: Where pairs and checkpoint lie.
        with_senteval: The seven tasks' results lie there too.
        began: Monotonic time at which the command began, for the report's total.
    """
    splits = open_splits(place.pairs)
    held_out = list(splits["test"])
    pool = fixed_pool(splits["test"], SEED, POOL)
    trained = TextEncoder.load(place.checkpoint)
    before, after = quiet(TextEncoder(**place.encoder)), quiet(trained)
    train = list(splits["train"])
    bag = RandomBag(PairTokenizer(place.tokenizer), ([r["x"], r["y"]] for r in train), seed=SEED)
    searched = {
        "after training": measure.search(after, pool),
        "BM25": lexical_search([r["x"] for r in pool], [r["y"] for r in pool]),
        "random bag, IDF": measure.search(bag, pool),
        "before training": measure.search(before, pool),
    }
    examples = measure.package_texts(held_out)
    curve = read_curve(place.run / "logs")
    report = {
        **scores(searched),
        "probe_before": measure.probe(before, examples),
        "probe_after": measure.probe(after, examples),
        "probe_bag": measure.probe(bag, examples),
        "pairs": splits["train"].count,
        **speed(place, curve),
    }
    if with_senteval:
        report["senteval"] = read_senteval(place.senteval)
    report |= provenance(place, pool, curve)
    report["seconds_of_this_call"] = round(time.monotonic() - began, 1)
    _write(place, report, bars(searched), curve, found(after, pool))


def scores(searched: dict[str, PoolScore]) -> dict[str, Any]:
    """MRR of each contestant in 0..1, and the paired difference to BM25 with its 95 % interval."""
    after, bm25 = searched["after training"], searched["BM25"]
    bag = searched["random bag, IDF"]
    difference, low, high = paired_bootstrap(after.reciprocal_ranks, bm25.reciprocal_ranks, SEED)
    _, bag_low, bag_high = paired_bootstrap(after.reciprocal_ranks, bag.reciprocal_ranks, SEED)
    return {
        "mrr_before": searched["before training"].mrr,
        "mrr_after": after.mrr,
        "mrr_bm25": bm25.mrr,
        "mrr_bag": bag.mrr,
        "mrr_minus_bag": [bag_low, bag_high],
        "mrr_minus_bm25": [low, high],
        "mrr_minus_bm25_mean": difference,
        "mrr_after_interval": list(bootstrap_interval(after.reciprocal_ranks, SEED)),
    }


def bars(searched: dict[str, PoolScore]) -> list[Bar]:
    return [
        Bar(name, score.mrr, *bootstrap_interval(score.reciprocal_ranks, SEED), ours="training" in name)
        for name, score in searched.items()
    ]


def read_curve(logs: Path) -> Curve:
    """The training's course out of the CSV logs of the run and of its continuations; a repeated step counts once.

    Its seconds are those of the steps alone: pairs over pairs per second, interval by interval.
    """
    rows: list[dict[str, str]] = []
    for path in sorted(logs.glob("version_*/metrics.csv"), key=lambda path: path.stat().st_mtime):
        with path.open(encoding="utf-8") as file:
            rows += csv.DictReader(file)
    loss, speed_at, mrr = ({int(r["step"]): float(r[key]) for r in rows if r.get(key)} for key in _COLUMNS)
    steps, val_steps = sorted(loss), sorted(mrr)
    return Curve(
        [step + 1 for step in steps],
        [loss[step] for step in steps],
        [step + 1 for step in val_steps],
        [mrr[step] for step in val_steps],
        [speed_at[step] for step in steps],
    )


_COLUMNS = ("train/loss", "train/pairs_per_second", "val/mrr")


def speed(place: Place, curve: Curve) -> dict[str, Any]:
    """Seconds of the training steps up to the last one in the log, validation apart, and pairs per second."""
    batch = yaml.safe_load((place.run / "config.yaml").read_text("utf-8"))["data"]["batch_size"]
    steps = np.diff([0, *curve.steps])
    seconds = float((batch * steps / np.array(curve.pairs_per_second)).sum())
    seen = int(batch * steps.sum())
    return {
        "train_seconds": round(seconds, 1),
        "pairs_per_second": round(seen / seconds, 1),
        "steps": read_checkpoint(place.checkpoint)["global_step"],
        "steps_planned": place.steps,
    }


def read_senteval(folder: Path) -> dict[str, float]:
    """Task -> accuracy in per cent."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.json"))]
    return {result["task"]: result["score"] for result in results}


def provenance(place: Place, pool: Sequence[dict[str, Any]], curve: Curve) -> dict[str, Any]:
    return {
        "lightning_cpt": __version__,
        "corpus": corpus.versions(),
        "held_out": list(corpus.HELD_OUT),
        "validation": list(corpus.VALIDATION),
        "fingerprints": {name: split.fingerprint for name, split in open_splits(place.pairs).items()},
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "curve": asdict(curve),
        "pool": [record["id"] for record in pool],
    }


def found(encoder: QuietEncoder, pool: Sequence[dict[str, Any]]) -> list[Found]:
    """Evenly spaced queries of the pool and what came first for each: the good and the bad, no choice by hand."""
    x, y = measure.vectors(encoder, pool)
    chosen = np.linspace(0, len(pool) - 1, SHOWN).round().astype(int)
    shown = []
    for row in chosen:
        order = np.argsort(-(y @ x[row]), kind="stable")
        names = [pool[place]["id"] for place in order[:3]]
        shown.append(Found(pool[row]["x"], names, int(np.flatnonzero(order == row)[0]) + 1))
    return shown


def _write(
    place: Place, report: dict[str, Any], rows: Sequence[Bar], curve: Curve, shown: Sequence[Found]
) -> None:
    svg = draw(curve, rows, place.out / "report.png")
    (place.out / "report.json").write_text(
        json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8"
    )
    table = summary(report)
    body = [
        (html.escape(item.query), [html.escape(name) for name in item.first], item.rank) for item in shown
    ]
    (place.out / "report.html").write_text(page(report, table, svg, body), encoding="utf-8")
    print("\n" + "\n".join(f"{name:<46}{value}" for name, value in table))
    print(f"\n{place.out / 'report.html'}   {place.out / 'report.json'}   {place.out / 'report.png'}")


def summary(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report's lines for people: what was measured, and the number."""
    low, high = report["mrr_minus_bm25"]
    bag_low, bag_high = report["mrr_minus_bag"]
    rows = [
        ("code search (MRR), after training", f"{report['mrr_after']:.3f}"),
        ("code search, BM25", f"{report['mrr_bm25']:.3f}"),
        ("  after training minus BM25, 95 % interval", f"{low:+.3f} to {high:+.3f}"),
        ("code search, untrained bag of vectors, IDF", f"{report['mrr_bag']:.3f}"),
        ("  after training minus bag, 95 % interval", f"{bag_low:+.3f} to {bag_high:+.3f}"),
        ("code search, before training", f"{report['mrr_before']:.3f}"),
        ("sub-package probe, after training", f"{report['probe_after']:.1f} %"),
        ("sub-package probe, before (chance 5 %)", f"{report['probe_before']:.1f} %"),
        ("training pairs", f"{report['pairs']:,}"),
        ("training", f"{report['train_seconds']:.0f} s, {report['pairs_per_second']:.0f} pairs/s"),
    ]
    if report["steps"] < report["steps_planned"]:
        rows.append(
            (
                "stopped by the time cap",
                f"step {report['steps']} of {report['steps_planned']}: scores are lower",
            )
        )
    rows += [(f"SentEval {task}", f"{score:.2f}") for task, score in report.get("senteval", {}).items()]
    return rows
