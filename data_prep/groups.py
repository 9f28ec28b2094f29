"""Groups of records that are alike, and who of each group stays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np


class Groups:
    """Union-find over record numbers; 4 bytes a record."""

    def __init__(self, count: int) -> None:
        self.parents = np.arange(count, dtype=np.uint32)

    def find(self, record: int) -> int:
        """The smallest record of the record's group."""
        parents = self.parents
        while (parent := int(parents[record])) != record:
            parents[record] = parents[parent]
            record = parent
        return record

    def join(self, a: int, b: int) -> None:
        a, b = self.find(a), self.find(b)
        if a != b:
            self.parents[max(a, b)] = min(a, b)

    def labels(self) -> np.ndarray:
        """uint32 (count,): the group's smallest record; the paths are shortened on the way."""
        while True:
            shorter = self.parents[self.parents]
            if np.array_equal(shorter, self.parents):
                return self.parents
            self.parents = shorter


def connected(labels: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Sets of two records or more that hang together by any of the labellings."""
    joint = Groups(len(labels[0]))
    for label in labels:
        for record in np.flatnonzero(label != np.arange(len(label), dtype=np.uint32)).tolist():
            joint.join(record, int(label[record]))
    roots = joint.labels()
    members = np.flatnonzero(roots != np.arange(len(roots), dtype=np.uint32))
    members = np.union1d(members, roots[members])
    members = members[np.argsort(roots[members], kind="stable")]
    borders = np.flatnonzero(np.diff(roots[members])) + 1
    yield from (np.split(members, borders) if len(members) else ())


def resolve(
    component: Collection[int],
    labels: Sequence[np.ndarray],
    rank: Callable[[int], Any],
    alike: Callable[[int, int, int], bool],
) -> dict[int, list[int]]:
    """Who of the component goes, and on account of which sides.

    In the order of their ranks, a record stays unless one that stays, of its own group on a side, is like it on
    that side. So whatever goes has a twin that stays: a chain of neighbours, each like the next, is not wiped
    down to its first.

    Args:
        component: Records that hang together.
        labels: Per side, the group of every record.
        rank: The smaller stays; no two are equal.
        alike: ``alike(side, a, b)``.
    """
    kept: dict[tuple[int, int], list[int]] = {}
    gone: dict[int, list[int]] = {}
    for record in sorted(component, key=rank):
        groups = [(side, int(label[record])) for side, label in enumerate(labels)]
        sides = [
            side
            for side, group in groups
            if any(alike(side, other, record) for other in kept.get((side, group), ()))
        ]
        if sides:
            gone[record] = sides
        else:
            for key in groups:
                kept.setdefault(key, []).append(record)
    return gone
