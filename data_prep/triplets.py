"""What pairs with hard negatives have in common: cleaned negatives, splits by file or by x, pools that score fairly."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from data_prep.dedup import drop_duplicates
from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.report import Report
from data_prep.split import split_pairs

Named = TypeVar("Named")


def held_out_first(
    named: dict[str, Named], holdout: Collection[str], validation: Collection[str]
) -> list[str]:
    """The names of the input files, those of the test split first, then the validation split's, then the rest.

    Read in this order, an x that several files have belongs to the held-out one.

    Raises:
        DataError: a held-out name is no file of the input.
    """
    for name in [*holdout, *validation]:
        if name not in named:
            near = get_close_matches(name, named, n=3, cutoff=0.3) or list(named)[:5]
            raise DataError(f"{name}: no input file of this name to hold out; there are: {', '.join(near)}")
    return sorted(named, key=lambda name: (name not in holdout, name not in validation))


def by_name(paths: Iterable[Path]) -> dict[str, Path]:
    """The files under their names.

    Raises:
        DataError: two different files have one name: ids and --holdout could not tell them apart.
    """
    named: dict[str, Path] = {}
    for path in paths:
        if named.setdefault(path.name, path).resolve() != path.resolve():
            raise DataError(f"{path}: has the name of {named[path.name]}; rename one")
    return named


def clean_negatives(negatives: Iterable[str], right: Collection[str], report: Report) -> list[str]:
    """The negatives in their order, each once, without those that are right answers to the same x."""
    distinct = dict.fromkeys(negatives)
    kept = [text for text in distinct if text not in right]
    report.dropped["negative that is a right answer too"] += len(distinct) - len(kept)
    return kept


def split_triplets(
    pairs: Sequence[Pair],
    report: Report,
    *,
    holdout: Collection[str] = (),
    validation: Collection[str] = (),
    test_fraction: float = 0.05,
    validation_fraction: float = 0.05,
) -> dict[str, list[Pair]]:
    """Split by the files named in ``holdout`` and ``validation``, else by the document's hash: never one in two.

    The training split keeps all pairs of an x: the loss knows them by their hashes. The held-out ones keep one
    pair of each x and of each y, as their scoring knows one right answer.

    Raises:
        DataError: as :func:`~data_prep.split.split_pairs`; two pairs with one id.
    """
    _check_ids(pairs)
    named = {*holdout, *validation}
    splits = split_pairs(
        pairs,
        lambda pair: pair.meta["file"] if pair.meta["file"] in named else pair.document,
        holdout=holdout,
        validation=validation,
        test_fraction=test_fraction,
        validation_fraction=validation_fraction,
    )
    pools = {name: splits[name] for name in ("test", "validation")}
    found = Report()
    splits |= drop_duplicates(pools, found)
    for reason, count in found.dropped.items():
        report.dropped[f"held-out {reason}"] += count
    return splits


def _check_ids(pairs: Iterable[Pair]) -> None:
    seen: set[str] = set()
    for pair in pairs:
        if pair.id in seen:
            raise DataError(f"id {pair.id!r}: two different pairs have it; make the ids of the input unique")
        seen.add(pair.id)
