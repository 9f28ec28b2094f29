"""Cleaning: every planted near-duplicate found, held-out ones stay, order and chains do not matter, alarms, spill files."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_prep import clean as module
from data_prep import spill
from data_prep.clean import CleanRules, clean
from data_prep.corpus import Corpus
from data_prep.errors import DataError
from data_prep.groups import resolve
from data_prep.minhash import jaccard
from data_prep.near import NearRules
from data_prep.pairs import Pair
from data_prep.quality import QualityRules
from data_prep.report import Report
from data_prep.shards import stream_splits
from data_prep.shingles import shingles
from data_prep.spill import SPILL, Buckets, shared_keys, spill_folder

WORDS = [f"w{i}" for i in range(3000)]


def text(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(WORDS, k=count))


def edited(rng: random.Random, original: str, changes: int) -> str:
    words = original.split()
    for _ in range(changes):
        words[rng.randrange(len(words))] = rng.choice(WORDS)
    return " ".join(words)


def cleaned(
    tmp_path: Path, splits: dict[str, list[Pair]], rules: CleanRules | None = None
) -> tuple[dict[str, list[str]], Report]:
    """Ids that stay, by split, sorted."""
    folder = tmp_path / f"in-{len(list(tmp_path.iterdir()))}"
    stream_splits(folder, splits, source="t")
    corpus, report = Corpus(folder), Report()
    with spill_folder(tmp_path / "out") as place:
        clean(corpus, rules or CleanRules(), report, place)
    assert not (tmp_path / "out").exists()
    return {name: sorted(pair.id for pair in corpus.survivors(name)) for name in corpus.shards}, report


def test_every_planted_near_duplicate_is_found_and_nothing_else(tmp_path: Path) -> None:
    rng = random.Random(0)
    base = [Pair(f"a{i:04}", text(rng, 40), text(rng, 150)) for i in range(400)]
    copies = [
        Pair(f"b{i:04}", text(rng, 40), edited(rng, pair.y, rng.randrange(1, 6)))
        for i, pair in enumerate(base)
    ]
    kept, report = cleaned(tmp_path, {"train": base + copies})
    near = {
        copy.id
        for pair, copy in zip(base, copies, strict=True)
        if jaccard(shingles(pair.y), shingles(copy.y)) >= 0.8
    }
    assert 100 < len(near) < 400
    assert set(kept["train"]) == {pair.id for pair in base + copies} - near
    assert report.dropped == {"near-duplicate y": len(near)}


def test_both_sides_and_the_order_does_not_matter(tmp_path: Path) -> None:
    rng = random.Random(1)
    pairs = [Pair(f"p{i:03}", text(rng, 60), text(rng, 60)) for i in range(60)]
    for i in range(90):
        old = rng.choice(pairs)
        x, y = edited(rng, old.x, rng.randrange(3)), edited(rng, old.y, rng.randrange(3))
        pairs.append(Pair(f"q{i:03}", *rng.choice([(x, text(rng, 60)), (text(rng, 60), y), (x, y)])))
    kept, report = cleaned(tmp_path, {"train": pairs})
    again, other = cleaned(tmp_path, {"train": rng.sample(pairs, len(pairs))})
    assert kept == again
    assert report.dropped == other.dropped
    assert {"near-duplicate x", "near-duplicate y", "near-duplicate pair"} <= report.dropped.keys()
    assert sum(report.dropped.values()) + len(kept["train"]) == len(pairs)


def test_whoever_goes_has_a_twin_that_stays() -> None:
    """0-1-2-3-4, each like the next only: the chain is not wiped down to its first."""
    gone = resolve(range(5), [np.zeros(5, int)], lambda record: record, lambda side, a, b: abs(a - b) <= 1)
    assert gone == {1: [0], 3: [0]}


def test_held_out_ones_stay_and_then_the_smallest_id(tmp_path: Path) -> None:
    rng = random.Random(2)
    y = text(rng, 100)
    splits = {
        "train": [
            Pair("b", "query one", y),
            Pair("c", "query two", text(rng, 50)),
            Pair("d", "other", text(rng, 9)),
        ],
        "validation": [Pair("v", "query  two", text(rng, 50))],
        "test": [Pair("z", "query three", edited(rng, y, 1))],
    }
    kept, report = cleaned(tmp_path, splits)
    assert kept == {"train": ["d"], "validation": ["v"], "test": ["z"]}
    assert report.dropped == {"duplicate x": 1, "near-duplicate y": 1}
    kept, _ = cleaned(
        tmp_path, {"train": [Pair("n2", "q 2", y), Pair("n1", "q 1", y + " more"), Pair("n3", "q 3", y)]}
    )
    assert kept["train"] == ["n1"]


def test_near_duplicates_are_an_option(tmp_path: Path) -> None:
    y = text(random.Random(3), 100)
    pairs = [Pair("a", "q 1", y), Pair("b", "q 2", y + " more"), Pair("c", "q 3", y)]
    kept, report = cleaned(tmp_path, {"train": pairs}, CleanRules(near=NearRules(0)))
    assert kept["train"] == ["a", "b"]
    assert report.dropped == {"duplicate y": 1}


def test_a_large_group_is_reported_and_kept_unless_asked(tmp_path: Path) -> None:
    rng = random.Random(4)
    template = text(rng, 200)
    pairs = [Pair(f"t{i:02}", text(rng, 20), edited(rng, template, 1)) for i in range(40)]
    pairs += [Pair(f"u{i:02}", text(rng, 20), text(rng, 100)) for i in range(60)]
    kept, report = cleaned(tmp_path, {"train": pairs})
    assert len(kept["train"]) == 100
    assert len(report.notes) == 1
    assert report.notes[0].startswith("ALARM: 40 near-duplicates of one y (40.0% of the pairs): all are kept")
    assert report.notes[0] in report.table()
    kept, report = cleaned(tmp_path, {"train": pairs}, CleanRules(near=NearRules(drop_large=True)))
    assert kept["train"] == ["t00", *(f"u{i:02}" for i in range(60))]
    assert "one is kept" in report.notes[0]


def test_quality_reasons_name_the_side(tmp_path: Path) -> None:
    good = "A sentence of several words that says something."
    pairs = [
        Pair("a", good, "Too short."),
        Pair("b", "12 345 67 890 12", good + " Indeed."),
        Pair("c", good + " Yes.", good + " No."),
    ]
    kept, report = cleaned(tmp_path, {"train": pairs}, CleanRules(QualityRules()))
    assert kept["train"] == ["c"]
    assert report.dropped == {"y: text under 5 words": 1, "x: mostly digits": 1}


def test_parts_of_a_band_give_the_same_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(5)
    keys = np.array([rng.randrange(60) << 58 | rng.randrange(3) for _ in range(500)], np.uint64)
    for name, bounds in (("one", (0, 500)), ("a", (0, 300)), ("b", (300, 500))):
        buckets = Buckets(tmp_path / name, 1)
        for begin in range(*bounds, 64):
            part = np.arange(begin, min(bounds[1], begin + 64))
            buckets.append(keys[part][:, None], part - bounds[0])

    def groups(names: list[str], begins: list[int]) -> tuple[list[list[int]], int]:
        parts = list(shared_keys([tmp_path / name for name in names], begins, 0))
        found = (np.split(records, starts[1:]) for records, starts in parts)
        return sorted(sorted(group.tolist()) for part in found for group in part), len(parts)

    whole, parts = groups(["one"], [0])
    assert parts == 1
    assert groups(["a", "b"], [0, 300])[0] == whole
    monkeypatch.setattr(spill, "PARTITION_ROWS", 64)
    assert groups(["one"], [0]) == (whole, 8)
    assert groups(["a", "b"], [0, 300]) == (whole, 8)
    assert sum(map(len, whole)) > 400


def test_spill_files_are_gone_after_a_crash_and_leftovers_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_pairs: Callable[..., list[Pair]]
) -> None:
    stream_splits(tmp_path / "in", {"train": make_pairs(50)}, source="t")
    out = tmp_path / "out"
    (out / SPILL).mkdir(parents=True)
    (out / SPILL / "left over").write_text("of a killed run")
    seen: list[str] = []

    def crash(*_: object) -> None:
        seen.extend(path.name for path in (out / SPILL).iterdir())
        raise RuntimeError("killed")

    monkeypatch.setattr(module, "drop_near", crash)
    with pytest.raises(RuntimeError, match="killed"), spill_folder(out) as place:
        clean(Corpus(tmp_path / "in"), CleanRules(), Report(), place)
    assert "keys" in seen
    assert "left over" not in seen
    assert list(out.iterdir()) == []


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    def write() -> None:
        with spill_folder(tmp_path / "out"):
            raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="No space left on device; free some space, or name another --out"):
        write()
