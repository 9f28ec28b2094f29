"""Classic WebDataset tars of both layouts, as the webdataset library and as GNU-style writers make them."""

from __future__ import annotations

import errno
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import webdataset

from data_prep.errors import CorruptChunk, DataError
from data_prep.pairs import Pair
from data_prep.shards import PairShards, rebuild_index, verify_shards

MakePairs = Callable[..., list[Pair]]


def write_tar(path: Path, members: list[tuple[str, str]], format: int = tarfile.USTAR_FORMAT) -> None:
    with tarfile.open(path, "w", format=format) as tar:
        for name, text in members:
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))


def pair_json(i: int) -> str:
    return json.dumps({"x": f"query {i}", "y": f"answer {i}", "url": f"u{i}"})


@pytest.fixture
def json_folder(tmp_path: Path, make_pairs: MakePairs) -> Path:
    folder = tmp_path / "theirs"
    folder.mkdir()
    pairs = make_pairs(1300)
    for shard in range(2):
        with webdataset.TarWriter(str(folder / f"data-{shard:05d}.tar")) as writer:
            for i in range(shard * 650, shard * 650 + 650):
                writer.write({"__key__": f"{i:06d}", "json": pairs[i].to_dict()})
    return folder


def test_json_per_pair(json_folder: Path, make_pairs: MakePairs) -> None:
    opened = PairShards.open(json_folder)
    assert list(opened) == [pair.to_dict() for pair in make_pairs(1300)]
    assert opened.chunk_counts.tolist() == [512, 138, 512, 138]
    assert opened.lengths[:2].tolist() == [[len(pair.x), len(pair.y)] for pair in make_pairs(2)]
    assert verify_shards(json_folder) == []
    again = PairShards.open(json_folder)  # now from the index
    assert again.fingerprint == opened.fingerprint
    assert again.read_chunk(3) == opened.read_chunk(3)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_text_members(tmp_path: Path, format: int) -> None:
    """Long names, folders, other members and names that are not ASCII, in all three dialects of tar."""
    long = "deep/" * 12 + "name" * 15
    members: list[tuple[str, str]] = [("__meta__.json", "{}")]
    for i in range(3):
        key = f"{long}{i}" if i < 2 or format == tarfile.USTAR_FORMAT else "é" * 90
        members += [
            (f"{key}.cls", "1"),
            (f"{key}.x.txt", f"query é {i}"),
            (f"{key}.y.txt", f"answer {i}" * 300),
        ]
    write_tar(tmp_path / "a.tar", members, format)
    opened = PairShards.open(tmp_path)
    assert [(record["x"], record["y"]) for record in opened] == [
        (f"query é {i}", f"answer {i}" * 300) for i in range(3)
    ]
    assert opened.read_chunk(0)[0]["id"] == f"a/{long}0"
    assert len({record["id"] for record in opened}) == 3


def test_defaults_of_json(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("0.json", pair_json(0)), ("1.json", pair_json(1))])
    assert PairShards.open(tmp_path).read_chunk(0)[1] == {
        "id": "a/1", "x": "query 1", "y": "answer 1", "negatives": [], "source": "", "meta": {"url": "u1"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("0.x.txt", "a"), ("0.y.txt", "b"), ("1.x.txt", "a")], r"a\.tar: sample 1: no y"),
        ([("0.json", pair_json(0)), ("1.json", '{"x": "a"}')], r"a\.tar: sample 1: no y"),
        ([("0.json", pair_json(0)), ("1.json", '{"x": ')], r"a\.tar: sample 1: not JSON"),
        ([("0.json", pair_json(0)), ("1.txt", "a")], r"a\.tar: sample 1: no \.json member"),
        ([("0.x.txt", "a"), ("0.y.txt", "b"), ("1.x.txt", "a"), ("1.y.txt", "b"), ("0.z", "c")],
         "members of sample 0 do not lie together"),
        ([], "holds no samples"),
    ],
)  # fmt: skip
def test_bad_samples(tmp_path: Path, members: list[tuple[str, str]], message: str) -> None:
    write_tar(tmp_path / "a.tar", members)
    with pytest.raises(DataError, match=message) as caught:
        PairShards.open(tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"], "no index of a bad folder may stay"


def test_a_cut_or_damaged_tar_is_never_indexed(json_folder: Path) -> None:
    path = json_folder / "data-00001.tar"
    good = path.read_bytes()
    for size in (len(good) // 2, len(good) // 1024 * 512, 512 * 7, len(good.rstrip(b"\0"))):
        path.write_bytes(good[:size])
        with pytest.raises(DataError, match=r"data-00001\.tar: the file ends early"):
            PairShards.open(json_folder)
    header = good.index(b"000900.json")
    path.write_bytes(good[:header] + b"X" + good[header + 1 :])
    with pytest.raises(DataError, match="damaged tar header"):
        PairShards.open(json_folder)
    path.write_bytes(good + good)
    with pytest.raises(DataError, match="bytes after the end marker"):
        PairShards.open(json_folder)


def test_damage_after_indexing(json_folder: Path) -> None:
    opened = PairShards.open(json_folder)
    path = json_folder / "data-00000.tar"
    path.write_bytes(path.read_bytes().replace(b"query number 600", b"query number 6OO"))
    assert len(opened.read_chunk(0)) == 512
    with pytest.raises(CorruptChunk, match=r"data-00000\.tar: chunk 1"):
        opened.read_chunk(1)
    assert [problem.split(" (")[0] for problem in verify_shards(json_folder)] == [f"{path}: chunk 1"]


def test_a_new_tar_asks_for_a_new_index(json_folder: Path) -> None:
    PairShards.open(json_folder)
    write_tar(json_folder / "more.tar", [("0.json", pair_json(0))])
    with pytest.raises(DataError, match=r"more\.tar: not listed in manifest\.json"):
        PairShards.open(json_folder)
    rebuild_index(json_folder)
    assert PairShards.open(json_folder).count == 1301


def test_a_folder_that_cannot_be_written(json_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("data_prep.shards.classic.save_index", refuse)
    opened = PairShards.open(json_folder)
    assert opened.count == 1300
    assert not (json_folder / "manifest.json").exists()
    monkeypatch.undo()
    assert PairShards.open(json_folder).fingerprint == opened.fingerprint
