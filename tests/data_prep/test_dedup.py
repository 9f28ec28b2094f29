"""Duplicates: who is kept, and near-duplicates against a brute-force Jaccard index."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_prep import dedup as module
from data_prep import keys, spill
from data_prep.corpus import PRECEDENCE
from data_prep.dedup import (
    SameId,
    drop_duplicates,
    drop_duplicates_of,
    drop_near_duplicates,
    near_duplicates,
)
from data_prep.errors import DataError
from data_prep.mined import settled
from data_prep.pairs import Pair
from data_prep.pool import Pool, write_part
from data_prep.report import Report
from data_prep.shingles import shingles
from data_prep.split import Splitter


def ids(splits: dict[str, list[Pair]]) -> dict[str, list[str]]:
    return {name: [pair.id for pair in pairs] for name, pairs in splits.items()}


def test_one_of_equals_is_kept_and_the_held_out_one_first() -> None:
    splits = {
        "train": [
            Pair("d", "new", "new y"),
            Pair("c", "x  one", "y one"),  # as "t" but for whitespace
            Pair("b", "X one", "y two"),  # case counts
            Pair("a", "other", "y  two"),  # y of b; the smaller id wins
            Pair("e", "val", "y five"),
        ],
        "validation": [Pair("v", "val", "y val")],
        "test": [Pair("t", "x one", "y one")],
    }
    report = Report()
    kept = drop_duplicates(splits, report)
    assert ids(kept) == {"train": ["a", "d"], "validation": ["v"], "test": ["t"]}
    assert report.dropped == {"duplicate pair": 1, "duplicate y": 1, "duplicate x": 1}


def test_equal_ids_of_different_pairs_are_an_error_and_no_loss() -> None:
    with pytest.raises(DataError, match="'a': two different pairs"):
        drop_duplicates({"train": [Pair("a", "x2", "y2"), Pair("a", "x1", "y1")]}, Report())
    kept = drop_duplicates({"train": [Pair("a", "x1", "y1"), Pair("a", "x1", "y1")]}, Report())
    assert [pair.x for pair in kept["train"]] == ["x1"]


def test_the_order_does_not_matter(make_pairs: Callable[..., list[Pair]]) -> None:
    pairs = [
        *make_pairs(40),
        *(Pair(f"again-{i}", f"other {i}", pair.y) for i, pair in enumerate(make_pairs(9))),
    ]
    shuffled = random.Random(0).sample(pairs, len(pairs))
    assert drop_duplicates({"train": pairs}, Report()) == drop_duplicates({"train": shuffled}, Report())


def brute_force(texts: list[str], heldout: list[str], threshold: float) -> list[bool]:
    sets = [set(shingles(text).tolist()) for text in heldout]
    found = []
    for text in texts:
        mine = set(shingles(text).tolist())
        found.append(any(len(mine & one) / len(mine | one) >= threshold - 1e-12 for one in sets))
    return found


def edited(rng: random.Random, words: list[str]) -> str:
    copy = list(words)
    for _ in range(rng.randrange(0, 8)):
        copy[rng.randrange(len(copy))] = f"w{rng.randrange(60)}"
    return " ".join(copy[: len(copy) - rng.randrange(0, 6)])


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.7, 0.9, 1.0])
def test_near_duplicates_equal_brute_force(threshold: float) -> None:
    rng = random.Random(int(threshold * 10))
    base = [[f"w{rng.randrange(60)}" for _ in range(rng.randrange(8, 60))] for _ in range(60)]
    heldout = [" ".join(words) for words in base]
    texts = [edited(rng, rng.choice(base)) for _ in range(300)] + ["", "a b", "w1 w2"]
    expected = brute_force(texts, heldout, threshold)
    assert near_duplicates(texts, heldout, threshold).tolist() == expected
    assert 3 < sum(expected) < 300


def test_shingles_are_five_tokens() -> None:
    assert len(shingles("a b c d e f")) == 2
    assert len(shingles("a, b.c")) == 1  # a , b . c
    assert len(shingles("a b a b a b a b a b")) == 2  # each once
    assert shingles("a  b\nc d e") == shingles("a b c d e")
    assert shingles("a b c d e") != shingles("e d c b a")
    assert len(shingles("")) == len(shingles("a")) == 1


def test_no_held_out_texts() -> None:
    assert not near_duplicates(["a b c"], []).any()
    assert near_duplicates([], ["a"]).shape == (0,)


@pytest.mark.parametrize("threshold", [0, -0.1, 1.1])
def test_bad_threshold(threshold: float) -> None:
    with pytest.raises(DataError, match="near-duplicate threshold"):
        near_duplicates(["a"], ["a"], threshold)


def pooled(folder: Path, splits: dict[str, list[Pair]]) -> Pool:
    """The pairs on disk, in two parts."""
    place = {id(pair): name for name, pairs in splits.items() for pair in pairs}
    every = [pair for pairs in splits.values() for pair in pairs]
    parts = []
    for number, pairs in enumerate((every[: len(every) // 2], every[len(every) // 2 :])):
        parts.append(folder / f"part-{len(list(folder.iterdir()))}-{number}")
        split = Fixed([place[id(pair)] for pair in pairs])
        write_part(parts[-1], pairs, Report(), split=split, group=lambda pair: "")
    return Pool(parts)


class Fixed(Splitter):
    """Says what it was told."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self._names = iter(names)

    def __call__(self, group: str) -> str:
        return next(self._names)


