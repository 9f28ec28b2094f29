"""The plan: sources numbered through, chunks dealt to readers, pairs to ranks by their tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_prep.pairs import Pair
from data_prep.shards import PairShards, write_shards
from lightning_cpt.data.mixture import Mixture
from lightning_cpt.data.plan import Plan, TrainingSet, encoders, readers
from lightning_cpt.errors import ConfigError


def source(folder: Path, name: str, count: int, length: int = 3) -> PairShards:
    pairs = [Pair(id=f"{name}{i}", x=f"x{i} {name}", y="y" * (i % 7 * length + 1) + f"{i}{name}") for i in range(count)]
    write_shards(folder / name, pairs, source=name, records_per_chunk=8)
    return PairShards.open(folder / name)


@pytest.fixture
def data(tmp_path: Path) -> TrainingSet:
    return TrainingSet({"text": source(tmp_path, "text", 50), "code": source(tmp_path, "code", 30)})


def plan(data: TrainingSet, **options: object) -> Plan:
    counts = [shards.count for shards in data.shards]
    mixture = Mixture(data.names, counts, [0.5, 0.5], 12, **options)  # type: ignore[arg-type]
    return Plan(data, mixture, seed=0, window_chunks=3)


def test_rows_count_through_all_sources(data: TrainingSet) -> None:
    assert data.count == 80
    assert data.row(0, 1, 2) == 10
    assert data.row(1, 0, 0) == 50
    hashes = data.hashes(np.array([79, 0, 50]))
    assert hashes[0].tolist() == data.shards[1].hashes[29].tolist()
    assert hashes[1:].tolist() == [data.shards[0].hashes[0].tolist(), data.shards[1].hashes[0].tolist()]


def test_the_fingerprint_knows_sources_names_and_order(data: TrainingSet) -> None:
    first, second = data.shards
    same = TrainingSet({"text": first, "code": second})
    others = [{"text": second, "code": first}, {"code": second, "text": first}, {"a": first, "code": second}]
    assert same.fingerprint == data.fingerprint
    assert len({data.fingerprint, *(TrainingSet(other).fingerprint for other in others)}) == 4
    assert TrainingSet({"text": first}).fingerprint == first.fingerprint


@pytest.mark.parametrize("mixing", ["single_source", "mixed"])
def test_a_pass_over_a_source_has_each_of_its_pairs_at_most_once(data: TrainingSet, mixing: str) -> None:
    found = plan(data, mixing=mixing)
    seen: dict[int, list[tuple[int, int]]] = {0: [], 1: []}
    for number in range(4):
        places = found.places(number)
        assert len(places) == 12
        for at, chunk, row in zip(places.source, places.chunk, places.row, strict=True):
            seen[int(at)].append((int(chunk), int(row)))
    for rows in seen.values():
        assert len(set(rows)) == len(rows) > 0
    # One after the other or out of order, the batches are the same.
    assert found.places(1).row.tolist() == plan(data, mixing=mixing).places(1).row.tolist()


def test_a_chunk_has_one_reader_and_neighbours_have_others(data: TrainingSet) -> None:
    found = plan(data)
    owner: dict[tuple[int, int, int], set[int]] = {}
    for number in range(found.mixture.per_epoch):
        places = found.places(number)
        for at, reader in enumerate(readers(places, 2, 3).tolist()):
            key = (int(places.source[at]), int(places.number[at]), int(places.chunk[at]))
            owner.setdefault(key, set()).add(reader)
    assert all(len(who) == 1 for who in owner.values())
    assert {reader for who in owner.values() for reader in who} == set(range(6))


@pytest.mark.parametrize("world_size", [1, 2, 8, 64])
def test_ranks_get_as_many_pairs_and_about_as_many_tokens(world_size: int) -> None:
    lengths = np.random.default_rng(0).lognormal(5, 1, 1024).clip(1, 512).astype(np.int64)
    ranks = encoders(lengths, world_size)
    assert (np.bincount(ranks, minlength=world_size) == 1024 // world_size).all()
    loads = np.bincount(ranks, lengths, world_size)
    in_order = np.bincount(np.arange(1024) // (1024 // world_size), lengths, world_size)
    spread, before = loads.max() / loads.mean() - 1, in_order.max() / in_order.mean() - 1
    assert spread <= 0.1
    assert world_size == 1 or spread < before / 3


def test_records_weigh_by_their_tokens_up_to_where_they_are_cut(data: TrainingSet) -> None:
    places = plan(data).places(0)
    lengths = data.shards[places.source[0]].lengths
    row = data.row(int(places.source[0]), int(places.chunk[0]), int(places.row[0])) - data.offsets[places.source[0]]
    expected = np.minimum(lengths[row].astype(int) // 4 + 1, [3, 4]).sum()
    assert data.weigh(places, [3, 4])[0] == expected
    assert data.weigh(places, [1, 1]).tolist() == [2] * 12


def test_no_window(data: TrainingSet) -> None:
    with pytest.raises(ConfigError, match=r"^data\.window_chunks: 0 chunks"):
        Plan(data, plan(data).mixture, 0, 0)
