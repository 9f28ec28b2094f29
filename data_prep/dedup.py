"""Removes exact duplicates over the whole corpus, and finds near-duplicates of held-out texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np
import xxhash

from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.report import Report
from data_prep.shingles import shingles

# Who keeps a text that several splits have: the held-out ones, so that they do not depend on the training data.
_PRECEDENCE = ("test", "validation", "train")


def drop_duplicates(splits: dict[str, list[Pair]], report: Report) -> dict[str, list[Pair]]:
    """Keep one pair of those with equal x, and one of those with equal y; whitespace does not count, case does.

    Of two equal ones, the test split's wins, then the validation split's, then the smaller id: the outcome does
    not depend on the order of the pairs. Each split is returned in the order of the ids.

    Raises:
        DataError: two pairs that differ in x and in y have the same id.
    """
    seen: dict[str, set[int]] = {"id": set(), "x": set(), "y": set()}
    kept: dict[str, list[Pair]] = {name: [] for name in splits}
    for name in sorted(splits, key=_PRECEDENCE.index):
        for pair in sorted(splits[name], key=lambda pair: (pair.id, pair.x, pair.y)):
            keys = {"id": _key(pair.id), "x": _key(pair.x), "y": _key(pair.y)}
            known = [field for field in keys if keys[field] in seen[field]]
            if known == ["id"]:
                raise DataError(
                    f"id {pair.id!r}: two different pairs have it; give inputs of different names (or an id column "
                    "without repeats), so that neither is lost"
                )
            if known:
                what = "pair" if {"x", "y"} <= set(known) else known[0]
                report.dropped[f"duplicate {what}"] += 1
                continue
            for field, value in keys.items():
                seen[field].add(value)
            kept[name].append(pair)
    return kept


def _key(text: str) -> int:
    return xxhash.xxh3_128_intdigest(" ".join(text.split()).encode())


def drop_near_duplicates(splits: dict[str, list[Pair]], report: Report, threshold: float) -> None:
    """Take the training pairs out of ``splits`` whose y is nearly a held-out one's (see near_duplicates)."""
    heldout = [pair.y for name, pairs in splits.items() if name != "train" for pair in pairs]
    alike = near_duplicates([pair.y for pair in splits["train"]], heldout, threshold)
    report.dropped["near-duplicate of a held-out y"] += int(alike.sum())
    splits["train"] = [pair for pair, known in zip(splits["train"], alike, strict=True) if not known]


def near_duplicates(texts: Sequence[str], heldout: Sequence[str], threshold: float = 0.7) -> np.ndarray:
    """Which ``texts`` share at least ``threshold`` of their shingles with one of ``heldout``.

    A shingle is five neighbouring words or signs; the measure is the Jaccard index of the two sets, exact, no
    estimate. Pairs worth comparing are found by prefix filtering (Chaudhuri, Ganti and Kaushik, ICDE 2006): with
    shingles ordered rarest first, two sets that are alike share one of their first n - ceil(t n) + 1, so that
    none is missed.

    Returns:
        bool (len(texts),).
    """
    if not 0 < threshold <= 1:
        raise DataError(f"near-duplicate threshold {threshold}: must be over 0 and at most 1")
    index = _PrefixIndex([shingles(text) for text in heldout], threshold)
    return np.fromiter((index.has_alike(shingles(text)) for text in texts), dtype=bool, count=len(texts))


class _PrefixIndex:
    """The held-out sets, to be found by any of their rarest shingles."""

    def __init__(self, sets: list[np.ndarray], threshold: float) -> None:
        self._threshold = threshold
        self._sizes = [len(shingle_set) for shingle_set in sets]
        everything = np.concatenate([*sets, np.empty(0, np.uint64)])
        self._vocabulary, frequency = np.unique(everything, return_counts=True)
        self._rank = np.empty(len(frequency), np.int64)
        self._rank[np.argsort(frequency, kind="stable")] = np.arange(len(frequency))
        self._ranks = [self._known(shingle_set) for shingle_set in sets]
        self._postings: dict[int, list[int]] = {}
        for number, ranks in enumerate(self._ranks):
            for rank in ranks[: self._prefix(len(ranks))].tolist():
                self._postings.setdefault(rank, []).append(number)

    def has_alike(self, shingle_set: np.ndarray) -> bool:
        ranks, size = self._known(shingle_set), len(shingle_set)
        # Shingles that no held-out text has are the rarest of all: they fill the prefix first.
        prefix = ranks[: max(0, self._prefix(size) - (size - len(ranks)))]
        return any(
            self._jaccard(ranks, size, number) >= self._threshold for number in self._candidates(prefix)
        )

    def _candidates(self, prefix: np.ndarray) -> Iterator[int]:
        found = {number for rank in prefix.tolist() for number in self._postings.get(rank, ())}
        return iter(sorted(found))

    def _jaccard(self, ranks: np.ndarray, size: int, number: int) -> float:
        other = self._sizes[number]
        if min(size, other) < self._threshold * max(size, other) - 1e-9:
            return 0.0
        shared = len(np.intersect1d(ranks, self._ranks[number], assume_unique=True))
        return shared / (size + other - shared)

    def _known(self, shingle_set: np.ndarray) -> np.ndarray:
        """Ranks, ascending, of those shingles that some held-out text has."""
        if not len(self._vocabulary):
            return np.empty(0, np.int64)
        places = np.searchsorted(self._vocabulary, shingle_set).clip(max=len(self._vocabulary) - 1)
        return np.sort(self._rank[places[self._vocabulary[places] == shingle_set]])

    def _prefix(self, size: int) -> int:
        return size - ceil(self._threshold * size - 1e-9) + 1