def alive(pool: Pool) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in PRECEDENCE}
    for first, records in pool.batches():
        for number, record in enumerate(records, first):
            if pool.alive[number]:
                found[PRECEDENCE[pool.place(number)]].append(record["id"])
    return {name: sorted(names) for name, names in found.items()}


def test_on_disk_as_in_memory(tmp_path: Path) -> None:
    """Random collisions of ids, of x and of y, with chains, over all splits."""
    rng = random.Random(9)
    for _ in range(20):
        splits: dict[str, list[Pair]] = {name: [] for name in PRECEDENCE}
        for number in range(120):
            pair = Pair(f"p{number:03}", f"x {rng.randrange(70)}", f"y  {rng.randrange(70)}")
            splits[rng.choice(PRECEDENCE)].append(pair)
            if rng.random() < 0.1:  # the same id, and one side
                splits[rng.choice(PRECEDENCE)].append(Pair(pair.id, pair.x, f"y {rng.randrange(70)}"))
        expected, found = Report(), Report()
        kept = drop_duplicates(splits, expected)
        pool = pooled(tmp_path, splits)
        drop_duplicates_of(pool, found)
        assert alive(pool) == {name: sorted(pair.id for pair in kept[name]) for name in PRECEDENCE}
        assert found.dropped == expected.dropped
    assert {"duplicate x", "duplicate y", "duplicate pair", "duplicate id"} <= expected.dropped.keys()


def test_equal_ids_on_disk_are_an_error_that_names_the_id(tmp_path: Path) -> None:
    splits = {"train": [Pair("a", "x1", "y1"), Pair("b", "x", "y"), Pair("a", "x2", "y2")]}
    with pytest.raises(SameId, match="'a': two different pairs") as raised:
        drop_duplicates_of(pooled(tmp_path, splits), Report())
    again = pickle.loads(pickle.dumps(raised.value))
    assert (again.id, str(again)) == ("a", str(raised.value))


def test_ids_whose_hashes_alone_are_equal_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = keys._key
    monkeypatch.setattr(keys, "_key", lambda text: 7 if text.startswith("id") else real(text))
    pairs = [Pair("id a", "x1", "y1"), Pair("id b", "x2", "y2"), Pair("id c", "x1", "y3")]
    pool, found = pooled(tmp_path, {"train": pairs}), Report()
    drop_duplicates_of(pool, found)
    assert found.dropped == {"duplicate x": 1}
    assert alive(pool)["train"] == ["id a", "id b"]
    pairs.append(Pair("id  a", "x4", "y4"))
    with pytest.raises(SameId, match="two different pairs"):
        drop_duplicates_of(pooled(tmp_path, {"train": pairs}), Report())


def test_held_out_texts_that_do_not_fit_are_searched_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(3)
    heldout = [" ".join(f"w{rng.randrange(60)}" for _ in range(40)) for _ in range(30)]
    texts = [edited(rng, rng.choice(heldout).split()) for _ in range(60)]
    whole = near_duplicates(texts, heldout, 0.6)
    monkeypatch.setattr(module, "HELD_OUT_SHINGLES", 100)
    assert (near_duplicates(texts, heldout, 0.6) == whole).all()
    assert 3 < whole.sum() < 60


def test_only_training_pairs_are_dropped(tmp_path: Path) -> None:
    y = " ".join(f"t{i}" for i in range(40))
    splits = {
        "train": [Pair("near", "a", y + " more"), Pair("far", "b", "something else altogether in here")],
        "validation": [Pair("v", "c", y)],
        "test": [Pair("t", "d", y + " end")],
    }
    report, pool = Report(), pooled(tmp_path, splits)
    drop_near_duplicates(pool, report, 0.7, tmp_path / "near")
    assert alive(pool) == {"train": ["far"], "validation": ["v"], "test": ["t"]}
    assert report.dropped["near-duplicate of a held-out y"] == 1
    assert np.sum(near_duplicates([y], [y])) == 1


def test_no_text_is_in_two_splits_on_either_side(tmp_path: Path) -> None:
    rows = [("t", "train", "shared", "b"), ("h", "test", "c", "shared"), ("k", "train", "d", "e")]
    pairs = [Pair(name, x, y, meta={"document": document}) for name, document, x, y in rows]
    report = Report()
    split = Splitter(holdout=["test"], validation_fraction=0)
    pool = settled(pairs, tmp_path, report, split=split)
    assert pool.alive.tolist() == [False, True, True]
    assert report.dropped["text of a held-out pair's other side"] == 1


@pytest.mark.parametrize("rows", [spill.PARTITION_ROWS, 16])
def test_texts_of_the_other_side_of_an_earlier_split(
    rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "PARTITION_ROWS", rows)
    rng = random.Random(1)
    records = [
        {"id": f"{i}", "x": f"t{rng.randrange(400)}", "y": f"t{rng.randrange(400)}"} for i in range(300)
    ]
    places = np.array([rng.randrange(3) for _ in records], np.uint8)
    alive = np.array([rng.random() < 0.9 for _ in records])
    files = keys.KeyFiles(tmp_path / "keys")
    files.add(records)
    expected = np.zeros(len(records), bool)
    for place in (1, 2):
        before = [
            r
            for r, a, f, p in zip(records, alive, expected, places, strict=True)
            if a and not f and p < place
        ]
        xs, ys = ({record[side] for record in before} for side in "xy")
        for at, record in enumerate(records):
            if alive[at] and places[at] == place:
                expected[at] = record["x"] in ys or record["y"] in xs
    found = keys.Keys([tmp_path / "keys"], [0], lambda record: 0).crossed(alive, places)
    np.testing.assert_array_equal(found, expected)
    assert 20 < expected.sum() < 200
