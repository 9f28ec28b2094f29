"""A writer that dies at any moment leaves no folder that a reader would take for whole, and can be run again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.shards import open_splits, verify_shards, write_splits

Splits = dict[str, list[Pair]]
SPLIT_SIZES = {"train": (0, 60), "validation": (60, 80), "test": (80, 100)}


@pytest.fixture
def make_splits(make_pairs: Callable[..., list[Pair]]) -> Callable[[str], Splits]:
    def make(mark: str) -> Splits:
        pairs = make_pairs(100, mark)
        return {name: pairs[begin:end] for name, (begin, end) in SPLIT_SIZES.items()}

    return make


def state(folder: Path) -> str:
    """What a reader finds: "refused", or the mark of the data, all of which must be there."""
    try:
        opened = open_splits(folder)
    except DataError:
        return "refused"
    records = {name: list(shards) for name, shards in opened.items()}
    assert {name: len(found) for name, found in records.items()} == {
        name: end - begin for name, (begin, end) in SPLIT_SIZES.items()
    }
    marks = {record["id"].split("id-")[0] for found in records.values() for record in found}
    assert len(marks) == 1, "old and new data are mixed"
    return marks.pop()


def die_at(step: int, act: Callable[[], object]) -> bool:
    """Run ``act`` in a fork that dies before its ``step``-th change to the disk; whether it lived to the end."""
    child = os.fork()
    if child == 0:
        left = [step]

        def counted(function: Callable[..., object]) -> Callable[..., object]:
            def call(*args: object, **kwargs: object) -> object:
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)
                return function(*args, **kwargs)

            return call

        for name in ("replace", "fsync", "unlink", "mkdir", "rmdir"):
            setattr(os, name, counted(getattr(os, name)))
        act()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("old", [False, True], ids=["fresh", "overwriting"])
def test_death_before_any_change(
    tmp_path: Path, make_splits: Callable[[str], Splits], old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A fork that dies leaves its writes to the kernel, so fsync is a step to die at, not work to wait for.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    seen = []
    for step in range(500):
        folder = tmp_path / str(step)
        if old:
            write_splits(folder, make_splits("old"), source="unit")

        def write(mark: str, folder: Path = folder) -> None:
            write_splits(folder, make_splits(mark), source="unit", overwrite=old)

        lived = die_at(step, lambda write=write: write("new"))
        seen.append(state(folder))
        if lived:
            assert seen[-1] == "new"
            break
        if seen[-1] != "new":  # a dead run is simply run again
            write("again")
            assert state(folder) == "again"
            assert sorted(path.name for path in folder.rglob("*.t*")) == ["unit-00000.tar"] * 3
            assert not list(folder.rglob(".*"))
    assert lived
    assert len(seen) > 30, "the fork died at too few places: its counting is broken"
    assert seen.count("refused") > 20
    assert seen[0] == ("old" if old else "refused")


WRITER = """
import sys, time
from data_prep.pairs import Pair
from data_prep.shards import write_shards
def pairs():
    for i in range(400):
        time.sleep(0.0005)
        yield Pair(f"id-{i}", f"query {i}", f"answer {i}")
from pathlib import Path
print("ready", flush=True)
write_shards(Path(sys.argv[1]) / "train", pairs(), source="unit", records_per_chunk=10, shard_bytes=4000)
"""


def test_sigkill_at_random_moments(tmp_path: Path) -> None:
    rng, outcomes = random.Random(0), []
    for trial in range(4):
        folder = tmp_path / str(trial)
        with subprocess.Popen([sys.executable, "-c", WRITER, folder], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0.02, 0.3))
            process.send_signal(signal.SIGKILL)
        try:
            outcomes.append(len(list(open_splits(folder)["train"])))
        except DataError:
            outcomes.append(0)
        subprocess.run([sys.executable, "-c", WRITER, folder], check=outcomes[-1] == 0, capture_output=True)
        assert len(list(open_splits(folder)["train"])) == 400
        assert verify_shards(folder / "train") == []
    assert set(outcomes) <= {0, 400}
    assert outcomes.count(0) >= 2, "the writer was never killed at work"
