"""Data preparation: speed of each stage, near-duplicates against datasketch, two workers beside one, contamination, memory."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.common import Record, alternate, parser, run, say, summary, table
from benchmarks.prep_data import documents
from benchmarks.prep_near import FOR_RECALL, OURS, peers_stage, recall, signature_sides, stage
from benchmarks.prep_runs import contamination, memory, stages, workers
from lightning_cpt.errors import ConfigError

PARTS = ("near", "stages", "workers", "contamination", "memory")


def main() -> None:
    options = parser("prep", __doc__, repetitions=5)
    options.add_argument("--documents", type=int, default=5_000, metavar="N", help="default: %(default)s")
    options.add_argument(
        "--megabytes", type=int, default=24, metavar="N", help="input of the stages; default: %(default)s"
    )
    options.add_argument(
        "--sizes",
        default="500,1000,2000",
        metavar="A,B",
        help="megabytes of input, for memory; default: %(default)s",
    )
    options.add_argument("--parts", default=",".join(PARTS), metavar="A,B", help="default: %(default)s")
    options.add_argument(
        "--corpus", type=Path, metavar="DIR", help="splits of text for contamination; default: made up"
    )
    options.add_argument("--data", type=Path, metavar="DIR", help="evaluation data for it; default: made up")
    options.add_argument("--note", default="", metavar="TEXT", help="what the reader of the JSON has to know")
    args = options.parse_args()
    count, megabytes = (300, 2) if args.quick else (args.documents, args.megabytes)
    settings = {
        "documents": count,
        "megabytes": megabytes,
        "data": bool(args.data),
        "corpus": bool(args.corpus),
        "datasketch": _peer(),
        "method": 2,  # hashes ready for both sides; datasketch in bulk
        "note": args.note,
    }
    record = Record(args.json, "prep", settings, fresh=args.fresh)
    parts = {
        "near": lambda: _near(record, documents(random.Random(0), count), args.repetitions),
        "stages": lambda: _stages(record, megabytes, 1 if args.quick else args.repetitions),
        "workers": lambda: _workers(record, megabytes, 1 if args.quick else args.repetitions),
        "contamination": lambda: _contamination(record, args),
        "memory": lambda: _memory(
            record, [4] if args.quick else [int(size) for size in args.sizes.split(",")]
        ),
    }
    summaries: dict[str, Any] = {}
    for part in args.parts.split(","):
        if part not in parts:
            raise ConfigError(f"--parts: {part!r} is none of {', '.join(parts)}")
        say(part)
        summaries[part] = parts[part]()
    record.finish(summaries)


def _peer() -> str:
    try:
        return version("datasketch")
    except ImportError:
        raise ConfigError(
            "the peer is missing: pip install --target DIR datasketch, and PYTHONPATH=DIR"
        ) from None


def _near(record: Record, texts: list[str], repetitions: int) -> dict[str, Any]:
    sides: dict[str, Callable[[], Any]] = {
        f"signatures, {name}": lambda work=work: _timed(texts, work)
        for name, work in signature_sides(texts).items()
    }
    sides[f"stage, {OURS}"] = lambda: _timed(texts, lambda: stage(texts))
    sides["stage, datasketch"] = lambda: _timed(texts, lambda: peers_stage(texts))
    sides["stage, datasketch, weights for recall"] = lambda: _timed(
        texts, lambda: peers_stage(texts, FOR_RECALL)
    )
    alternate(record, sides, repetitions, lambda name, speed: say(f"{name}: {speed:,.0f} documents/s"))
    rows, ratios = [], {}
    for name in sides:
        speed = summary(record.runs(name))
        ours = record.runs(f"{name.split(',')[0]}, {OURS}")
        ratio = summary([mine / theirs for mine, theirs in zip(ours, record.runs(name), strict=True)])
        rows.append((name, speed["median"], speed["low"], speed["high"], ratio["median"]))
        ratios[name] = {"documents/s": speed, "ours is times": ratio}
    print(table(("documents per second of processor time", "median", "low", "high", "ours is times"), rows))
    found = record.once("recall", lambda: recall(texts))
    print(
        "planted near-duplicates found: " + ", ".join(f"{name} {share:.1%}" for name, share in found.items())
    )
    return {"speeds": ratios, "recall": found}


def _timed(texts: list[str], work: Callable[[], object]) -> float:
    """Documents per second of processor time of one core: other programs on the machine do not count."""
    begin = time.process_time()
    work()
    return len(texts) / (time.process_time() - begin)


def _stages(record: Record, megabytes: int, repetitions: int) -> dict[str, Any]:
    for number in range(repetitions):
        if len(record.runs("stages")) <= number:
            record.add("stages", stages(megabytes))
    names = record.runs("stages")[0]
    speeds = {
        name: {
            unit: summary([one[name][unit] for one in record.runs("stages")]) for unit in ("MB/s", "pairs/s")
        }
        for name in names
    }
    rows = [(name, one["MB/s"]["median"], one["pairs/s"]["median"]) for name, one in speeds.items()]
    print(table(("per second of one core's processor time", "MB", "pairs"), rows))
    return speeds


def _workers(record: Record, megabytes: int, repetitions: int) -> dict[str, Any]:
    sides = {f"{count} worker(s)": lambda count=count: workers(megabytes, count) for count in (1, 2)}
    alternate(record, sides, repetitions, lambda name, seconds: say(f"{name}: {seconds:.1f} s"))
    found = {name: summary(record.runs(name)) for name in sides}
    one, two = (record.runs(name) for name in sides)
    ratio = summary([a / b for a, b in zip(one, two, strict=True)])
    print(f"the whole pipeline, by the clock: two workers are {ratio['median']:.2f} times one")
    return {**found, "two are times": ratio}


def _contamination(record: Record, args: Any) -> dict[str, Any]:
    sizes = (60, 600) if args.quick else (500, 30_000)
    found: dict[str, Any] = record.once(
        "contamination", lambda: contamination(args.data, args.corpus, *sizes)
    )
    print(f"contamination: {found}")
    return found


def _memory(record: Record, sizes: list[int]) -> list[Any]:
    rows = [row for size in sizes for row in record.once(f"memory {size}", lambda size=size: memory(size))]
    print(table(("command", "input, MB", "pairs", "peak of a process, MB", "s"), rows))
    return rows


if __name__ == "__main__":
    run(main)
