"""The shard format: what is written is read, by us and by others, and equal data gives equal bytes."""

from __future__ import annotations

import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import xxhash
import zstandard

from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.shards import (
    FORMAT,
    PairShards,
    open_splits,
    rebuild_index,
    verify_shards,
    write_shards,
    write_splits,
)
from data_prep.shards.index import SEAL, fingerprint, seal

MakePairs = Callable[..., list[Pair]]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_round_trip(shards: Path, make_pairs: MakePairs) -> None:
    opened = PairShards.open(shards)
    assert list(opened) == [pair.to_dict() for pair in make_pairs(220)]
    assert opened.read_chunk(5) == [pair.to_dict() for pair in make_pairs(220)[200:]]
    assert opened.count == len(opened) == 220
    assert opened.chunk_counts.tolist() == [40, 40, 40, 40, 40, 20]
    assert (opened.source, opened.unit, opened.kind) == ("unit", "chars", "text")
    assert verify_shards(shards) == []


def test_index_columns(shards: Path, make_pairs: MakePairs) -> None:
    opened, pairs = PairShards.open(shards), make_pairs(220)
    assert (opened.chunk_counts.dtype, opened.lengths.dtype, opened.hashes.dtype) == (
        np.int64,
        np.uint32,
        np.uint64,
    )
    assert opened.lengths.tolist() == [[len(pair.x), len(pair.y)] for pair in pairs]
    expected = [
        [xxhash.xxh64_intdigest(text.encode()) for text in (p.x, p.y, p.meta["document"])] for p in pairs
    ]
    assert opened.hashes.tolist() == expected


def test_a_plain_tar_reader_finds_the_records(shards: Path, make_pairs: MakePairs) -> None:
    records = []
    for path in sorted(shards.glob("*.tar")):
        with tarfile.open(path) as tar:
            for number, member in enumerate(tar):
                assert member.name == f"{path.stem}-{number:06d}.msgpack.zst"
                assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
                file = tar.extractfile(member)
                assert file is not None
                records += msgpack.unpackb(zstandard.ZstdDecompressor().decompress(file.read()))
    assert records == [pair.to_dict() for pair in make_pairs(220)]


def test_the_format_is_frozen(shards: Path) -> None:
    manifest = json.loads((shards / "manifest.json").read_text())
    assert manifest["format"] == FORMAT == "cpt-shards-1"
    assert set(manifest) == {
        "format", "source", "layout", "kind", "unit", "count", "shards", "fingerprint", "manifest_xxh64",
    }  # fmt: skip
    assert set(manifest["shards"][0]) == {"name", "bytes", "count", "chunks", "xxh64", "idx_xxh64"}
    index = msgpack.unpackb(zstandard.ZstdDecompressor().decompress((shards / "unit-00000.idx").read_bytes()))
    assert set(index) == {"format", "offsets", "sizes", "counts", "xxh64", "lengths", "hashes"}
    assert np.frombuffer(index["counts"], "<i8").tolist() == [40, 40]
    first = np.frombuffer(index["offsets"], "<i8")[0]
    size = np.frombuffer(index["sizes"], "<i8")[0]
    data = (shards / "unit-00000.tar").read_bytes()[first : first + size]
    assert xxhash.xxh64_intdigest(data) == np.frombuffer(index["xxh64"], "<u8")[0]


def test_equal_pairs_give_equal_bytes(shards: Path, tmp_path: Path, make_pairs: MakePairs) -> None:
    again = tmp_path / "again"
    write_shards(again, iter(make_pairs(220)), source="unit", records_per_chunk=40, shard_bytes=1600)
    assert contents(again) == contents(shards)


def test_the_fingerprint_sees_data_and_order(tmp_path: Path, make_pairs: MakePairs) -> None:
    pairs = make_pairs(20)
    variants = [pairs, pairs[::-1], pairs[:-1], [*pairs[:-1], Pair("id-19", "x", "y")]]
    prints = {
        write_shards(tmp_path / str(i), variant, source="unit")["fingerprint"]
        for i, variant in enumerate(variants)
    }
    assert len(prints) == len(variants)


