"""Damaged, incomplete and mistaken folders: one clear DataError each, and verify names the place."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_prep.errors import CorruptChunk, DataError
from data_prep.pairs import Pair
from data_prep.shards import PairShards, open_splits, rebuild_index, verify_shards, write_shards
from data_prep.shards.index import load_index, load_manifest


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


def chunk_range(folder: Path, shard: int, chunk: int) -> tuple[int, int]:
    index = load_index(folder, load_manifest(folder)["shards"][shard])
    return int(index.offsets[chunk]), int(index.sizes[chunk])


def one_line(error: BaseException) -> str:
    assert isinstance(error, DataError)
    assert "\n" not in str(error)
    return str(error)


def test_a_shard_cut_in_half(shards: Path) -> None:
    path = shards / "unit-00001.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError) as caught:
        PairShards.open(shards)
    assert re.search(r"unit-00001\.tar: \d+ bytes instead of \d+; the shard was cut", one_line(caught.value))
    problems = "\n".join(verify_shards(shards))
    assert "unit-00001.tar: chunk 1 (40 records at byte" in problems
    assert "unit-00001.tar: the file ends early" in problems
    assert "unit-00000" not in problems
    assert "unit-00002" not in problems
    with pytest.raises(DataError, match="ends early"):
        rebuild_index(shards)


def test_a_flipped_byte_in_the_data(shards: Path) -> None:
    offset, size = chunk_range(shards, 1, 0)
    flip(shards / "unit-00001.tar", offset + size // 2)
    opened = PairShards.open(shards)
    assert len(opened.read_chunk(1)) == 40
    with pytest.raises(CorruptChunk) as caught:
        opened.read_chunk(2)
    assert (caught.value.shard, caught.value.chunk) == ("unit-00001.tar", 2)
    command = f"`cpt prep quarantine {shards} unit-00001.tar 0`"
    assert (caught.value.number, caught.value.cure) == (0, command)
    assert one_line(caught.value).endswith(command)
    (problem,) = verify_shards(shards)
    assert problem.startswith(f"{shards}/unit-00001.tar: chunk 0 (40 records at byte")
    assert problem.endswith(command)
    with pytest.raises(DataError, match=r"unit-00001\.tar: chunk 0: damaged"):
        rebuild_index(shards)


def test_every_byte_of_a_shard_is_watched(shards: Path) -> None:
    """Headers, padding, data and end marker: whatever is flipped, verify sees it."""
    path = shards / "unit-00002.tar"
    good = path.read_bytes()
    rng = random.Random(0)
    places = [0, 100, 130, 150, 156, 257, 300, 511, len(good) - 1, len(good) - 1000]
    for place in [*places, *rng.sample(range(len(good)), 60)]:
        flip(path, place)
        problems = verify_shards(shards)
        assert problems, f"byte {place} was not missed"
        assert all("unit-00002.tar" in problem for problem in problems)
        path.write_bytes(good)
    assert verify_shards(shards) == []


def test_a_flipped_header_byte(shards: Path) -> None:
    offset, _ = chunk_range(shards, 0, 1)
    flip(shards / "unit-00000.tar", offset - 512 + 3)
    problems = verify_shards(shards)
    assert problems == [f"{shards}/unit-00000.tar: damaged tar header at byte {offset - 512}"]
    assert len(PairShards.open(shards).read_chunk(1)) == 40  # the index does not need the header
    (shards / "manifest.json").unlink()
    with pytest.raises(DataError, match="damaged tar header"):
        rebuild_index(shards)


def test_a_missing_shard(shards: Path) -> None:
    (shards / "unit-00001.tar").unlink()
    with pytest.raises(DataError) as caught:
        PairShards.open(shards)
    assert re.search(r"unit-00001\.tar: missing, but listed in manifest\.json", one_line(caught.value))
    assert len(verify_shards(shards)) == 1


def test_a_shard_that_is_not_listed(shards: Path) -> None:
    (shards / "extra.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"extra\.tar: not listed in manifest\.json"):
        PairShards.open(shards)
    assert len(verify_shards(shards)) == 1


def test_swapped_shards(shards: Path) -> None:
    first, second, other = (shards / name for name in ("unit-00000.tar", "unit-00001.tar", "other"))
    first.rename(other)
    second.rename(first)
    other.rename(second)
    size = max(first.stat().st_size, second.stat().st_size)
    with pytest.raises(DataError) as caught:  # noqa: PT012
        opened = PairShards.open(shards)  # notices where the sizes differ
        assert first.stat().st_size == second.stat().st_size == size
        opened.read_chunk(0)
    assert "unit-00000.tar" in one_line(caught.value)
    problems = "\n".join(verify_shards(shards))
    assert "unit-00000.tar: chunk 0" in problems
    assert "unit-00001.tar: chunk 0" in problems


def test_swapped_shards_of_equal_size(shards: Path) -> None:
    """Equal sizes must not hide it: padding makes them likely."""
    first, second = shards / "unit-00000.tar", shards / "unit-00001.tar"
    data = second.read_bytes()
    first.write_bytes(data[: first.stat().st_size].ljust(first.stat().st_size, b"\0"))
    with pytest.raises(CorruptChunk, match=r"unit-00000\.tar: chunk 0"):
        PairShards.open(shards).read_chunk(0)


def test_swapped_indexes(shards: Path) -> None:
    first, second = shards / "unit-00000.idx", shards / "unit-00001.idx"
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    with pytest.raises(
        DataError, match=r"unit-00000\.idx: does not match manifest\.json; delete it and rebuild"
    ):
        PairShards.open(shards)


def test_empty_and_absent_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no shards \(no manifest\.json, no \.tar\)"):
        PairShards.open(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        PairShards.open(tmp_path / "absent")
    with pytest.raises(DataError, match="no train, validation, test folder inside"):
        open_splits(tmp_path)
    with pytest.raises(DataError, match="no shards"):
        verify_shards(tmp_path)
    with pytest.raises(DataError, match="no shards"):
        rebuild_index(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda text: text.replace('"count": 220', '"count": 221'), "damaged"),
        (lambda text: text.replace('"unit-00001.tar"', '"unit-00007.tar"'), "damaged"),
        (lambda text: text.replace("cpt-shards-1", "cpt-shards-9"), "this version reads 'cpt-shards-1'"),
        (lambda text: "[]", "damaged"),
    ],
)
def test_a_damaged_manifest(shards: Path, change: Callable[[str], str], message: str) -> None:
    path = shards / "manifest.json"
    path.write_text(change(path.read_text()))
    for act in (PairShards.open, verify_shards):
        with pytest.raises(DataError, match=message) as caught:
            act(shards)
        assert "manifest.json" in one_line(caught.value)


def test_an_index_that_lies(shards: Path) -> None:
    """Even an index and a manifest that agree are held against the records."""
    manifest = load_manifest(shards)
    index = load_index(shards, manifest["shards"][0])
    index.hashes = np.roll(index.hashes, 1, axis=0)
    from data_prep.shards.index import make_manifest, save_index, write_manifest

    shard = manifest["shards"][0]
    manifest["shards"][0] = save_index(shards / shard["name"], index, shard["bytes"], shard["xxh64"])
    write_manifest(shards, make_manifest("unit", "chunks", manifest["shards"]))
    assert json.loads((shards / "manifest.json").read_text())["count"] == 220
    assert verify_shards(shards) == [
        f"{shards}/unit-00000.tar: chunk {chunk}: its records are not those of the index" for chunk in (0, 1)
    ]


def test_a_shard_missing_in_the_middle_is_noticed_without_a_manifest(tmp_path: Path) -> None:
    pairs = [Pair(str(i), f"x {i}", str(random.Random(i).random())) for i in range(1600)]
    write_shards(tmp_path, pairs, source="u", shard_bytes=1)
    for name in ("manifest.json", "u-00001.tar", "u-00001.idx"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match=r"u-00001\.tar: missing, but u-00002\.tar is there"):
        rebuild_index(tmp_path)
