"""Reading pairs in a shuffled order: our reader against webdataset, litdata and Hugging Face datasets, and resuming."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import count as count_up
from pathlib import Path
from typing import Any

from benchmarks.common import Record, alternate, parser, run, say, summary, table
from benchmarks.corpus import code_pairs, tokenizer
from benchmarks.loader_sides import (
    BATCH,
    BUFFER,
    CHECKED,
    HF,
    HF_BARE,
    LITDATA,
    LITDATA_BARE,
    PLACES,
    UNCHECKED,
    WDS,
    Layouts,
    plan_of,
)
from data_prep.errors import DataError
from data_prep.shards import PairShards
from lightning_cpt.data.loader import PairLoader
from lightning_cpt.data.reader import ShareReader, TrainingReader
from lightning_cpt.errors import ConfigError
from lightning_cpt.tokenization import PairTokenizer

SHUFFLE = {
    CHECKED: "all chunks, and the pairs of 32 chunks (16,384 pairs) together",
    UNCHECKED: "the same",
    WDS: f"the tars, and a buffer of {BUFFER:,} pairs",
    LITDATA: "all chunks, and the pairs of a chunk",
    HF: f"the files, and a buffer of {BUFFER:,} pairs",
    LITDATA_BARE: "as litdata",
    HF_BARE: "as datasets",
}
NOTE = (
    "The machine was shared with other work: seconds are of the processor, of all threads of the process that reads "
    "(no workers), which other work changes little; wall_... are by the clock. Every side reads from the page cache "
    "and hands over the same records as Python objects, pair by pair; two further rows are the peers that store and "
    "hand over less."
)
GOALS = {WDS: (CHECKED, 8.0), LITDATA: (UNCHECKED, 1.0), HF: (CHECKED, 20.0)}


def main() -> None:
    options = parser("loader", __doc__, repetitions=5)
    options.add_argument("--pairs", type=int, default=40_000, metavar="N", help="default: %(default)s")
    options.add_argument(
        "--throughput",
        type=Path,
        metavar="FILE",
        help="a run's throughput.json: its share of waiting for data",
    )
    args = options.parse_args()
    folder = code_pairs(args.work, quick=args.quick)
    count = whole_batches(PairShards.open(folder / "train"), 1024 if args.quick else args.pairs)
    record = Record(args.json, "loader", settings(count), fresh=args.fresh)
    layouts = Layouts(args.work / f"loader-{count}", folder / "train", count)
    sides = {name: partial(read, layouts.reader(name), count_up()) for name in SHUFFLE}
    alternate(record, sides, args.repetitions, log)
    check_alike(record)
    words = PairTokenizer(
        tokenizer(folder, identifiers=True), max_length_x=32, max_length_y=64, drop_repeats=True
    )
    first = {
        f"first batch after {name}": call for name, call in resumes(layouts.ours(PairShards), words).items()
    }
    alternate(record, first, args.repetitions, log)
    record.finish(come_to(record, layouts, args.throughput))
    show(record.data)


def settings(count: int) -> dict[str, Any]:
    peers = {name: _version(name) for name in ("webdataset", "litdata", "datasets", "pyarrow")}
    return {"pairs": count, "batch": BATCH, "shuffle": SHUFFLE, "workers": 0, "note": NOTE, **peers}


def _version(name: str) -> str:
    try:
        import_module(name)
        return version(name)
    except (ImportError, PackageNotFoundError):
        raise ConfigError(
            f"the peer {name} is missing: pip install --no-deps --target DIR litdata obstore boto3 botocore s3transfer "
            "jmespath, and PYTHONPATH=DIR; the others are in `make test`'s environment"
        ) from None


def whole_batches(shards: PairShards, wanted: int) -> int:
    """Pairs to read, so that no side leaves a rest."""
    return min(wanted, shards.count) // BATCH * BATCH


def read(reader: Callable[[int], Iterable[dict[str, Any]]], numbers: Iterator[int]) -> dict[str, Any]:
    """Take all pairs of another pass, and measure that."""
    number = next(numbers)
    pairs = characters = 0
    wall, cpu = time.perf_counter(), time.process_time()
    for record in reader(number):
        pairs += 1
        characters += len(record["x"]) + len(record["y"])
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"pairs": pairs, "characters": characters, "cpu_seconds": cpu, "wall_seconds": wall}


def check_alike(record: Record) -> None:
    """All sides have read the same pairs, each time.

    Raises:
        DataError: one has not.
    """
    wanted = record.runs(CHECKED)[0]["characters"]
    for name in SHUFFLE:
        for found in record.runs(name):
            if (found["pairs"], found["characters"]) != (record.data["settings"]["pairs"], wanted):
                raise DataError(
                    f"{name}: read {found['pairs']:,} pairs of {found['characters']:,} characters"
                )


def resumes(shards: PairShards, words: PairTokenizer) -> dict[str, Callable[[], dict[str, float]]]:
    """A resume at the first, a middle and the last step of the second epoch, as texts and as token ids."""
    steps = plan_of(shards).mixture.per_epoch
    found: dict[str, Callable[[], dict[str, float]]] = {}
    for name, step in (("first", steps), ("middle", steps + steps // 2), ("last", 2 * steps - 1)):
        found[f"the {name} step"] = partial(first_texts, shards, step)
        found[f"the {name} step, tokenised"] = partial(first_tokens, shards, step, words)
    return found


def first_texts(shards: PairShards, step: int) -> dict[str, float]:
    """Seconds from nothing but open shards to the records of batch ``step``."""
    return timed(lambda: len(ShareReader(plan_of(shards)).read(step, 0).records))


def first_tokens(shards: PairShards, step: int, words: PairTokenizer) -> dict[str, float]:
    """The same to the batch that the model takes, through the loader's state."""

    def first() -> int:
        loader = PairLoader(TrainingReader(ShareReader(plan_of(shards)), words))
        loader.load_state_dict({**loader.state_dict(), "batches": step})
        with closing(iter(loader)) as batches:  # type: ignore[type-var]
            return len(next(batches))

    words.text_ids(["wake up"])
    return timed(first)


