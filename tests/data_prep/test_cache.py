"""The node cache: bounded, shared, checked; without room it steps aside."""

from __future__ import annotations

import errno
import os
import pickle
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from data_prep.cache import NodeCache, cache_from_environment
from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.remote import RemoteStorage
from data_prep.shards import PairShards, write_shards

KIB = 1 / 2**20  # in GiB


class Counting(RemoteStorage):
    """Counts what is really fetched."""

    fetched = 0

    def _fetch(self, name: str, span: tuple[int, int] | None) -> bytes:
        type(self).fetched += 1
        return super()._fetch(name, span)


@pytest.fixture
def far(tmp_path: Path, make_pairs: Callable[..., list[Pair]]) -> Counting:
    import fsspec

    near = tmp_path / "near"
    write_shards(near, make_pairs(300), source="unit", records_per_chunk=30, shard_bytes=8000)
    memory = fsspec.filesystem("memory")
    memory.put(str(near), f"/{tmp_path.name}", recursive=True)
    return Counting(f"memory://{tmp_path.name}", tries=2, wait=0.0)


def anything(data: bytes) -> bool:
    return True


def entries(cache: NodeCache) -> list[Path]:
    return sorted(path for path in cache.folder.rglob("*") if path.is_file())


def test_the_second_reader_fetches_nothing(far: Counting, tmp_path: Path) -> None:
    cache = NodeCache(tmp_path / "cache", 1.0)
    first = list(PairShards.open(far, cache))
    again = PairShards.open(far, cache)
    before = Counting.fetched
    assert list(again) == first
    assert Counting.fetched == before
    assert list(pickle.loads(pickle.dumps(again))) == first
    assert Counting.fetched == before
    assert len(entries(cache)) == len(again.chunk_counts) + len(again.manifest["shards"])


def test_a_damaged_entry_is_fetched_again(far: Counting, tmp_path: Path) -> None:
    cache = NodeCache(tmp_path / "cache")
    records = list(PairShards.open(far, cache))
    for number, path in enumerate(entries(cache)):
        data = path.read_bytes()
        path.write_bytes([b"", data[:-1], data[:-1] + bytes([data[-1] ^ 1])][number % 3])
    assert list(PairShards.open(far, cache)) == records
    before = Counting.fetched
    assert list(PairShards.open(far, cache)) == records
    assert Counting.fetched - before < 5, "the entries are whole again: only manifest and sizes are asked for"


def test_wrong_bytes_are_never_kept(far: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = NodeCache(tmp_path / "cache")
    shards = PairShards.open(far, cache)
    kept = entries(cache)
    monkeypatch.setattr(Counting, "_fetch", lambda self, name, span: bytes(span[1]))
    with pytest.raises(DataError, match="its bytes are not those that were written"):
        shards.read_chunk(0)
    assert entries(cache) == kept


def test_the_limit_holds_and_the_least_used_go(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(bytes(9000))
    cache = NodeCache(tmp_path, 10 * KIB)
    for number in range(30):
        cache.put(f"a/{number}", bytes(1000))
        for age, path in enumerate(entries(cache)):
            if path.name not in ("0", str(number)):
                os.utime(path, (1000 + age, 1000 + age))
        assert cache.get("a/0", anything) is not None, "what is used stays"
        assert sum(path.stat().st_size for path in entries(cache)) <= 10 * 1024
    assert cache.get("a/29", anything) is not None
    assert cache.get("a/1", anything) is None
    cache.put("large", bytes(20_000))
    assert cache.get("large", anything) is None
    assert (tmp_path / "theirs").stat().st_size == 9000, "only what is the cache's own is ever deleted"


def _hammer(folder: Path, seed: int) -> int:
    cache = NodeCache(folder, 64 * KIB)
    wrong = 0
    for number in range(150):
        key, data = f"k/{(number * 7 + seed) % 40}", bytes([(number * 7 + seed) % 40]) * 3000
        found = cache.get(key, anything)
        wrong += found not in (None, data)
        if found is None:
            cache.put(key, data)
    return wrong + 1000 * cache.disabled


def test_several_processes_share_it(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3) as pool:
        assert list(pool.map(_hammer, [tmp_path] * 3, range(3))) == [0, 0, 0]
    cache = NodeCache(tmp_path, 64 * KIB)
    assert sum(path.stat().st_size for path in entries(cache)) <= 64 * 1024 * (1 + 3 / 32) + 3 * 3000
    assert not [path for path in entries(cache) if path.suffix == ".part"]


def test_a_full_disk_is_one_warning(far: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, written = NodeCache(tmp_path / "cache"), []

    def fail(self: Path, data: bytes) -> int:
        written.append(self)
        with open(self, "wb") as file:
            file.write(data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    records = list(PairShards.open(far))
    monkeypatch.setattr(Path, "write_bytes", fail)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert list(PairShards.open(far, cache)) == records
    assert [str(warning.message) for warning in caught] == [
        f"{cache.folder}: the cache cannot be written (No space left on device); going on without keeping anything"
    ]
    assert len(written) == 1
    assert entries(cache) == []


def test_the_environment_names_one(far: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CPT_CACHE", raising=False)
    assert cache_from_environment() is None
    monkeypatch.setenv("CPT_CACHE", str(tmp_path / "named"))
    monkeypatch.setenv("CPT_CACHE_GIB", "0.5")
    found = cache_from_environment()
    assert found is not None
    assert found.limit == 2**29
    PairShards.open(far).read_chunk(0)
    assert entries(found)
    for size, what in [("much", "CPT_CACHE_GIB: 'much' is not a number"), ("0", "leaves no room")]:
        monkeypatch.setenv("CPT_CACHE_GIB", size)
        with pytest.raises(DataError, match=what):
            cache_from_environment()


@pytest.mark.parametrize("gib", [0, -1.0, float("nan")])
def test_sizes_that_leave_no_room(tmp_path: Path, gib: Any) -> None:
    with pytest.raises(DataError, match=r"data\.cache_gib: .* leaves no room"):
        NodeCache(tmp_path, gib)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"data\.cache: .*file is a file"):
        NodeCache(tmp_path / "file")
