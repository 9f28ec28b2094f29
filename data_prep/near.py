"""Finds near-duplicates among any number of pairs: signatures, bands on disk, candidates verified, groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.errors import DataError
from data_prep.groups import Groups
from data_prep.minhash import band_keys, choose_bands, jaccard, signatures
from data_prep.shingles import Hashed, batches, shingle_hashes
from data_prep.spill import Buckets, Ragged, RaggedFile, shared_keys

# In a bucket, each member is compared with those before it that are like none before them, up to this many:
# thousands of texts that share one band and nothing else must not cost the square of their number.
MAX_LEADERS = 256


@dataclass(frozen=True, slots=True)
class NearRules:
    """What a near-duplicate is, and which groups are too large to be believed.

    Args:
        threshold: Part of their 5-token shingles that two texts share (Jaccard), at least; 0 looks for none.
        max_group: A larger group of near-duplicates is reported and left alone: a template or a licence has
            joined texts that are worth keeping, or a whole source is there twice, which somebody should see.
        max_share: The same for a group of more than this part of the corpus (and at least 20 texts).
        drop_large: Drop them all the same.
    """

    threshold: float = 0.8
    max_group: int = 1000
    max_share: float = 0.01
    drop_large: bool = False

    def __post_init__(self) -> None:
        if self.threshold:
            choose_bands(self.threshold)
        if self.max_group < 2 or not 0 < self.max_share <= 1:
            raise DataError(
                "near-duplicate groups: the limit must be 2 or more, the share over 0 and up to 1"
            )

    def limit(self, count: int) -> int:
        """The largest group of a corpus that is not alarming."""
        return min(self.max_group, max(20, int(self.max_share * count)))


class NearFiles:
    """Band keys and shingles of the texts of one side, added in the order of their numbers.

    Args:
        folder: Made; gets the files.
        threshold: Jaccard index from which two texts are near-duplicates.
    """

    def __init__(self, folder: Path, threshold: float) -> None:
        folder.mkdir()
        self._bands, self._rows = choose_bands(threshold)
        self._buckets = Buckets(folder / "bands", self._bands)
        self._sets = RaggedFile(folder / "sets", "<u4")
        self._added = 0

    def add(self, texts: list[str | None]) -> None:
        """Add the next texts; None holds a number's place and is like nothing."""
        present = [text for text in texts if text is not None]
        places = np.flatnonzero([text is not None for text in texts])
        sizes = np.zeros(len(texts), np.int64)
        values, keys = [], [np.empty((0, self._bands), np.uint64)]
        for part in batches(present):
            hashed = shingle_hashes(present[part])
            keys.append(band_keys(signatures(hashed), self._bands, self._rows))
            unique = _sets(hashed)
            sizes[places[part]] = np.diff(unique.ends)
            values.append(unique.values)
        self._buckets.append(np.concatenate(keys), self._added + places)
        self._sets.append(np.concatenate([np.empty(0, np.uint32), *values]), sizes)
        self._added += len(texts)


class NearIndex:
    """The texts of one side that several :class:`NearFiles` hold, one after another.

    Args:
        folders: As the writers were given.
        begins: The number of each folder's first text.
        count: Texts in all.
        threshold: The writers'.
        rank: Orders texts of one bucket by what they are, not by where they lie.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        begins: Sequence[int],
        count: int,
        threshold: float,
        rank: Callable[[int], bytes],
    ) -> None:
        self._bands, _ = choose_bands(threshold)
        self._threshold, self._rank = threshold, rank
        self._folders, self._begins = [folder / "bands" for folder in folders], begins
        self._sets = Ragged([folder / "sets" for folder in folders], begins, "<u4")
        self._count = count
        self.crowded = 0

    def alike(self, a: int, b: int) -> bool:
        """Whether the two texts share enough of their shingles: counted, not estimated."""
        one, other = self._sets[a], self._sets[b]
        sizes = sorted((len(one), len(other)))
        return sizes[0] >= self._threshold * sizes[1] and jaccard(one, other) >= self._threshold

    def groups(self) -> np.ndarray:
        """uint32 (count,): for each text, the smallest number of its group of verified near-duplicates."""
        groups = Groups(self._count)
        for band in range(self._bands):
            for records, begins in shared_keys(self._folders, self._begins, band):
                self._join_buckets(groups, records, begins)
        return groups.labels()

    def _join_buckets(self, groups: Groups, records: np.ndarray, begins: np.ndarray) -> None:
        ends = np.append(begins[1:], len(records))
        labels = groups.labels()[records]
        # Most buckets of a band hold what an earlier band has joined.
        mixed = labels != np.repeat(labels[begins], ends - begins)
        todo = np.unique(np.searchsorted(begins, np.flatnonzero(mixed), side="right") - 1)
        for bucket in todo.tolist():
            self._join(groups, records[begins[bucket] : ends[bucket]].tolist())

    def _join(self, groups: Groups, members: list[int]) -> None:
        first, *rest = sorted(members, key=self._rank)
        leaders = [first]
        for member in rest:
            known = groups.find(member)
            if any(groups.find(leader) == known for leader in leaders):
                continue
            match = next((leader for leader in leaders if self.alike(leader, member)), None)
            if match is not None:
                groups.join(match, member)
            elif len(leaders) < MAX_LEADERS:
                leaders.append(member)
        self.crowded += len(leaders) == MAX_LEADERS


def _sets(hashed: Hashed) -> Hashed:
    """The upper half of the hashes, each once per text and sorted: uint32."""
    rows = hashed.rows().astype(np.uint64)
    keys = np.unique((rows << np.uint64(32)) | (hashed.values >> np.uint64(32)))
    ends = np.searchsorted(keys, np.arange(len(hashed.ends), dtype=np.uint64) << np.uint64(32))
    return Hashed(keys.astype(np.uint32), ends)
