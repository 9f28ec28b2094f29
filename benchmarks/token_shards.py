"""Pre-tokenised shards beside the shards of texts they were made from: size, reading, and pairs ready for the model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.common import Record, alternate, parser, run, say, table
from benchmarks.corpus import code_pairs, cpt, tokenizer, whole
from data_prep.shards import PairShards
from lightning_cpt.data.batch import make_batch
from lightning_cpt.tokenization import PairTokenizer

MAX_LENGTH = 512


def main() -> None:
    options = parser("token_shards", __doc__, repetitions=5)
    options.add_argument(
        "--folder", type=Path, metavar="DIR", help="splits of texts (default: mined code pairs)"
    )
    options.add_argument("--tokenizer", type=Path, metavar="DIR", help="default: trained on the pairs")
    options.add_argument(
        "--pairs", type=int, default=20_000, metavar="N", help="read at most (default: %(default)s)"
    )
    args = options.parse_args()
    pairs = args.folder or code_pairs(args.work, quick=args.quick)
    vocabulary = args.tokenizer or tokenizer(pairs)
    ids = args.work / f"{pairs.name}-ids"
    if not whole(ids):
        cpt("prep", "tokenize", str(pairs), "--tokenizer", str(vocabulary), "--out", str(ids), "--overwrite")
    texts, tokens = (PairShards.open(folder / "train") for folder in (pairs, ids))
    settings = {
        "texts": texts.fingerprint,
        "ids": tokens.fingerprint,
        "pairs": args.pairs,
        "quick": args.quick,
    }
    record = Record(args.json, "token_shards", settings, fresh=args.fresh)
    chunks = max(1, min(len(texts.chunk_counts), args.pairs // int(texts.chunk_counts[0])))
    made = PairTokenizer(vocabulary, max_length_x=MAX_LENGTH, max_length_y=MAX_LENGTH)
    made(["warm"], "x")
    work: dict[str, Callable[[], int]] = {
        "read texts": lambda: _read(texts, chunks),
        "read ids": lambda: _read(tokens, chunks),
        "texts to a batch": lambda: _batches(texts, chunks, made),
        "ids to a batch": lambda: _batches(tokens, chunks, made),
    }
    speeds = _measure(record, work, args.repetitions)
    rows = [
        [name, f"{statistics.median(s):,.0f}", f"{min(s):,.0f}", f"{max(s):,.0f}"]
        for name, s in speeds.items()
    ]
    print(table(["work", "pairs/s", "low", "high"], rows))
    size = [sum(shard["bytes"] for shard in one.manifest["shards"]) for one in (texts, tokens)]
    median = {name: statistics.median(values) for name, values in speeds.items()}
    summary = {
        "size_of_texts": size[1] / size[0],
        "read_of_texts": median["read ids"] / median["read texts"],
        "batch_of_texts": median["ids to a batch"] / median["texts to a batch"],
        "medians": median,
        "pairs_in_all": texts.count,
        "bytes": size,
    }
    record.finish(summary)
    print(
        f"{texts.count:,} pairs: ids {size[1] / 1e6:.1f} MB, {summary['size_of_texts']:.2f} of the texts'; read at "
        f"{summary['read_of_texts']:.2f}x, ready for the model at {summary['batch_of_texts']:.1f}x"
    )


def _measure(record: Record, work: dict[str, Callable[[], int]], repetitions: int) -> dict[str, list[float]]:
    """Pairs per second of processor time, of each work."""

    def timed(read: Callable[[], int]) -> Callable[[], float]:
        def once() -> float:
            start = time.process_time()
            count = read()
            return count / (time.process_time() - start)

        return once

    sides = {name: timed(read) for name, read in work.items()}
    alternate(record, sides, repetitions, lambda label, found: say(f"{label}: {found:,.0f} pairs/s"))
    return {name: record.runs(name) for name in work}


def _read(shards: PairShards, chunks: int) -> int:
    return sum(len(shards.read_chunk(chunk)) for chunk in range(chunks))


def _batches(shards: PairShards, chunks: int, tokenizer: PairTokenizer) -> int:
    """What a worker does for a batch: read, tokenise where needed, cut, put between delimiters."""
    count = 0
    for chunk in range(chunks):
        records = shards.read_chunk(chunk)
        count += len(make_batch(records, tokenizer, rows=torch.arange(len(records))))
    return count


if __name__ == "__main__":
    run(main)
