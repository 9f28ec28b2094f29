"""Removes exact duplicates over the whole corpus, and finds near-duplicates of held-out texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np
import xxhash

from data_prep.corpus import PRECEDENCE
from data_prep.errors import DataError
from data_prep.keys import FIELDS, losers
from data_prep.pairs import Pair
from data_prep.pool import Pool
from data_prep.report import Report
from data_prep.shingles import batches, shingle_hashes
from data_prep.spill import Ragged, RaggedFile

HELD_OUT_SHINGLES = 1 << 24  # of the held-out texts that are searched at once: some 30 bytes each


def drop_duplicates(splits: dict[str, list[Pair]], report: Report) -> dict[str, list[Pair]]:
    """Of pairs that fit into memory keep one of those with equal x, and one of those with equal y; whitespace does not count, case does.

    Of two equal ones, the test split's wins, then the validation split's, then the smaller id: the outcome does
    not depend on the order of the pairs. Each split is returned in the order of the ids.

    Raises:
        SameId: two pairs that differ in x and in y have the same id.
    """
    seen: dict[str, set[int]] = {"id": set(), "x": set(), "y": set()}
    kept: dict[str, list[Pair]] = {name: [] for name in splits}
    for name in sorted(splits, key=PRECEDENCE.index):
        for pair in sorted(splits[name], key=lambda pair: (pair.id, pair.x, pair.y)):
            keys = {"id": _key(pair.id), "x": _key(pair.x), "y": _key(pair.y)}
            known = [field for field in keys if keys[field] in seen[field]]
            if known == ["id"]:
                raise SameId(pair.id)
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


class SameId(DataError):
    """Two different pairs have one id.

    Attributes:
        id: That id.
    """

    def __init__(self, identity: str, message: str = "") -> None:
        super().__init__(
            message
            or f"id {identity!r}: two different pairs have it; give inputs of different names (or an id column "
            "without repeats), so that neither is lost"
        )
        self.id = identity

    def __reduce__(self) -> tuple[type[SameId], tuple[str, str]]:
        # A worker process hands its exception over by pickling it.
        return type(self), (self.id, str(self))


def drop_duplicates_of(pool: Pool, report: Report) -> None:
    """Mark what :func:`drop_duplicates` would drop in ``pool.alive``, without a text in memory.

    Raises:
        SameId: two pairs that differ in x and in y have the same id.
    """
    keys = pool.keys()
    labels = [keys.labels(field, pool.alive) for field in FIELDS]
    repeated = np.zeros(pool.count, bool)
    members = np.flatnonzero(labels[0] != np.arange(pool.count, dtype=np.uint32))
    repeated[members] = repeated[labels[0][members]] = True

    def rank(record: int) -> tuple[bytes, ...]:
        if not repeated[record]:
            return (keys.rank(record),)
        found = pool.record(record)
        return keys.rank(record), found["x"].encode(), found["y"].encode()

    def alike(field: int, a: int, b: int) -> bool:
        """An error about ids wants more than equal hashes; texts are taken at their hashes' word."""
        return field > 0 or _words(keys.rank(a)) == _words(keys.rank(b))

    for record, fields in losers(pool.alive, labels, rank, alike):
        if fields == [0]:
            raise SameId(pool.record(record)["id"])
        what = "pair" if {1, 2} <= set(fields) else FIELDS[fields[0]]
        report.dropped[f"duplicate {what}"] += 1


def _words(rank: bytes) -> list[str]:
    """Of the id behind a rank's first byte."""
    return rank[1:].decode().split()


def drop_near_duplicates(pool: Pool, report: Report, threshold: float, folder: Path) -> None:
    """Mark the training pairs in ``pool.alive`` whose y is nearly a held-out one's (see :class:`HeldOut`).

    Args:
        pool: All pairs.
        report: Gets the count.
        threshold: Part of the shingles that are shared.
        folder: Made; gets the shingles of all y: eight bytes for each.
    """
    folder.mkdir()
    files = RaggedFile(folder / "sets", "<u8")
    for first, records in pool.batches():
        here = pool.alive[first : first + len(records)].tolist()
        found = list(
            shingle_sets([record["y"] if one else "" for record, one in zip(records, here, strict=True)])
        )
        files.append(np.concatenate(found), np.array([len(one) for one in found]))
    sets = Ragged([folder / "sets"], [0], "<u8")
    train = pool.places == PRECEDENCE.index("train")
    held_out = iter(np.flatnonzero(pool.alive & ~train).tolist())
    while len(index := HeldOut((sets[number] for number in held_out), threshold)):
        for number in np.flatnonzero(pool.alive & train).tolist():
            if index.has_alike(sets[number]):
                pool.alive[number] = False
                report.dropped["near-duplicate of a held-out y"] += 1


