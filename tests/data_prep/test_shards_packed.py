"""Packed records are the records, made when they are asked for; what is no list of them is refused at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import pytest

from data_prep.errors import CorruptChunk
from data_prep.pairs import Pair
from data_prep.shards import PairShards, write_shards
from data_prep.shards.packed import PackedRecords

RECORDS = [{"id": str(at), "x": "é" * at, "meta": {"span": [at, 70_000]}} for at in range(40)]


def test_they_are_the_records() -> None:
    packed = PackedRecords(msgpack.packb(RECORDS))
    assert list(packed) == RECORDS
    assert [packed[at] for at in range(-40, 40)] == RECORDS * 2
    assert len(PackedRecords(msgpack.packb([]))) == 0
    for at in (40, -41):
        with pytest.raises(IndexError):
            packed[at]


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d + b"\0", lambda d: b"", lambda d: b"\xc1" + d]
)
def test_what_is_no_list_of_records_is_refused(damage: Any) -> None:
    with pytest.raises(ValueError, match="list of records"):
        PackedRecords(damage(msgpack.packb(RECORDS)))
    with pytest.raises(ValueError, match="no list of records"):
        PackedRecords(msgpack.packb({"id": "a"}))


def test_shards_hand_them_over_checked(tmp_path: Path) -> None:
    pairs = [Pair(id=str(at), x=f"x {at}", y=f"y {at}", source="toy") for at in range(30)]
    write_shards(tmp_path / "shards", pairs, source="toy", records_per_chunk=16)
    shards = PairShards.open(tmp_path / "shards")
    assert [[*shards.read_packed(at)] for at in (0, 1)] == [shards.read_chunk(at) for at in (0, 1)]
    (tar,) = (tmp_path / "shards").glob("*.tar")
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    with pytest.raises(CorruptChunk, match="not those that were written"):
        shards.read_packed(0)
