"""Cleans a folder of splits: quality rules, exact duplicates, near-duplicates, on both sides and across the splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data_prep.corpus import Corpus
from data_prep.keys import KeyFiles, Keys, drop, drop_crossed
from data_prep.near import NearFiles, NearIndex, NearRules
from data_prep.quality import QualityRules, quality_reason
from data_prep.report import Report

SIDES = ("x", "y")


class Numbered(Protocol):
    """Pairs with numbers: a :class:`~data_prep.corpus.Corpus` or a :class:`~data_prep.pool.Pool`."""

    count: int
    alive: np.ndarray

    def batches(self, wanted: np.ndarray | None = None) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """First number and records of each batch that holds one of the wanted."""


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
    one with the smallest id. What memory holds for each pair is some tens of bytes, the shards' index among them.

    Args:
        corpus: Read once, and once more for near-duplicates.
        rules: What is looked for.
        report: Gets reasons and alarms.
        spill: An empty folder for files as large as one to two times the texts.
        on_batch: Called with the number of pairs after each chunk of either pass.
    """
    files = KeyFiles(spill / "keys")
    for first, records in corpus.batches(on_batch=on_batch):
        _judge(corpus, first, records, rules.quality, report)
        files.add(records)
    keys = Keys([spill / "keys"], [0], corpus.place)
    drop_equal(corpus.alive, keys, report)
    drop_crossed(corpus.alive, keys, corpus.places, report.dropped)
    if not rules.near.threshold:
        return
    folders = sketch(corpus.batches(on_batch=on_batch), corpus.alive, rules.near, spill / "near")
    indexes = [NearIndex([folder], [0], corpus.count, rules.near.threshold, keys.rank) for folder in folders]
    drop_near(corpus, [index.groups() for index in indexes], indexes, keys, rules.near, report)


def _judge(
    corpus: Corpus, first: int, records: list[dict[str, Any]], rules: QualityRules | None, report: Report
) -> None:
    if rules is None:
        return
    for number, record in enumerate(records, first):
        for side in SIDES:
            if reason := quality_reason(record[side], rules):
                report.dropped[f"{side}: {reason}"] += 1
                corpus.alive[number] = False
                break


def drop_equal(alive: np.ndarray, keys: Keys, report: Report) -> None:
    """Keep one of those alive that are equal on a side."""
    drop(alive, [keys.labels(side, alive) for side in SIDES], keys.rank, report.dropped, "duplicate")


def sketch(
    batches: Iterator[tuple[int, list[dict[str, Any]]]], alive: np.ndarray, rules: NearRules, folder: Path
) -> list[Path]:
    """Write what near-duplicates are found by, for the pairs of some batches; returns a folder for each side.

    Args:
        batches: First number and records.
        alive: bool, by number: the others hold their places.
        rules: What a near-duplicate is.
        folder: Made.
    """
    folder.mkdir(parents=True)
    sides = [NearFiles(folder / side, rules.threshold) for side in SIDES]
    for first, records in batches:
        here = alive[first : first + len(records)].tolist()
        for side, files in zip(SIDES, sides, strict=True):
            files.add([record[side] if one else None for record, one in zip(records, here, strict=True)])
    return [folder / side for side in SIDES]


def drop_near(
    corpus: Numbered,
    labels: Sequence[np.ndarray],
    indexes: Sequence[NearIndex],
    keys: Keys,
    rules: NearRules,
    report: Report,
) -> None:
    """Keep one of those that are near-duplicates on a side.

    Args:
        corpus: Whose ``alive`` is marked.
        labels: Per side, the groups that the index found.
        indexes: Per side.
        keys: Say who stays.
        rules: Which groups are alarming.
        report: Gets counts and alarms.
    """
    checked = [
        _alarmed(label, side, rules, corpus, report) for side, label in zip(SIDES, labels, strict=True)
    ]
    drop(
        corpus.alive,
        checked,
        keys.rank,
        report.dropped,
        "near-duplicate",
        lambda side, a, b: indexes[side].alike(a, b),
    )
    if crowded := sum(index.crowded for index in indexes):
        report.notes.append(f"{crowded:,} crowded band(s) were searched in part: near-duplicates may be left")


def _alarmed(labels: np.ndarray, side: str, rules: NearRules, corpus: Numbered, report: Report) -> np.ndarray:
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


def _example(corpus: Numbered, record: int) -> str:
    wanted = np.zeros(corpus.count, bool)
    wanted[record] = True
    first, records = next(corpus.batches(wanted))
    return str(records[record - first]["id"])
