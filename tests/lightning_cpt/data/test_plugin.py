"""Plug-in sources: the order of shards for those with a length, exact streams for the others, one line for each mistake."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep.errors import DataError
from data_prep.shards import PairShards
from lightning_cpt.data.evaluation import fixed_pool
from lightning_cpt.data.items import ItemPairs
from lightning_cpt.data.loader import PairLoader
from lightning_cpt.data.mixture import Mixture
from lightning_cpt.data.plan import Plan, TrainingSet
from lightning_cpt.data.reader import ShareReader, TrainingReader, global_batch
from lightning_cpt.data.sources import Pairs, checked_sources
from lightning_cpt.data.streams import Cursor, StreamPairs
from lightning_cpt.errors import ConfigError
from lightning_cpt.tokenization import PairTokenizer

MODULE = """
from torch.utils.data import IterableDataset, get_worker_info

def row(i):
    return {"x": f"question {i}", "y": f"answer {i}", "negatives": [f"wrong {i}"]}

class Sized:
    def __init__(self, count=100, **changes):
        self.count, self.changes = count, changes
    def __len__(self):
        return self.count
    def __getitem__(self, i):
        return {**row(i), **self.changes}

def generator(count=50):
    for i in range(count):
        yield row(i)

class Stateful:
    def __init__(self, count=50):
        self.count, self.at, self.opened = count, 0, 0
    def __iter__(self):
        for i in range(self.at, self.count):
            self.at = i + 1
            yield row(i)
        self.at = 0
    def state_dict(self):
        return {"at": self.at}
    def load_state_dict(self, state):
        self.at = state["at"]

class Torch(IterableDataset):
    def __len__(self):
        return 50
    def __iter__(self):
        info = get_worker_info()
        start, step = (info.id, info.num_workers) if info else (0, 1)
        return iter([row(i) for i in range(start, 50, step)])

class Broken:
    def __init__(self, at): self.at = at
    def __len__(self): return 100
    def __getitem__(self, i):
        if i == self.at:
            raise RuntimeError("the disk\\nis gone")
        return row(i)

def breaks(at):
    for i in range(100):
        if i == at:
            raise RuntimeError("the disk\\nis gone")
        yield row(i)

def ragged():
    for i in range(100):
        yield {**row(i), "id": i} if i % 7 else row(i)

def late_ragged():
    for i in range(100):
        yield {**row(i), "id": i} if i == 60 else row(i)

class RaggedItems(Sized):
    def __getitem__(self, i):
        return {**row(i), "id": i} if i == 99 else row(i)

def once(count):
    if not hasattr(once, "done"):
        once.done = True
        yield from generator(count)

empty_list = list
number = 7
def fails(): raise OSError("no such disk")
def gives_number(): return 7
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "bad_syntax.py").write_text("def (:")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("mine", "bad_syntax"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: str) -> PairTokenizer:
    return PairTokenizer(tokenizer_folder, max_length_x=24, max_length_y=24)


def opened(class_path: str, held_out: int = 0, splits: Any = None, **init_args: Any) -> dict[str, Pairs]:
    keys: Any = {"class_path": class_path, "init_args": init_args, "held_out": held_out}
    return checked_sources(None, {"mine": {**keys, "splits": splits or {}}})["mine"].open()


def plan_of(*sources: Pairs, weights: list[float] | None = None, **options: Any) -> Plan:
    names = [f"s{number}" for number in range(len(sources))]
    counts = [source.count for source in sources]
    mixture = Mixture(names, counts, weights or [None] * len(sources), 16, **options)
    return Plan(TrainingSet(dict(zip(names, sources, strict=True))), mixture, 0, 4)


def ids_of(
    plan: Plan, batches: int, world_size: int = 1, workers: int = 1, first: int = 0
) -> list[list[str]]:
    readers = [
        ShareReader(plan, rank=rank, world_size=world_size, workers=workers) for rank in range(world_size)
    ]
    return [[r["id"] for r in global_batch(readers, number)] for number in range(first, first + batches)]


