"""Cleaning: near-duplicates against datasketch on the same texts, what is found of what was planted, and contamination."""

from __future__ import annotations

import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Record, alternate, parser, run, say, summary, table
from data_prep.clean import CleanRules, clean
from data_prep.corpus import Corpus
from data_prep.decontaminate import decontaminate
from data_prep.evaluation import NgramRules
from data_prep.minhash import PERMUTATIONS, jaccard, signatures
from data_prep.near import NearIndex
from data_prep.pairs import Pair
from data_prep.report import Report
from data_prep.shards import open_splits, stream_splits
from data_prep.shingles import SHINGLE, batches, shingle_hashes, shingles
from data_prep.spill import spill_folder
from eval_suite.texts import evaluation_texts
from lightning_cpt.errors import ConfigError

THRESHOLD = 0.8
OURS, BATCH, BULK = "ours", "datasketch update_batch", "datasketch bulk"


def main() -> None:
    options = parser("prep_dedup", __doc__, repetitions=3)
    options.add_argument("--documents", type=int, default=20_000, metavar="N", help="default: %(default)s")
    options.add_argument(
        "--corpus", type=Path, metavar="DIR", help="splits of text for contamination; default: made up"
    )
    options.add_argument("--data", type=Path, metavar="DIR", help="evaluation data for it; default: made up")
    options.add_argument(
        "--megabytes",
        type=int,
        default=200,
        metavar="N",
        help="made-up input for memory; default: %(default)s",
    )
    args = options.parse_args()
    count, megabytes = (600, 4) if args.quick else (args.documents, args.megabytes)
    settings = {
        "documents": count,
        "megabytes": megabytes,
        "data": bool(args.data),
        "corpus": bool(args.corpus),
        "datasketch": _peer(),
    }
    record = Record(args.json, "prep_dedup", settings, fresh=args.fresh)
    _speeds(record, _texts(random.Random(0), count), args.repetitions)
    planted = record.once(
        "contamination",
        lambda: _contamination(args, 60 if args.quick else 500, 30 * count // 20 if args.quick else 30_000),
    )
    memory = record.once("memory", lambda: [_memory(megabytes // 4), _memory(megabytes)])
    print(f"contamination: {planted}")
    print(table(("input, MB", "pairs", "peak, MB", "bytes a pair more", "s"), memory))
    record.finish({"memory": memory})


def _peer() -> str:
    try:
        return version("datasketch")
    except ImportError:
        raise ConfigError(
            "the peer is missing: pip install --target DIR datasketch, and PYTHONPATH=DIR"
        ) from None


def _texts(rng: random.Random, count: int, *, copied: float = 0.1) -> list[str]:
    """Made-up documents of 50 to 250 words; the last part of them are edited copies of the first."""
    words = [
        f"{rng.choice('bcdfgklmnprst')}{''.join(rng.choices('aeioulmnrst', k=rng.randrange(1, 9)))}"
        for _ in range(20_000)
    ]
    weights = [1 / (rank + 10) for rank in range(len(words))]
    originals = count - int(copied * count)
    texts = [" ".join(rng.choices(words, weights, k=rng.randrange(50, 250))) for _ in range(originals)]
    for number in range(count - originals):
        copy = texts[number].split()
        for _ in range(rng.randrange(1, max(2, len(copy) // 40))):
            copy[rng.randrange(len(copy))] = rng.choice(words)
        texts.append(" ".join(copy))
    return texts


def _speeds(record: Record, texts: list[str], repetitions: int) -> None:
    hashed = [shingle_hashes(texts[part]) for part in batches(texts)]
    tokens = [
        [" ".join(words[i : i + SHINGLE]).encode() for i in range(len(words) - SHINGLE + 1)]
        for words in map(str.split, texts)
    ]
    sides: dict[str, Callable[[], Any]] = {
        f"signatures, {OURS}": lambda: _timed(texts, lambda: [signatures(part) for part in hashed]),
        f"signatures, {BATCH}": lambda: _timed(texts, lambda: [_sketch(one) for one in tokens]),
        f"signatures, {BULK}": lambda: _timed(texts, lambda: _bulk(tokens)),
        f"stage, {OURS}": lambda: _timed(texts, lambda: _near(texts)),
        "stage, datasketch": lambda: _timed(texts, lambda: _peers_stage(texts)),
    }
    alternate(record, sides, repetitions, lambda name, speed: say(f"{name}: {speed:,.0f} documents/s"))
    rows = []
    for name in sides:
        speed = summary(record.runs(name))
        ours = summary(record.runs(f"{name.split(',')[0]}, {OURS}"))["median"]
        rows.append((name, speed["median"], speed["low"], speed["high"], ours / speed["median"]))
    print(table(("documents per second of processor time", "median", "low", "high", "ours is times"), rows))
    found = record.once("recall", lambda: _recall(texts))
    print(
        "planted near-duplicates found: " + ", ".join(f"{name} {share:.1%}" for name, share in found.items())
    )


def _timed(texts: list[str], work: Callable[[], object]) -> float:
    """Documents per second of processor time of one core: other programs on the machine do not count."""
    begin = time.process_time()
    work()
    return len(texts) / (time.process_time() - begin)


def _sketch(tokens: list[bytes]) -> Any:
    from datasketch import MinHash

    sketch = MinHash(num_perm=PERMUTATIONS)
    sketch.update_batch(tokens)
    return sketch


def _bulk(tokens: list[list[bytes]]) -> list[Any]:
    from datasketch import MinHash

    made: list[Any] = MinHash.bulk(tokens, num_perm=PERMUTATIONS)
    return made


def _near(texts: list[str]) -> np.ndarray:
    """From texts to groups, on disk as in `cpt prep clean`."""
    with tempfile.TemporaryDirectory() as folder:
        index = NearIndex(Path(folder, "near"), len(texts), THRESHOLD, lambda number: b"%012d" % number)
        for begin in range(0, len(texts), 512):
            index.add(list(texts[begin : begin + 512]))
        return index.groups()


def _peers_stage(texts: list[str]) -> set[int]:
    """From texts to those that datasketch finds a twin for among those before them."""
    from datasketch import MinHashLSH

    index, found = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS), set()
    for number, text in enumerate(texts):
        words = text.split()
        sketch = _sketch([" ".join(words[i : i + SHINGLE]).encode() for i in range(len(words) - SHINGLE + 1)])
        if index.query(sketch):
            found.add(number)
        index.insert(number, sketch)
    return found


def _recall(texts: list[str]) -> dict[str, float]:
    """Of the copies that truly share enough with their original, the part that each finds."""
    first = len(texts) - len(texts) // 10
    true = [
        number
        for number in range(first, len(texts))
        if jaccard(shingles(texts[number]), shingles(texts[number - first])) >= THRESHOLD
    ]
    groups, theirs = _near(texts), _peers_stage(texts)
    return {
        OURS: sum(groups[number] == groups[number - first] for number in true) / len(true),
        "datasketch": sum(number in theirs for number in true) / len(true),
        "of planted": len(true) / (len(texts) - first),
    }


def _contamination(args: Any, sentences: int, documents: int) -> dict[str, Any]:
    """Plant evaluation sentences, one each, at random places of as many documents; count what is found and lost."""
    rng = random.Random(1)
    made_up = _texts(rng, sentences + documents, copied=0)
    every = (
        list(evaluation_texts(args.data))
        if args.data
        else [("made up", " ".join(text.split()[:20])) for text in made_up[:sentences]]
    )
    texts = (
        [record["y"] for record in open_splits(args.corpus)["train"]] if args.corpus else made_up[sentences:]
    )
    texts = texts[:documents]
    long_enough = sorted({text for _, text in every if len(text.split()) > NgramRules().min_words})
    chosen, places = rng.sample(long_enough, sentences), rng.sample(range(len(texts)), sentences)
    pairs = [Pair(f"p{number}", f"document {number}", text) for number, text in enumerate(texts)]
    for sentence, place in zip(chosen, places, strict=True):
        before, dot, after = pairs[place].y.partition(". ")
        pairs[
            place
        ].y = f"{before}{dot or '. '}{sentence}{'' if sentence.rstrip().endswith('.') else '.'} {after}"
    with tempfile.TemporaryDirectory() as folder:
        stream_splits(Path(folder, "in"), {"train": pairs}, source="bench")
        corpus = Corpus(Path(folder, "in"))
        begin = time.process_time()
        decontaminate(corpus, every, NgramRules(), Report())
        seconds = time.process_time() - begin
    planted = np.zeros(len(texts), bool)
    planted[places] = True
    gone = ~corpus.alive
    return {
        "documents": len(texts),
        "planted": sentences,
        "found": int((gone & planted).sum()),
        "clean documents dropped": float((gone & ~planted).sum() / (~planted).sum()),
        "documents/s": len(texts) / seconds,
        "evaluation texts": len(every),
    }


def _memory(megabytes: int) -> tuple[Any, ...]:
    """Clean made-up pairs of so many megabytes in a process of its own; how much memory it had at most."""
    from multiprocessing import get_context

    with tempfile.TemporaryDirectory() as folder, get_context("spawn").Pool(1) as pool:
        return tuple(pool.apply(_clean_made_up, (folder, megabytes)))


def _clean_made_up(folder: str, megabytes: int) -> list[Any]:
    stream_splits(Path(folder, "in"), {"train": _made_up_pairs(megabytes << 20)}, source="bench")
    shards = open_splits(Path(folder, "in"))["train"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    corpus = Corpus(Path(folder, "in"))
    with spill_folder(Path(folder, "out")) as place:
        clean(corpus, CleanRules(), Report(), place)
    stream_splits(Path(folder, "out"), {"train": corpus.survivors("train")}, source="bench")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return [
        megabytes,
        len(shards),
        peak / 1000,
        1000 * (peak - before) / len(shards),
        time.process_time() - begin,
    ]


def _made_up_pairs(size: int) -> Iterator[Pair]:
    rng = np.random.default_rng(0)
    words = np.array([f"w{number:05d}" for number in range(20_000)])
    number = 0
    while size > 0:
        x, y = (" ".join(words[rng.integers(0, len(words), count)]) for count in (20, 130))
        size -= len(x) + len(y)
        yield Pair(f"p{number:09d}", x, y, meta={"document": f"d{number // 10}"})
        number += 1


if __name__ == "__main__":
    run(main)