def shingle_sets(texts: Sequence[str]) -> Iterator[np.ndarray]:
    """What :func:`~data_prep.shingles.shingles` says of each text, many at once."""
    for part in batches(texts):
        hashed = shingle_hashes(texts[part])
        for begin, end in pairwise(hashed.ends.tolist()):
            yield np.unique(hashed.values[begin:end])


def near_duplicates(texts: Sequence[str], heldout: Sequence[str], threshold: float = 0.7) -> np.ndarray:
    """bool (len(texts),): which ``texts`` share at least ``threshold`` of their shingles with one of ``heldout``."""
    sets, found = shingle_sets(heldout), np.zeros(len(texts), bool)
    while len(index := HeldOut(sets, threshold)):
        found |= np.fromiter(map(index.has_alike, shingle_sets(texts)), bool, len(texts))
    return found


class HeldOut:
    """Shingles of held-out texts, to be found by any of their rarest ones.

    A shingle is five neighbouring words or signs; the measure is the Jaccard index of the two sets, exact, no
    estimate. Pairs worth comparing are found by prefix filtering (Chaudhuri, Ganti and Kaushik, ICDE 2006): with
    shingles ordered rarest first, two sets that are alike share one of their first n - ceil(t n) + 1, so that
    none is missed.

    Args:
        sets: Of the texts; as many are taken as fit, so that a longer list wants several of these.
        threshold: Part that two texts share at least.
    """

    def __init__(self, sets: Iterator[np.ndarray], threshold: float) -> None:
        if not 0 < threshold <= 1:
            raise DataError(f"near-duplicate threshold {threshold}: must be over 0 and at most 1")
        self._threshold = threshold
        taken: list[np.ndarray] = []
        size = 0
        while size < HELD_OUT_SHINGLES and (one := next(sets, None)) is not None:
            taken.append(one)
            size += len(one)
        self._sizes = [len(one) for one in taken]
        everything = np.concatenate([*taken, np.empty(0, np.uint64)])
        self._vocabulary, inverse, frequency = np.unique(everything, return_inverse=True, return_counts=True)
        self._rank = np.empty(len(frequency), np.uint32)
        self._rank[np.argsort(frequency, kind="stable")] = np.arange(len(frequency), dtype=np.uint32)
        ends = np.cumsum([0, *self._sizes])
        ranks = self._rank[inverse]
        self._ranks = [np.sort(ranks[begin:end]) for begin, end in pairwise(ends.tolist())]
        first = [ranks[: self._prefix(len(ranks))] for ranks in self._ranks]
        rarest = np.concatenate([*first, np.empty(0, np.uint32)])
        owners = np.repeat(np.arange(len(first), dtype=np.uint32), [len(one) for one in first])
        order = np.argsort(rarest, kind="stable")
        self._postings, self._owners = rarest[order], owners[order]

    def __len__(self) -> int:
        return len(self._sizes)

    def has_alike(self, shingle_set: np.ndarray) -> bool:
        """Whether one of the held-out texts is near to the text of these shingles: sorted, each once."""
        ranks, size = self._known(shingle_set), len(shingle_set)
        # Shingles that no held-out text has are the rarest of all: they fill the prefix first.
        prefix = ranks[: max(0, self._prefix(size) - (size - len(ranks)))]
        return any(
            self._jaccard(ranks, size, number) >= self._threshold for number in self._candidates(prefix)
        )

    def _candidates(self, prefix: np.ndarray) -> list[int]:
        if not len(prefix):
            return []
        begins, ends = (np.searchsorted(self._postings, prefix, side) for side in ("left", "right"))
        found = {
            number
            for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
            for number in self._owners[begin:end].tolist()
        }
        return sorted(found)

    def _jaccard(self, ranks: np.ndarray, size: int, number: int) -> float:
        other = self._sizes[number]
        if min(size, other) < self._threshold * max(size, other) - 1e-9:
            return 0.0
        shared = len(np.intersect1d(ranks, self._ranks[number], assume_unique=True))
        return shared / (size + other - shared)

    def _known(self, shingle_set: np.ndarray) -> np.ndarray:
        """Ranks, ascending, of those shingles that some held-out text has."""
        if not len(self._vocabulary):
            return np.empty(0, np.uint32)
        places = np.searchsorted(self._vocabulary, shingle_set).clip(max=len(self._vocabulary) - 1)
        return np.sort(self._rank[places[self._vocabulary[places] == shingle_set]])

    def _prefix(self, size: int) -> int:
        return size - ceil(self._threshold * size - 1e-9) + 1
