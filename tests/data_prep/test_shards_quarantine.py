"""Quarantine: marked chunks are as if they had never been there, the mark is counted, and can be taken away."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.errors import CorruptChunk, DataError
from data_prep.pairs import Pair
from data_prep.shards import PairShards, quarantine_chunks, rebuild_index, verify_shards
from data_prep.shards.index import load_index, load_manifest

Prep = Callable[..., int]


def damage(folder: Path, shard: int, chunk: int) -> None:
    entry = load_manifest(folder)["shards"][shard]
    index = load_index(folder, entry)
    data = bytearray((folder / entry["name"]).read_bytes())
    data[int(index.offsets[chunk]) + 9] ^= 1
    (folder / entry["name"]).write_bytes(data)


def test_the_command_of_the_error_is_the_cure(
    shards: Path, make_pairs: Callable[..., list[Pair]], prep: Prep, capsys: pytest.CaptureFixture[str]
) -> None:
    before = PairShards.open(shards)
    damage(shards, 1, 1)
    with pytest.raises(CorruptChunk) as caught:
        list(PairShards.open(shards))
    assert (caught.value.chunk, caught.value.number) == (3, 1)
    (problem,) = verify_shards(shards)
    assert caught.value.cure in problem
    words = caught.value.cure.strip("`").split()
    assert words[:2] == ["cpt", "prep"]
    assert prep(*words[2:]) == 0
    assert "180 pairs, 40 left out" in capsys.readouterr().out
    after = PairShards.open(shards)
    expected = [pair.to_dict() for pair in make_pairs(220)]
    assert list(after) == expected[:120] + expected[160:]
    assert (after.count, after.left_out, len(after)) == (180, 40, 180)
    assert after.chunk_counts.tolist() == [40, 40, 40, 40, 20]
    assert after.numbers.tolist() == [0, 1, 0, 0, 1]
    assert after.lengths.tolist() == before.lengths[:120].tolist() + before.lengths[160:].tolist()
    assert after.hashes.tolist() == before.hashes[:120].tolist() + before.hashes[160:].tolist()
    assert after.fingerprint != before.fingerprint
    assert prep("verify", shards) == 0
    assert "sound, 40 pairs in 1 chunk(s) left out by quarantine" in capsys.readouterr().out
    assert prep("stats", shards) == 0
    assert "quarantined" in capsys.readouterr().out


def test_undo_gives_the_same_manifest_back(shards: Path, prep: Prep) -> None:
    before = (shards / "manifest.json").read_bytes()
    assert prep("quarantine", shards, "unit-00002.tar", 1, 0, "--reason", "spam") == 0
    manifest = json.loads((shards / "manifest.json").read_text())
    assert manifest["quarantine"] == [
        {"shard": "unit-00002.tar", "chunk": chunk, "reason": "spam"} for chunk in (0, 1)
    ]
    assert prep("quarantine", shards, "unit-00002.tar", 1, "--undo") == 0
    assert prep("quarantine", shards, "unit-00002.tar", 0, "--undo") == 0
    assert (shards / "manifest.json").read_bytes() == before


def test_a_cut_shard_can_be_left_out(shards: Path, make_pairs: Callable[..., list[Pair]]) -> None:
    expected = [pair.to_dict() for pair in make_pairs(220)]
    path = shards / "unit-00001.tar"
    index = load_index(shards, load_manifest(shards)["shards"][1])
    path.write_bytes(path.read_bytes()[: int(index.offsets[1]) + 7])
    quarantine_chunks(shards, path.name, [1])
    assert list(PairShards.open(shards)) == expected[:120] + expected[160:]
    assert verify_shards(shards) == []
    path.write_bytes(path.read_bytes()[: int(index.offsets[0]) + 7])
    with pytest.raises(DataError, match=r"unit-00001\.tar: \d+ bytes instead of"):
        PairShards.open(shards)
    assert verify_shards(shards)
    path.unlink()
    with pytest.raises(DataError, match=r"unit-00001\.tar: missing"):
        PairShards.open(shards)
    quarantine_chunks(shards, path.name, [0])
    assert list(PairShards.open(shards)) == expected[:80] + expected[160:]


def test_more_damage_is_still_found(shards: Path, prep: Prep, capsys: pytest.CaptureFixture[str]) -> None:
    damage(shards, 0, 0)
    damage(shards, 0, 1)
    quarantine_chunks(shards, "unit-00000.tar", [0])
    assert len(verify_shards(shards)) == 1
    with pytest.raises(CorruptChunk) as caught:
        list(PairShards.open(shards))
    assert (caught.value.chunk, caught.value.number) == (0, 1)
    (shards / "unit-00002.tar").unlink()
    assert prep("quarantine", shards, "unit-00000.tar", 1) == 0
    assert "there is more damage: " in capsys.readouterr().out


def test_an_index_made_anew_keeps_the_marks(shards: Path) -> None:
    quarantine_chunks(shards, "unit-00000.tar", [1])
    before = (shards / "manifest.json").read_bytes()
    (shards / "unit-00000.idx").unlink()
    rebuild_index(shards)
    assert (shards / "manifest.json").read_bytes() == before


def test_what_is_refused(shards: Path, tmp_path: Path) -> None:
    before = (shards / "manifest.json").read_bytes()
    for words, what in [
        (("none.tar", [0]), "no shard 'none.tar'; there are unit-00000.tar"),
        (("unit-00000.tar", [2]), r"unit-00000\.tar: no chunk 2; it has 0 to 1"),
        (("unit-00000.tar", [-1]), "no chunk -1"),
        (("unit-00000.tar", [0, 0]), "chunk 0 is in quarantine already"),
    ]:
        with pytest.raises(DataError, match=what):
            quarantine_chunks(shards, *words)
    with pytest.raises(DataError, match="chunk 1 is not in quarantine"):
        quarantine_chunks(shards, "unit-00000.tar", [1], undo=True)
    with pytest.raises(DataError, match=r"no manifest\.json; name the folder that has it, such as .*/train"):
        quarantine_chunks(tmp_path, "unit-00000.tar", [1])
    assert (shards / "manifest.json").read_bytes() == before
    quarantine_chunks(shards, "unit-00000.tar", [0, 1])
    quarantine_chunks(shards, "unit-00001.tar", [0, 1])
    with pytest.raises(DataError, match="no chunk would be left"):
        quarantine_chunks(shards, "unit-00002.tar", [0, 1])
