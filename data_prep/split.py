"""Assigns whole groups (packages, documents) to train, validation or test by a fixed rule."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches

import xxhash

from data_prep.errors import DataError
from data_prep.pairs import Pair

SPLITS = ("train", "validation", "test")


def split_pairs(
    pairs: Iterable[Pair],
    group: Callable[[Pair], str],
    *,
    holdout: Collection[str] = (),
    validation: Collection[str] = (),
    test_fraction: float = 0.05,
    validation_fraction: float = 0.05,
) -> dict[str, list[Pair]]:
    """Split pairs so that no group is in two splits; all three keys are present.

    The groups named in ``holdout`` are the test split and those in ``validation`` the validation split. A list
    that is empty is replaced by the rule: the group's hash, a number in [0, 1), falls under the fraction. The
    rule looks at the name alone, so more data never moves a group.

    Raises:
        DataError: a named group has no pairs, is in both lists, or the fractions leave no training split.
    """
    fractions = (test_fraction, validation_fraction)
    if not (all(fraction >= 0 for fraction in fractions) and sum(fractions) < 1):  # not: NaN compares false
        raise DataError(
            f"split fractions {test_fraction} and {validation_fraction}: each 0 or more, they must sum to less than 1"
        )
    if both := sorted(set(holdout) & set(validation)):
        raise DataError(f"{both[0]}: named for both test and validation; a group belongs to one")
    splits: dict[str, list[Pair]] = {name: [] for name in SPLITS}
    groups: set[str] = set()
    for pair in pairs:
        name = group(pair)
        groups.add(name)
        draw = position(name)
        if name in holdout or (not holdout and name not in validation and draw < test_fraction):
            splits["test"].append(pair)
        elif name in validation or (not validation and 0 <= draw - test_fraction < validation_fraction):
            splits["validation"].append(pair)
        else:
            splits["train"].append(pair)
    _check_names([*holdout, *validation], groups)
    return splits


def position(group: str) -> float:
    """The group's place in [0, 1): xxh64 of its name over 2**64."""
    return xxhash.xxh64_intdigest(group.encode()) / 2**64


def _check_names(names: list[str], groups: set[str]) -> None:
    for name in names:
        if name not in groups:
            close = get_close_matches(name, groups, n=3, cutoff=0.3) or sorted(groups)[:5]
            raise DataError(
                f"{name}: nothing by this name to hold out; there are, for example: {', '.join(close)}"
            )