@pytest.mark.parametrize("class_path", ["mine.Sized", "mine.generator", "mine.Stateful"])
def test_any_ranks_and_workers_make_the_same_batches(class_path: str) -> None:
    plan = plan_of(opened(class_path)["train"], steps_per_epoch=6)
    whole = ids_of(plan, 12)
    assert [len(set(batch)) for batch in whole] == [16] * 12
    for world_size, workers in ((2, 2), (4, 1), (16, 2)):
        assert ids_of(plan, 12, world_size, workers) == whole
    assert ids_of(plan, 4, 2, first=8) == whole[8:]


def test_a_source_with_a_length_is_passed_through_in_another_order_each_time() -> None:
    plan = plan_of(opened("mine.Sized", count=96)["train"])
    batches = ids_of(plan, 12)
    passes = [sum(batches[:6], []), sum(batches[6:], [])]
    assert [len(set(one)) for one in passes] == [96, 96]
    assert passes[0] != passes[1] != sorted(passes[1])
    assert sorted(passes[0]) == sorted(f"mine/{i}" for i in range(96))


def test_a_stream_comes_in_its_own_order_again_and_again() -> None:
    plan = plan_of(opened("mine.generator", count=24)["train"], steps_per_epoch=3)
    assert sum(ids_of(plan, 3), []) == [f"mine/{i % 24}" for i in range(48)]


def batches_of(
    source: Pairs, tokenizer: PairTokenizer, workers: int, count: int, state: Any = None
) -> tuple[list[Any], PairLoader]:
    plan = plan_of(source, steps_per_epoch=6)
    reader = TrainingReader(ShareReader(plan, workers=workers), tokenizer, hard_negatives=1)
    loader = PairLoader(reader, workers)
    if state:
        loader.load_state_dict(state)
    found: list[Any] = []
    while len(found) < count:
        found += islice(loader, count - len(found))
    loader.close()
    return found, loader


@pytest.mark.parametrize("class_path", ["mine.Sized", "mine.generator", "mine.Stateful", "mine.Torch"])
@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0), (3, 1)])
def test_workers_and_a_resume_change_nothing(
    class_path: str, before: int, after: int, tokenizer: PairTokenizer
) -> None:
    whole, _ = batches_of(opened(class_path)["train"], tokenizer, 0, 12)
    first, loader = batches_of(opened(class_path)["train"], tokenizer, before, 5)
    state = json.loads(json.dumps(loader.state_dict()))  # as a checkpoint keeps it
    assert ("streams" in state) == (class_path == "mine.Stateful")
    rest, _ = batches_of(opened(class_path)["train"], tokenizer, after, 7, state)
    for one, other in zip(whole, [*first, *rest], strict=True):
        assert one.ids == other.ids
        assert torch.equal(one.x.ids, other.x.ids)
        assert torch.equal(one.hashes, other.hashes)
        assert torch.equal(one.negative_hashes, other.negative_hashes)


def test_a_stream_with_a_state_reads_nothing_again() -> None:
    stream = opened("mine.Stateful")["train"]
    assert isinstance(stream, StreamPairs)
    assert stream.stateful
    first = Cursor(stream)
    first.take(0, 120, set())  # two passes of 50, and 20 more
    state = first.state()
    assert state == {"position": 120, "pass": 2, "index": 20, "state": {"at": 20}}
    again = Cursor(stream, state)
    assert [r["id"] for r in again.take(120, 122, {120, 121}).values()] == ["mine/20", "mine/21"]
    assert [r["id"] for r in again.take(149, 151, {149, 150}).values()] == ["mine/49", "mine/0"]


