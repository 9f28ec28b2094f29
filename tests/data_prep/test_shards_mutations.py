"""200 seeded mutations of a good folder: verify finds every one, a full read is never short, nothing hangs."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.shards import PairShards, verify_shards, write_shards

EACH = 20
SECONDS = 10
Records = list[dict[str, Any]]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Records]:
    """3 shards of 4 chunks; all tars have one size, so that no size gives a swap away."""
    draw = random.Random(1)
    pairs = [
        Pair(f"id-{i:04d}", f"{draw.getrandbits(240):060x}", f"{draw.getrandbits(400):0100x}", [], "test", {})
        for i in range(120)
    ]
    folder = tmp_path_factory.mktemp("good") / "train"
    write_shards(folder, pairs, source="unit", records_per_chunk=10, shard_bytes=5000)
    assert len({path.stat().st_size for path in folder.glob("*.tar")}) == 1
    assert len(list(folder.glob("*.tar"))) == 3
    return folder, list(PairShards.open(folder))


def pick(draw: random.Random, folder: Path, pattern: str, count: int = 1) -> list[Path]:
    return draw.sample(sorted(folder.glob(pattern)), count)


def any_file(draw: random.Random, folder: Path) -> Path:
    """A tar, an index or the manifest, each kind as often."""
    return pick(draw, folder, draw.choice(["*.tar", "*.idx", "manifest.json"]))[0]


def flip_a_bit(draw: random.Random, folder: Path) -> None:
    path = any_file(draw, folder)
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def flip_a_bit_of_a_tar(draw: random.Random, folder: Path) -> None:
    """Headers, padding and end marker are most of a tiny tar's bytes."""
    (path,) = pick(draw, folder, "*.tar")
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def cut(draw: random.Random, folder: Path) -> None:
    path = any_file(draw, folder)
    size = draw.randrange(path.stat().st_size)
    os.truncate(path, size - size % 512 if draw.random() < 0.5 else size)


def lengthen(draw: random.Random, folder: Path) -> None:
    path = any_file(draw, folder)
    more = draw.choice([bytes(512), bytes(1), b"x", path.read_bytes()])
    path.write_bytes(path.read_bytes() + more)


def swap(draw: random.Random, folder: Path) -> None:
    """Two tars, or two indexes, or both of two shards."""
    first, second = pick(draw, folder, "*.tar", 2)
    for ending in draw.choice([[".tar"], [".idx"], [".tar", ".idx"]]):
        a, b = first.with_suffix(ending), second.with_suffix(ending)
        a.rename(folder / "aside")
        b.rename(a)
        (folder / "aside").rename(b)


def delete(draw: random.Random, folder: Path) -> None:
    any_file(draw, folder).unlink()


def rename(draw: random.Random, folder: Path) -> None:
    path = any_file(draw, folder)
    path.rename(
        folder / draw.choice(["other-00000" + path.suffix, path.name + ".bak", "unit-00009" + path.suffix])
    )


def move_blocks(draw: random.Random, folder: Path) -> None:
    """Blocks of a tar change places, are doubled, or go missing, or a tar is that of another shard."""
    (path,) = pick(draw, folder, "*.tar")
    data = path.read_bytes()
    blocks = [data[i : i + 512] for i in range(0, len(data), 512)]
    a, b = draw.sample(range(len(blocks) - 2), 2)
    act = draw.randrange(4)
    if act == 0:
        blocks[a], blocks[b] = blocks[b], blocks[a]
    elif act == 1:
        blocks[a] = blocks[b]
    elif act == 2:
        del blocks[a]
    else:
        blocks = [pick(draw, folder, "*.tar")[0].read_bytes()]
    path.write_bytes(b"".join(blocks))


def edit_the_manifest(draw: random.Random, folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    shards = manifest["shards"]
    place = draw.choice([manifest, draw.choice(shards)])
    key = draw.choice([key for key in place if key not in ("shards", "manifest_xxh64")])
    act = draw.randrange(5)
    if act == 0:
        del place[key]
    elif act == 1:
        draw.shuffle(shards)
    elif act == 2:
        del shards[draw.randrange(len(shards))]
    elif act == 3:
        manifest["quarantine"] = [{"shard": shards[0]["name"], "chunk": 0, "reason": "none"}]
    else:
        place[key] = place[key] + (1 if isinstance(place[key], int) else "0")
    path.write_text(json.dumps(manifest, indent=1) + "\n")


def add_or_replace_files(draw: random.Random, folder: Path) -> None:
    """Extra tars and indexes, what a stopped run leaves, a folder or a pipe in a file's place."""
    path = any_file(draw, folder)
    act = draw.randrange(6)
    if act == 0:
        shutil.copy(pick(draw, folder, "*.tar")[0], folder / f"unit-{draw.randrange(4, 99):05d}.tar")
    elif act == 1:
        shutil.copy(pick(draw, folder, "*.idx")[0], folder / f"extra-{draw.randrange(99):05d}.idx")
    elif act == 2:
        (folder / ".writing").touch()
    elif act == 3:
        (folder / f".unit-00007.tar.{draw.randrange(99)}.tmp").write_bytes(b"half")
    else:
        path.unlink()
        path.mkdir() if act == 4 else os.mkfifo(path)


MUTATIONS: list[Callable[[random.Random, Path], None]] = [
    flip_a_bit,
    flip_a_bit_of_a_tar,
    cut,
    lengthen,
    swap,
    delete,
    rename,
    move_blocks,
    edit_the_manifest,
    add_or_replace_files,
]


def state(folder: Path) -> dict[str, bytes | None]:
    return {path.name: path.read_bytes() if path.is_file() else None for path in folder.iterdir()}


@contextmanager
def time_limit() -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError(f"hangs for over {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def found(act: Callable[[], list[Any]]) -> list[Any] | str:
    """What it returns, or the line of its DataError; any other error, or more than a line, is a failure."""
    line = ""
    with time_limit():
        try:
            return act()
        except DataError as error:
            line = str(error)
    assert "\n" not in line
    return line


def test_the_measure_is_of_two_hundred() -> None:
    assert len(MUTATIONS) * EACH == 200


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_every_mutation_is_found(
    good: tuple[Path, Records], tmp_path: Path, mutate: Callable[[random.Random, Path], None]
) -> None:
    source, records = good
    before = state(source)
    draw = random.Random(mutate.__name__)
    done = 0
    while done < EACH:
        folder = tmp_path / str(done)
        shutil.copytree(source, folder)
        mutate(draw, folder)
        if state(folder) == before:  # a block that was swapped with its like: no mutation
            shutil.rmtree(folder)
            continue
        done += 1
        problems = found(lambda folder=folder: verify_shards(folder))
        assert problems, f"number {done} was not found by verify"
        read = found(lambda folder=folder: list(PairShards.open(folder)))
        assert isinstance(read, str) or read == records, f"number {done} reads {len(read)} records, silently"


def test_the_good_folder_is_good(good: tuple[Path, Records]) -> None:
    assert verify_shards(good[0]) == []
    assert len(good[1]) == 120