def test_pickled_and_forked_readers(shards: Path) -> None:
    opened = PairShards.open(shards)
    first = opened.read_chunk(0)
    assert pickle.loads(pickle.dumps(opened)).read_chunk(0) == first
    child = os.fork()
    if child == 0:
        os._exit(0 if opened.read_chunk(0) == first else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert opened.read_chunk(0) == first


def test_a_lost_index_is_rebuilt_to_the_byte(shards: Path) -> None:
    before = contents(shards)
    (shards / "unit-00001.idx").unlink()
    with pytest.raises(DataError, match=r"unit-00001\.idx: missing; rebuild it with `cpt prep index"):
        PairShards.open(shards)
    rebuild_index(shards)
    assert contents(shards) == before
    for path in [*shards.glob("*.idx"), shards / "manifest.json"]:
        path.unlink()
    with pytest.raises(DataError, match=r"without manifest\.json; rebuild it with"):
        PairShards.open(shards)
    rebuild_index(shards)
    assert contents(shards) == before


def test_splits_are_shuffled_and_whole(tmp_path: Path, make_pairs: MakePairs) -> None:
    pairs = make_pairs(100)
    splits = {"train": pairs[:80], "validation": [], "test": pairs[80:]}
    manifests = write_splits(tmp_path / "out", splits, source="unit")
    assert set(manifests) == {"train", "test"}
    opened = open_splits(tmp_path / "out")
    assert list(opened) == ["train", "test"]
    ids = [record["id"] for record in opened["train"]]
    assert sorted(ids) == sorted(pair.id for pair in pairs[:80])
    assert ids != [pair.id for pair in pairs[:80]]
    write_splits(tmp_path / "back", {**splits, "train": pairs[:80][::-1]}, source="unit")
    assert contents(tmp_path / "back") == contents(tmp_path / "out")


def test_overwriting_removes_what_is_old(tmp_path: Path, make_pairs: MakePairs) -> None:
    pairs = make_pairs(100)
    write_splits(
        tmp_path, {"train": pairs[:60], "validation": pairs[60:80], "test": pairs[80:]}, source="old"
    )
    with pytest.raises(DataError, match="holds finished shards; name another folder or add --overwrite"):
        write_splits(tmp_path, {"train": pairs}, source="new")
    write_splits(
        tmp_path, {"train": pairs[:90], "validation": [], "test": pairs[90:]}, source="new", overwrite=True
    )
    assert sorted(contents(tmp_path)) == [
        f"{split}/{name}"
        for split in ("test", "train")
        for name in ("manifest.json", "new-00000.idx", "new-00000.tar")
    ]


def test_writers_refuse(tmp_path: Path, make_pairs: MakePairs) -> None:
    with pytest.raises(DataError, match="no pairs to write"):
        write_shards(tmp_path / "none", [], source="unit")
    with pytest.raises(DataError, match="source name 'a/b': use letters"):
        write_shards(tmp_path / "name", make_pairs(1), source="a/b")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file: is a file"):
        write_shards(tmp_path / "file", make_pairs(1), source="unit")
    with pytest.raises(DataError, match="cannot be written"):
        write_shards(tmp_path / "file" / "below", make_pairs(1), source="unit")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "precious-00000.tar").write_bytes(b"data")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="tars that were not written by"):
            write_shards(tmp_path / "theirs", make_pairs(1), source="unit", overwrite=overwrite)
    assert (tmp_path / "theirs" / "precious-00000.tar").read_bytes() == b"data"


def test_a_manifest_whose_hash_is_a_path_is_refused(shards: Path) -> None:
    """Whoever writes one can seal it; the hash would name a file of the node's cache."""
    path = shards / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["shards"][0]["idx_xxh64"] = "../../victim"
    manifest["fingerprint"] = fingerprint(manifest["shards"], [])
    manifest[SEAL] = seal(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="damaged or edited"):
        PairShards.open(shards)


@pytest.mark.parametrize("value", ["\ud83d", 2**70, [object]])
def test_meta_that_cannot_be_stored(tmp_path: Path, value: Any) -> None:
    with pytest.raises(DataError, match="record a: 'url' cannot be stored"):
        write_shards(tmp_path, [Pair("a", "x", "y", meta={"url": value})], source="u")


def test_a_chunk_of_long_texts_has_fewer_pairs(tmp_path: Path) -> None:
    pairs = [Pair(f"id{i}", f"x{i}", f"{i} " * 300_000) for i in range(20)]
    write_shards(tmp_path / "long", pairs, source="toy")
    shards = PairShards.open(tmp_path / "long")
    assert shards.chunk_counts.tolist() == [7, 6, 5, 2]
    assert [record["id"] for record in shards] == [pair.id for pair in pairs]