def test_hashes_are_those_of_shards_of_the_same_pairs(tmp_path: Path, tokenizer: PairTokenizer) -> None:
    from data_prep.pairs import Pair
    from data_prep.shards import write_shards

    items = opened("mine.Sized")["train"]
    assert isinstance(items, ItemPairs)
    write_shards(tmp_path / "shards", [Pair(**record) for record in items], source="mine")
    hashes = {
        r["id"]: h for r, h in zip(items, PairShards.open(tmp_path / "shards").hashes.tolist(), strict=True)
    }
    (batch,), _ = batches_of(items, tokenizer, 0, 1)
    assert [hashes[one] for one in batch.ids] == [[v % 2**64 for v in row] for row in batch.hashes.tolist()]


@pytest.mark.parametrize("mixing", ["single_source", "mixed"])
def test_plug_ins_stand_beside_shards(mixing: str, pair_folder: Path, tokenizer: PairTokenizer) -> None:
    sources: list[Pairs] = [PairShards.open(pair_folder / "train"), opened("mine.Sized")["train"]]
    sources.append(opened("mine.generator")["train"])
    plan = plan_of(*sources, weights=[2, 1, 1], mixing=mixing, steps_per_epoch=64)
    whole = ids_of(plan, 64)
    assert ids_of(plan, 64, 4, 2) == whole
    kinds = [name.startswith("mine") for batch in whole for name in batch]
    assert sum(kinds) == len(kinds) // 2
    alone = plan_of(sources[0], opened("mine.Sized")["train"], mixing=mixing)
    assert ids_of(alone, 5, 2, 2) == ids_of(alone, 5)


def test_what_is_held_out_is_not_trained_on() -> None:
    for class_path in ("mine.Sized", "mine.generator"):
        splits = opened(class_path, held_out=10)
        held = {record["id"] for record in fixed_pool(splits["validation"], 0, 99)}
        trained = {one for batch in ids_of(plan_of(splits["train"], steps_per_epoch=5), 10) for one in batch}
        assert len(held) == 10
        assert not held & trained
        assert [r["id"] for r in fixed_pool(splits["validation"], 0, 99)] == [
            r["id"] for r in fixed_pool(opened(class_path, held_out=10)["validation"], 0, 99)
        ]


def test_splits_name_what_they_are_called_with() -> None:
    splits = opened("mine.Sized", splits={"validation": {"count": 7}, "test": {"count": 8}})
    assert {name: split.count for name, split in splits.items()} == {"train": 100, "validation": 7, "test": 8}


def test_other_data_have_another_fingerprint() -> None:
    found = [
        opened("mine.Sized")["train"].fingerprint,
        opened("mine.Sized", count=99)["train"].fingerprint,
        opened("mine.Sized", y="other")["train"].fingerprint,
        opened("mine.generator")["train"].fingerprint,
        opened("mine.generator", count=3)["train"].fingerprint,
    ]
    assert len(set(found)) == 5
    assert opened("mine.Sized")["train"].fingerprint == found[0]