def timed(call: Callable[[], int]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    if call() != BATCH:
        raise DataError("a batch of another size than asked for")
    return {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}


def log(label: str, result: dict[str, Any]) -> None:
    say(f"{label}: {result['cpu_seconds']:.3f} s, {result['wall_seconds']:.3f} s by the clock")


def come_to(record: Record, layouts: Layouts, throughput: Path | None) -> dict[str, Any]:
    """Pairs per second of each side, how much faster ours is, milliseconds of a resume, the share of waiting."""
    readers = {
        name: {
            "pairs_per_second": summary([r["pairs"] / r["cpu_seconds"] for r in record.runs(name)]),
            "wall_pairs_per_second": summary([r["pairs"] / r["wall_seconds"] for r in record.runs(name)]),
            "megabytes": layouts.megabytes(place),
        }
        for name, place in PLACES.items()
    }
    goals = {
        peer: {
            "ours": ours,
            "goal": goal,
            "speedup": readers[ours]["pairs_per_second"]["median"]
            / readers[peer]["pairs_per_second"]["median"],
            "paired_speedup": paired(record, ours, peer),
        }
        for peer, (ours, goal) in GOALS.items()
    }
    first = {
        name: {f"{kind}_ms": summary([1e3 * r[f"{kind}_seconds"] for r in found]) for kind in ("cpu", "wall")}
        for name, found in record.data["runs"].items()
        if name.startswith("first batch")
    }
    return {"readers": readers, "speedups": goals, "resume": first, "waiting": waiting(throughput)}


def paired(record: Record, ours: str, peer: str) -> dict[str, Any]:
    """Ratios of neighbouring passes."""
    both = zip(record.runs(ours), record.runs(peer), strict=True)
    return summary([theirs["cpu_seconds"] / mine["cpu_seconds"] for mine, theirs in both])


def waiting(path: Path | None) -> float | None:
    """The share of its steps that a training waited for data.

    Raises:
        ConfigError: no such file, or it does not say.
    """
    if path is None:
        return None
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["waiting"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"--throughput: {path} is no throughput.json of a run with a share of waiting"
        ) from error


def show(data: dict[str, Any]) -> None:
    rows = [
        (name, *(row["pairs_per_second"][key] for key in ("median", "low", "high")), row["megabytes"])
        for name, row in data["readers"].items()
    ]
    print(table(("reader", "pairs/s per core", "low", "high", "MB on disk"), rows))
    for peer, found in data["speedups"].items():
        spread = found["paired_speedup"]
        print(
            f"{found['ours']}: {found['speedup']:.1f}x {peer} (neighbouring passes {spread['low']:.1f} to "
            f"{spread['high']:.1f}; goal {found['goal']:g}x)"
        )
    cells = [
        (name, *(row[key][at] for key in ("wall_ms", "cpu_ms") for at in ("median", "high")))
        for name, row in data["resume"].items()
    ]
    print(table(("resume", "ms, median", "high", "processor ms", "high"), cells))
    if data["waiting"] is not None:
        print(f"a training step waits for data {data['waiting']:.2%} of its time")


if __name__ == "__main__":
    run(main)
