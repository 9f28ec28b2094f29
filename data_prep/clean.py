"""Cleans a folder of splits: quality rules, exact duplicates, near-duplicates, on both sides and across the splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from data_prep.corpus import Corpus
from data_prep.groups import Groups, connected, resolve
from data_prep.near import NearIndex, NearRules
from data_prep.quality import QualityRules, quality_reason
from data_prep.report import Report
from data_prep.spill import Buckets, RaggedFile

_SIDES = ("x", "y")


@dataclass(frozen=True, slots=True)
class CleanRules:
    """What is looked for.

    Args:
        quality: Limits for text on both sides; None for code, and to leave them out.
        near: Near-duplicates.
    """

    quality: QualityRules | None = None
    near: NearRules = field(default_factory=NearRules)


def clean(
    corpus: Corpus,
    rules: CleanRules,
    report: Report,
    spill: Path,
    on_batch: Callable[[int], object] = lambda count: None,
) -> None:
    """Mark what goes in ``corpus.alive`` and count it in ``report``; the outcome does not depend on the order.

    Of pairs that are alike on a side, one of the test split stays, else one of the validation split, else the
    one with the smallest id. What memory holds for each pair is some 20 bytes beside the shards' index.

    Args:
        corpus: Read once, and once more for near-duplicates.
        rules: What is looked for.
        report: Gets reasons and alarms.
        spill: An empty folder for files as large as one to two times the texts.
        on_batch: Called with the number of pairs after each chunk of either pass.
    """
    ids = RaggedFile(spill / "ids", "u1")

    def rank(record: int) -> bytes:
        return bytes([corpus.place(record)]) + ids[record].tobytes()

    exact = [Buckets(spill / f"exact-{side}", 1, corpus.count) for side in _SIDES]
    for first, records in corpus.batches(on_batch=on_batch):
        names = [record["id"].encode() for record in records]
        ids.append(np.frombuffer(b"".join(names), "u1"), np.array([len(name) for name in names]))
        _judge(corpus, first, records, rules.quality, report)
        here = first + np.flatnonzero(corpus.alive[first : first + len(records)])
        for side, buckets in zip(_SIDES, exact, strict=True):
            keys = [_key(records[number - first][side]) for number in here]
            buckets.append(np.array(keys, np.uint64)[:, None], here)
    _drop(corpus, [_joined(buckets, corpus.count) for buckets in exact], rank, None, report)
    if rules.near.threshold:
        _drop_near(corpus, rules.near, report, spill, rank, on_batch)


def _judge(
    corpus: Corpus, first: int, records: list[dict[str, Any]], rules: QualityRules | None, report: Report
) -> None:
    if rules is None:
        return
    for number, record in enumerate(records, first):
        for side in _SIDES:
            if reason := quality_reason(record[side], rules):
                report.dropped[f"{side}: {reason}"] += 1
                corpus.alive[number] = False
                break


def _key(text: str) -> int:
    """Equal for texts that differ in whitespace at most."""
    return xxhash.xxh3_64_intdigest(" ".join(text.split()).encode())


def _joined(buckets: Buckets, count: int) -> np.ndarray:
    groups = Groups(count)
    for records, begins in buckets:
        for bucket in np.split(records, begins[1:]):
            for record in bucket[1:].tolist():
                groups.join(int(bucket[0]), record)
    return groups.labels()


def _drop_near(
    corpus: Corpus,
    rules: NearRules,
    report: Report,
    spill: Path,
    rank: Callable[[int], bytes],
    on_batch: Callable[[int], object],
) -> None:
    indexes = [NearIndex(spill / f"near-{side}", corpus.count, rules.threshold, rank) for side in _SIDES]
    for first, records in corpus.batches(on_batch=on_batch):
        alive = corpus.alive[first : first + len(records)]
        for side, index in zip(_SIDES, indexes, strict=True):
            index.add([record[side] if here else None for record, here in zip(records, alive, strict=True)])
    labels = [
        _alarmed(index.groups(), side, rules, corpus, report)
        for side, index in zip(_SIDES, indexes, strict=True)
    ]
    _drop(corpus, labels, rank, indexes, report)
    if crowded := sum(index.crowded for index in indexes):
        report.notes.append(f"{crowded:,} crowded band(s) were searched in part: near-duplicates may be left")


def _alarmed(labels: np.ndarray, side: str, rules: NearRules, corpus: Corpus, report: Report) -> np.ndarray:
    """The labels, with groups that are too large taken apart unless they are to be dropped."""
    sizes = np.bincount(labels, minlength=corpus.count)
    large = np.flatnonzero(sizes > rules.limit(int(corpus.alive.sum())))
    for label in large.tolist():
        share = sizes[label] / corpus.alive.sum()
        done = "one is kept" if rules.drop_large else "all are kept; --drop-large-groups keeps one"
        report.notes.append(
            f"ALARM: {sizes[label]:,} near-duplicates of one {side} ({share:.1%} of the pairs): {done}; "
            f"see {_example(corpus, label)}"
        )
    if rules.drop_large or not len(large):
        return labels
    own = np.arange(corpus.count, dtype=np.uint32)
    return np.where(np.isin(labels, large), own, labels)


def _example(corpus: Corpus, record: int) -> str:
    wanted = np.zeros(corpus.count, bool)
    wanted[record] = True
    first, records = next(corpus.batches(wanted))
    return str(records[record - first]["id"])


def _drop(
    corpus: Corpus,
    labels: Sequence[np.ndarray],
    rank: Callable[[int], bytes],
    indexes: Sequence[NearIndex] | None,
    report: Report,
) -> None:
    """Keep one of those alike: of one group (exact), or found alike by the index of the side."""
    counts: Counter[str] = Counter()
    for component in connected(labels):
        gone = resolve(
            component.tolist(),
            labels,
            rank,
            lambda side, a, b: indexes is None or indexes[side].alike(a, b),
        )
        for record, sides in gone.items():
            corpus.alive[record] = False
            counts["pair" if len(sides) == 2 else _SIDES[sides[0]]] += 1
    for what, count in counts.items():
        report.dropped[f"{'duplicate' if indexes is None else 'near-duplicate'} {what}"] += count
