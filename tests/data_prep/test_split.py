"""The split: whole groups, a fixed rule on the name, named groups, mistakes."""

from __future__ import annotations

import pytest
import xxhash

from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.split import SPLITS, position, split_pairs


def pairs(groups: int, each: int = 3) -> list[Pair]:
    return [
        Pair(f"{g}-{i}", "x", "y", meta={"package": f"pkg{g}"}) for i in range(each) for g in range(groups)
    ]


def package(pair: Pair) -> str:
    return str(pair.meta["package"])


def groups(splits: dict[str, list[Pair]]) -> dict[str, set[str]]:
    return {name: {package(pair) for pair in members} for name, members in splits.items()}


def test_groups_stay_whole_and_nothing_is_lost() -> None:
    splits = split_pairs(pairs(400), package)
    assert tuple(splits) == SPLITS
    found = groups(splits)
    assert sum(map(len, found.values())) == 400
    assert sum(map(len, splits.values())) == 1200
    assert 8 <= len(found["test"]) <= 36
    assert 8 <= len(found["validation"]) <= 36


def test_the_rule_is_fixed() -> None:
    assert position("numpy") == xxhash.xxh64_intdigest(b"numpy") / 2**64
    found = groups(split_pairs(pairs(200), package, test_fraction=0.2, validation_fraction=0.1))
    for name, low, high in (("test", 0, 0.2), ("validation", 0.2, 0.3), ("train", 0.3, 1)):
        assert found[name] == {f"pkg{i}" for i in range(200) if low <= position(f"pkg{i}") < high}


def test_more_data_never_moves_a_group() -> None:
    few, many = groups(split_pairs(pairs(100), package)), groups(split_pairs(pairs(300), package))
    assert all(few[name] <= many[name] for name in SPLITS)


def test_named_groups_replace_the_rule() -> None:
    found = groups(split_pairs(pairs(100), package, holdout=["pkg3", "pkg4"]))
    assert found["test"] == {"pkg3", "pkg4"}
    assert found["validation"]
    found = groups(split_pairs(pairs(100), package, holdout=["pkg3"], validation=["pkg5"]))
    assert (found["test"], found["validation"], len(found["train"])) == ({"pkg3"}, {"pkg5"}, 98)
    found = groups(split_pairs(pairs(100), package, test_fraction=0, validation_fraction=0))
    assert len(found["train"]) == 100


def test_mistakes() -> None:
    with pytest.raises(
        DataError, match=r"^scipi: nothing by this name to hold out; there are, for example: scipy"
    ):
        split_pairs([Pair("a", "x", "y", meta={"package": "scipy"})], package, holdout=["scipi"])
    with pytest.raises(DataError, match="pkg1: named for both test and validation"):
        split_pairs(pairs(3), package, holdout=["pkg1"], validation=["pkg1"])
    for fractions in ((0.6, 0.4), (-0.1, 0.1)):
        with pytest.raises(DataError, match="must sum to less than 1"):
            split_pairs(pairs(3), package, test_fraction=fractions[0], validation_fraction=fractions[1])
