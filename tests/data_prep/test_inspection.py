"""What stats and head print: the numbers of the index, the texts of the records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from data_prep.inspection import describe, show
from data_prep.pairs import Pair
from data_prep.shards import PairShards, write_shards


def shards(folder: Path, pairs: list[Pair]) -> PairShards:
    write_shards(folder, pairs, source="unit")
    return PairShards.open(folder)


def test_describe_counts(tmp_path: Path) -> None:
    lengths = [1, 2, 3, 8, 9]
    pairs = [
        Pair(str(i), "x" * n, "y" if i < 2 else f"y{i}", meta={"document": str(i // 2)})
        for i, n in enumerate(lengths)
    ]
    opened = shards(tmp_path, pairs)
    text = describe("train", opened)
    words = [line.split() for line in text.splitlines()]
    assert f"train: 5 pairs, 1 chunks, source unit, layout chunks, fingerprint {opened.fingerprint}" in text
    assert ["documents", "3"] in words
    assert ["duplicate", "x", "0"] in words
    assert ["duplicate", "y", "1"] in words
    assert ["length", "in", "chars", "0%", "5%", "25%", "50%", "75%", "95%", "100%"] in words
    assert ["x", "1", "1", "2", "3", "8", "9", "9"] in words


def test_the_histogram_counts_every_record(tmp_path: Path) -> None:
    opened = shards(tmp_path, [Pair(str(n), "x" * n, "y") for n in (1, 2, 3, 4, 7, 8, 8, 8, 9)])
    after = describe("t", opened).split("lengths of x\n")[1].split("lengths of y")[0]
    rows = [line.split() for line in after.strip().splitlines()]
    assert [(row[0], row[1].count("#"), row[2]) for row in rows] == [
        ("1", 10, "1"), ("2", 20, "2"), ("4", 20, "2"), ("8", 40, "4"),
    ]  # fmt: skip


def test_show(tmp_path: Path, make_pairs: Callable[..., list[Pair]]) -> None:
    pairs = make_pairs(5)
    text = show("test", shards(tmp_path, pairs), 2)
    assert text.count("--- test: ") == 2
    for pair in pairs[:2]:
        assert f"--- test: {pair.id}\n[x] {pair.x}\n[y] {pair.y}" in text
    assert text.count("[negative] wrong 0") == 1
    assert pairs[2].id not in text