@pytest.mark.parametrize(
    ("class_path", "init_args", "message"),
    [
        ("mine.Missing", {}, r"data\.sources\.mine\.class_path: mine has no 'Missing'"),
        ("nowhere.Class", {}, r"class_path: there is no module 'nowhere'; write module\.Name"),
        ("Sized", {}, r"class_path: 'Sized' names no module"),
        ("bad_syntax.Class", {}, r"class_path: bad_syntax cannot be imported: SyntaxError"),
        ("mine.number", {}, r"class_path: mine\.number is no class and no function"),
        ("mine.generator", {"kount": 3}, r"init_args: mine\.generator: .*kount"),
        ("mine.fails", {}, r"data\.sources\.mine: mine\.fails fails: OSError: no such disk"),
        ("mine.gives_number", {}, r"class_path: mine\.gives_number gives int; it needs __len__"),
        ("mine.Sized", {"count": 0}, r"data\.sources\.mine: is empty: mine\.Sized has a length of 0"),
        (
            "mine.generator",
            {"count": 0},
            r"data\.sources\.mine: is empty: mine\.generator has to yield pairs",
        ),
        ("mine.Sized", {"y": None}, r"data\.sources\.mine: record 0: no y"),
        ("mine.Sized", {"x": 7}, r"data\.sources\.mine: record 0: x must be a string, not int"),
        ("mine.Sized", {"negatives": "n"}, r"record 0: negatives must be a list of strings"),
        ("mine.Sized", {"id": "same"}, r"several records have the id 'same'"),
        ("mine.Broken", {"at": 0}, r"record 0: RuntimeError: the disk is gone \(mine\.py, line \d+\)"),
        (
            "mine.breaks",
            {"at": 3},
            r"data\.sources\.mine: record 3: RuntimeError: the disk is gone \(mine\.py",
        ),
        ("mine.ragged", {}, r"record 1: has an id, but the first record has none"),
        ("mine.RaggedItems", {}, r"record 99: has an id, but the first record has none"),
    ],
)
def test_mistakes_before_the_first_step(class_path: str, init_args: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message) as found:
        opened(class_path, **init_args)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("class_path", "init_args", "message"),
    [
        (
            "mine.Broken",
            {"at": 37},
            r"^data\.sources\.mine: record 37: RuntimeError: the disk is gone \(mine\.py",
        ),
        ("mine.breaks", {"at": 61}, r"^data\.sources\.mine: record 61: RuntimeError: the disk is gone"),
        (
            "mine.late_ragged",
            {},
            r"^data\.sources\.mine: record 60: has an id, but the first record has none",
        ),
    ],
)
def test_mistakes_in_a_run_name_source_and_record(
    class_path: str, init_args: dict[str, Any], message: str, workers: int, tokenizer: PairTokenizer
) -> None:
    with pytest.raises(DataError, match=message):
        batches_of(opened(class_path, **init_args)["train"], tokenizer, workers, 12)


def test_a_stream_that_can_be_read_once_only_says_so(tokenizer: PairTokenizer) -> None:
    stream = opened("mine.generator", count=20)["train"]
    assert isinstance(stream, StreamPairs)
    object.__setattr__(stream.plugin, "class_path", "mine.once")
    sys.modules["mine"].once.__dict__.pop("done", None)  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="pass 1 of it yields nothing"):
        Cursor(stream).take(0, 21, set())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "needs either folder, with shards, or class_path"),
        ({"folder": "a", "class_path": "b.C"}, "needs either folder"),
        ({"folder": "a", "held_out": 3}, r"mine\.held_out: goes with class_path"),
        ({"class_path": "b.C", "held_out": -1}, r"held_out: -1 is too small"),
        (
            {"class_path": "b.C", "splits": {"dev": {}}},
            r"splits\.dev: no such split; there are validation and test",
        ),
        ({"class_path": "b.C", "held_out": 3, "splits": {"validation": {}}}, "take one of them"),
    ],
)
def test_keys_that_do_not_go_together(keys: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked_sources(None, {"mine": keys})
    with pytest.raises(ConfigError, match="100 of 100 records leaves nothing to train on"):
        opened("mine.Sized", held_out=100)
    with pytest.raises(ConfigError, match=r"has no more than 50 records, and 50 are held out"):
        opened("mine.generator", held_out=50)


def compare(same: bool) -> str:
    import torch.distributed as dist

    from lightning_cpt.data.exchange import Exchange

    identity = {"sources": {"mine": "a" if same or not dist.get_rank() else "b"}, "seed": 0}
    try:
        Exchange().check_same(identity)
    except DataError as error:
        return str(error)
    return ""


def test_ranks_that_see_other_records_stop_with_one_line(gloo_pool: Any) -> None:
    assert gloo_pool.run(2, compare, True) == ["", ""]
    one, other = gloo_pool.run(2, compare, False)
    assert one == other
    assert "rank 1 has sources {'mine': 'b'}, rank 0 has {'mine': 'a'}" in one
