"""Shards behind addresses: a real server that drops, cuts, refuses, flips and hangs; memory:// by the same path."""

from __future__ import annotations

import os
import pickle
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import CorruptChunk, DataError
from data_prep.pairs import Pair
from data_prep.remote import RemoteStorage, without_credentials
from data_prep.shards import PairShards, open_splits, quarantine_chunks, verify_shards, write_splits
from data_prep.storage import is_address

MakePairs = Callable[..., list[Pair]]


Server = Any  # of the fixture `serve`


@pytest.fixture
def folder(tmp_path: Path, make_pairs: MakePairs) -> Path:
    pairs = make_pairs(1400)
    write_splits(
        tmp_path / "data", {"train": pairs[:1200], "validation": pairs[1200:], "test": []}, source="unit"
    )
    return tmp_path / "data"


@pytest.fixture
def server(folder: Path, serve: Callable[[Path], Server]) -> Server:
    return serve(folder)


def quick(url: str, **options: Any) -> RemoteStorage:
    return RemoteStorage(url, **{"tries": 4, "timeout": 5.0, "wait": 0.01, **options})


def failure(act: Callable[[], object]) -> DataError:
    with pytest.raises(DataError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return caught.value


def test_both_ends_read_the_same(
    folder: Path, server: Server, prep: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    near, far = open_splits(folder), open_splits(server.url)
    assert list(far) == ["train", "validation"]
    for name, shards in near.items():
        assert list(far[name]) == list(shards)
        assert far[name].fingerprint == shards.fingerprint
        assert verify_shards(f"{server.url}/{name}") == []
    assert far["train"].folder == f"{server.url}/train"
    assert prep("verify", server.url) == 0
    assert f"{server.url}/validation: sound" in capsys.readouterr().out
    chunk = [headers for headers in server.headers if headers["path"].endswith(".tar")]
    assert all("Range" in headers for headers in chunk), "a chunk is a range, never the whole tar"


@pytest.mark.parametrize("fault", ["drop", "short", "503", "500", "429", "flip", "hang"])
def test_a_fault_that_passes(folder: Path, server: Server, fault: str) -> None:
    near = PairShards.open(folder / "train")
    for name in ("manifest.json", "unit-00000.idx", "unit-00000.tar"):
        server.faults[name] = [fault]
    far = PairShards.open(quick(f"{server.url}/train", timeout=0.3 if fault == "hang" else 5.0))
    server.faults["unit-00000.tar"] = [fault, fault]
    server.ports.clear()
    assert far.read_chunk(1) == near.read_chunk(1)
    ports = server.ports["unit-00000.tar"]
    assert len(set(ports)) == len(ports) == 3, "each try has a new connection"
    assert list(far) == list(near)


@pytest.mark.parametrize("fault", ["short", "flip"])
def test_bytes_that_stay_wrong_are_a_corrupt_chunk(server: Server, fault: str) -> None:
    far = PairShards.open(quick(f"{server.url}/train"))
    server.asked.clear()
    server.faults["unit-00000.tar"] = [fault, "..."]
    error = failure(lambda: far.read_chunk(1))
    assert isinstance(error, CorruptChunk)
    assert (error.shard, error.chunk, error.number) == ("unit-00000.tar", 1, 1)
    assert re.match(rf"{server.url}/train/unit-00000\.tar: chunk 1 \(at byte \d+\): ", str(error))
    assert "cpt prep quarantine DIR unit-00000.tar 1" in error.cure
    assert server.asked["unit-00000.tar"] == 4


@pytest.mark.parametrize(
    ("fault", "what"),
    [("drop", "ClientPayloadError"), ("503", "HTTP 503"), ("hang", "no answer in time")],
)
def test_a_server_that_stays_bad(server: Server, fault: str, what: str) -> None:
    far = PairShards.open(quick(f"{server.url}/train", timeout=0.3 if fault == "hang" else 5.0))
    server.faults["unit-00000.tar"] = [fault, "..."]
    error = failure(lambda: far.read_chunk(0))
    assert not isinstance(error, CorruptChunk), "the chunk is good, for all that is known"
    assert re.search(
        rf"train/unit-00000\.tar \(bytes 512 to \d+\): cannot be read: 4 tries, the last: {what}", str(error)
    )


@pytest.mark.parametrize("name", ["manifest.json", "unit-00000.idx"])
def test_whole_files_that_stay_wrong(server: Server, name: str) -> None:
    server.faults[name] = ["short", "..."]
    error = failure(lambda: PairShards.open(quick(f"{server.url}/train")))
    assert str(error).startswith(f"{server.url}/train/{name}: ")
    assert "copy the folder there again" in str(error)
    assert server.asked[name] >= 4


@pytest.mark.parametrize(
    ("status", "what"), [("403", "no permission (HTTP 403)"), ("400", "refused (HTTP 400)")]
)
def test_a_refusal_ends_at_once(server: Server, status: str, what: str) -> None:
    far = PairShards.open(quick(f"{server.url}/train"))
    server.asked.clear()
    server.faults["unit-00000.tar"] = [status, "..."]
    assert what in str(failure(lambda: far.read_chunk(0)))
    assert server.asked["unit-00000.tar"] == 1


def test_what_is_missing_or_of_another_size(folder: Path, server: Server) -> None:
    url = f"{server.url}/train"
    assert "no train, validation, test folder inside" in str(
        failure(lambda: open_splits(f"{server.url}/none"))
    )
    assert "no manifest.json there" in str(failure(lambda: PairShards.open(f"{server.url}/test")))
    tar, index = folder / "train" / "unit-00000.tar", folder / "train" / "unit-00000.idx"
    data = tar.read_bytes()
    for wrong, what in [
        (data[:-1024], "fewer bytes"),
        (data[:-1], "fewer bytes"),
        (data + b"x", "more bytes"),
    ]:
        tar.write_bytes(wrong)
        assert f"unit-00000.tar: {what} instead of {len(data)}" in str(
            failure(lambda: PairShards.open(quick(url)))
        )
    tar.unlink()
    assert "unit-00000.tar: missing, but listed" in str(failure(lambda: PairShards.open(quick(url))))
    tar.write_bytes(data)
    far = PairShards.open(quick(url))
    tar.unlink()
    assert "unit-00000.tar: missing" in str(failure(lambda: far.read_chunk(0)))
    index.unlink()
    tar.write_bytes(data)
    assert "unit-00000.idx: missing" in str(failure(lambda: PairShards.open(quick(url))))


def test_a_server_that_ignores_ranges(server: Server) -> None:
    server.faults["manifest.json"] = ["", "whole"]
    assert "sends whole files where a range is asked for" in str(
        failure(lambda: PairShards.open(quick(f"{server.url}/train")))
    )
    far = PairShards.open(quick(f"{server.url}/train"))
    server.faults["unit-00000.tar"] = ["whole", "..."]
    assert "sends whole files where a range is asked for" in str(failure(lambda: far.read_chunk(0)))


def test_no_server_at_all(server: Server) -> None:
    url = server.url
    server.close()
    assert "4 tries, the last: ClientConnectorError" in str(
        failure(lambda: PairShards.open(quick(f"{url}/train")))
    )


def test_credentials_are_used_and_never_shown(server: Server, tmp_path: Path) -> None:
    url = server.url.replace("http://", "http://user:s3cret@") + "/train?token=t0ken"
    far = PairShards.open(quick(url))
    assert len(far.read_chunk(0)) == 512
    assert all("token=t0ken" in headers["path"] for headers in server.headers)
    assert all(headers["Authorization"].startswith("Basic ") for headers in server.headers)
    shown = [str(far.folder), repr(quick(url))]
    for fault in ("flip", "drop", "403", "whole"):
        server.faults["unit-00000.tar"] = [fault, "..."]
        shown.append(repr(failure(lambda: far.read_chunk(0))))
    server.faults["manifest.json"] = ["503", "..."]
    shown.append(str(failure(lambda: open_splits(quick(url.replace("/train", ""))))))
    for text in shown:
        assert "127.0.0.1" in text
        assert not re.search("user|s3cret|t0ken", text)
    assert without_credentials("simplecache::https://a:b@h/c?d=e#f") == "simplecache::https://h/c"


def test_pickled_and_forked(folder: Path, server: Server) -> None:
    near, far = PairShards.open(folder / "train"), PairShards.open(quick(f"{server.url}/train"))
    assert far.read_chunk(0) == near.read_chunk(0)
    again = pickle.loads(pickle.dumps(far))
    assert again.read_chunk(1) == near.read_chunk(1)
    for _ in range(2):
        child = os.fork()
        if child == 0:  # pragma: no cover
            try:
                os._exit(0 if far.read_chunk(2) == near.read_chunk(2) else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
    assert far.read_chunk(2) == near.read_chunk(2)


def test_quarantine_is_made_where_the_folder_came_from(folder: Path, server: Server) -> None:
    url = f"{server.url}/train"
    assert "run this where the folder was copied from" in str(
        failure(lambda: quarantine_chunks(url, "unit-00000.tar", [0]))
    )
    before = PairShards.open(url)
    quarantine_chunks(folder / "train", "unit-00000.tar", [1])
    after = PairShards.open(url)
    assert (after.count, after.left_out) == (before.count - 512, 512)
    assert list(after) == before.read_chunk(0) + before.read_chunk(2)


def test_memory_by_the_same_path(folder: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/bucket/data", recursive=True)
    try:
        far = open_splits("memory://bucket/data")
        assert {name: list(shards) for name, shards in far.items()} == {
            name: list(shards) for name, shards in open_splits(folder).items()
        }
        tar = memory.store["/bucket/data/train/unit-00000.tar"]
        tar.truncate(4000)
        assert isinstance(failure(lambda: far["train"].read_chunk(2)), CorruptChunk)
        assert "fewer bytes" in str(failure(lambda: PairShards.open(quick("memory://bucket/data/train"))))
    finally:
        memory.rm("/bucket", recursive=True)


def test_addresses() -> None:
    for text in ("https://h/a", "s3://b/c", "memory://x", "simplecache::https://h/a"):
        assert is_address(text)
    for text in ("/a/b", "a/b", "a b/c:d", "C:\\data"):
        assert not is_address(text)


def test_what_fsspec_cannot_open(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "fsspec knows no scheme nosuch://" in str(failure(lambda: PairShards.open("nosuch://a/b")))
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert str(failure(lambda: open_splits("s3://a:b@c/d"))) == (
        "s3://c/d: the package for s3:// is not installed; pip install s3fs"
    )
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert "pip install aiohttp" in str(failure(lambda: PairShards.open("https://h/d")))


def test_a_server_that_is_asked_at_once_and_is_not_there_or_says_nothing() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(
            DataError, match=r"ftp://127.0.0.1:\d+/x: cannot be reached: ConnectionRefusedError"
        ):
            RemoteStorage(f"ftp://127.0.0.1:{silent.getsockname()[1]}/x")
        silent.listen()
        with pytest.raises(DataError, match="cannot be reached: no answer in time; check the address"):
            RemoteStorage(f"ftp://me:secret@127.0.0.1:{silent.getsockname()[1]}/x", timeout=0.3)
