"""Finds equal ids and texts among any number of pairs: hashes on disk, and who of those alike stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from data_prep.groups import connected, resolve
from data_prep.spill import Buckets, Ragged, RaggedFile, partitions, shared_keys

FIELDS = ("id", "x", "y")


class KeyFiles:
    """Hashes of the id and of both texts of pairs, and the ids, added in the order of the pairs' numbers.

    Args:
        folder: Gets the files.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._ids = RaggedFile(folder / "ids", "u1")
        self._keys = Buckets(folder / "keys", len(FIELDS))
        self._added = 0

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Add the next pairs."""
        names = [record["id"].encode() for record in records]
        self._ids.append(np.frombuffer(b"".join(names), "u1"), np.array([len(name) for name in names]))
        keys = np.array([[_key(record[field]) for field in FIELDS] for record in records], np.uint64)
        self._keys.append(keys.reshape(-1, len(FIELDS)), self._added + np.arange(len(records)))
        self._added += len(records)


class Keys:
    """What several :class:`KeyFiles` hold, one after another.

    Args:
        folders: As the writers were given.
        begins: The number of each folder's first pair.
        place: The precedence of a pair's split, under 256.
    """

    def __init__(self, folders: Sequence[Path], begins: Sequence[int], place: Callable[[int], int]) -> None:
        self._folders, self._begins, self._place = [folder / "keys" for folder in folders], begins, place
        self._ids = Ragged([folder / "ids" for folder in folders], begins, "u1")

    def rank(self, record: int) -> bytes:
        """Of pairs that are alike the one of smallest rank stays: the split's precedence, then the id."""
        return bytes([self._place(record)]) + self._ids[record].tobytes()

    def labels(self, field: str, alive: np.ndarray) -> np.ndarray:
        """uint32 (count,): for each pair the smallest number of those alive that are equal to it in a field."""
        labels = np.arange(len(alive), dtype=np.uint32)
        for records, begins in shared_keys(self._folders, self._begins, FIELDS.index(field)):
            sizes = np.diff(np.append(begins, len(records)))
            here = alive[records]
            buckets, records = np.repeat(np.arange(len(begins)), sizes)[here], records[here]
            if len(records):
                starts = np.flatnonzero(np.diff(buckets, prepend=-1))
                smallest = np.minimum.reduceat(records, starts)
                labels[records] = np.repeat(smallest, np.diff(np.append(starts, len(records))))
        return labels

    def crossed(self, alive: np.ndarray, places: np.ndarray) -> np.ndarray:
        """bool (count,): those alive of which a text is, on the other side, that of a pair of a split before theirs.

        Args:
            alive: bool (count,).
            places: The precedence of each pair's split, (count,).
        """
        found = np.zeros(len(alive), bool)
        for place in np.unique(places)[1:].tolist():
            before, here = alive & ~found & (places < place), alive & (places == place)
            sides = (partitions(self._folders, self._begins, FIELDS.index(side)) for side in ("x", "y"))
            for x, y in zip(*sides, strict=True):
                for mine, other in ((x, y), (y, x)):
                    own = mine[here[mine["record"]]]
                    theirs = other["key"][before[other["record"]]]
                    found[own["record"][np.isin(own["key"], theirs)]] = True
        return found


def _key(text: str) -> int:
    """Equal for texts that differ in whitespace at most.

    With 64 bits the chance that any two of n other texts are taken for equal is n**2 / 2**65: 3 in 100,000 for 32
    million pairs, 3 in 100 for a billion; one pair is then lost.
    """
    return xxhash.xxh3_64_intdigest(" ".join(text.split()).encode())


def losers(
    alive: np.ndarray,
    labels: Sequence[np.ndarray],
    rank: Callable[[int], Any],
    alike: Callable[[int, int, int], bool] = lambda side, a, b: True,
) -> Iterator[tuple[int, list[int]]]:
    """Mark the pairs that go in ``alive``, and yield each with the labellings on account of which it goes.

    Args:
        alive: bool (count,).
        labels: Per labelling, the group of every pair.
        rank: The smaller stays.
        alike: ``alike(labelling, a, b)``, for two of one group.
    """
    for component in connected(labels):
        for record, sides in resolve(component[alive[component]].tolist(), labels, rank, alike).items():
            alive[record] = False
            yield record, sides


def drop(
    alive: np.ndarray,
    labels: Sequence[np.ndarray],
    rank: Callable[[int], Any],
    dropped: Counter[str],
    what: str,
    alike: Callable[[int, int, int], bool] = lambda side, a, b: True,
) -> None:
    """Keep one of those alike on side x (first labelling) or y (second); count the others."""
    for _, sides in losers(alive, labels, rank, alike):
        dropped[f"{what} {named_sides(sides)}"] += 1


def drop_crossed(alive: np.ndarray, keys: Keys, places: np.ndarray, dropped: Counter[str]) -> None:
    """Drop pairs that have a text on one side which a pair of a held-out split has on the other; count them."""
    crossed = keys.crossed(alive, places)
    alive[crossed] = False
    if crossed.any():
        dropped["text of a held-out pair's other side"] += int(crossed.sum())


def named_sides(sides: Collection[int]) -> str:
    """``x``, ``y``, or ``pair`` for both."""
    return "pair" if len(sides) == 2 else "xy"[next(iter(sides))]
