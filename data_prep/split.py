"""Assigns whole groups (packages, documents) to train, validation or test by a fixed rule."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from typing import Any

import xxhash

from data_prep.errors import DataError
from data_prep.pairs import Pair

SPLITS = ("train", "validation", "test")
_EXAMPLES = 20_000


class Splitter:
    """Says which split a group belongs to, one group at a time.

    The groups named in ``holdout`` are the test split and those in ``validation`` the validation split. A list
    that is empty is replaced by the rule: the group's hash, a number in [0, 1), falls under the fraction. The
    rule looks at the name alone, so more data never moves a group.

    Attributes:
        seen: The named groups that came.
        examples: Groups that came, some thousands at most, for the message of :meth:`check`.

    Raises:
        DataError: a group is in both lists, or the fractions leave no training split.
    """

    def __init__(
        self,
        *,
        holdout: Collection[str] = (),
        validation: Collection[str] = (),
        test_fraction: float = 0.05,
        validation_fraction: float = 0.05,
    ) -> None:
        fractions = (test_fraction, validation_fraction)
        if not (
            all(fraction >= 0 for fraction in fractions) and sum(fractions) < 1
        ):  # not: NaN compares false
            raise DataError(
                f"split fractions {test_fraction} and {validation_fraction}: each 0 or more, they must sum to less than 1"
            )
        if both := sorted(set(holdout) & set(validation)):
            raise DataError(f"{both[0]}: named for both test and validation; a group belongs to one")
        self._holdout, self._validation, self._fractions = (
            frozenset(holdout),
            frozenset(validation),
            fractions,
        )
        self._named = [*holdout, *validation]
        self.seen: set[str] = set()
        self.examples: set[str] = set()

    def __call__(self, group: str) -> str:
        """The split of a group."""
        if group in self._holdout or group in self._validation:
            self.seen.add(group)
        elif len(self.examples) < _EXAMPLES:
            self.examples.add(group)
        draw, (test, validation) = position(group), self._fractions
        if group in self._holdout or (not self._holdout and group not in self._validation and draw < test):
            return "test"
        if group in self._validation or (not self._validation and 0 <= draw - test < validation):
            return "validation"
        return "train"

    def check(self) -> None:
        """To be called at the end.

        Raises:
            DataError: a named group never came.
        """
        groups = self.seen | self.examples
        for name in self._named:
            if name not in self.seen:
                close = get_close_matches(name, groups, n=3, cutoff=0.3) or sorted(groups)[:5]
                raise DataError(
                    f"{name}: nothing by this name to hold out; there are, for example: {', '.join(close)}"
                )


def split_pairs(pairs: Iterable[Pair], group: Callable[[Pair], str], **rule: Any) -> dict[str, list[Pair]]:
    """Split pairs that fit into memory so that no group is in two splits; all three keys are present.

    Raises:
        DataError: as :class:`Splitter`, whose arguments ``rule`` are; a named group has no pairs.
    """
    splitter = Splitter(**rule)
    splits: dict[str, list[Pair]] = {name: [] for name in SPLITS}
    for pair in pairs:
        splits[splitter(group(pair))].append(pair)
    splitter.check()
    return splits


def position(group: str) -> float:
    """The group's place in [0, 1): xxh64 of its name over 2**64."""
    return xxhash.xxh64_intdigest(group.encode()) / 2**64
