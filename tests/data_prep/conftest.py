"""Fixtures for data_prep: pairs out of nothing, and the command line as a function."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.cli import add_commands
from data_prep.pairs import Pair
from data_prep.shards import write_shards


@pytest.fixture
def make_pairs() -> Callable[..., list[Pair]]:
    """``make_pairs(n)``: n distinct pairs from n // 10 documents."""

    def make(count: int, mark: str = "") -> list[Pair]:
        return [
            Pair(
                id=f"{mark}id-{i}",
                x=f"{mark} the query number {i} é\n{'word ' * (i % 17)}",
                y=f"def f{i}():\n    return '{mark}{i}'",
                negatives=[f"wrong {i}"] if i % 3 == 0 else [],
                source="test",
                meta={"document": f"{mark}doc-{i // 10}", "span": [i, i + 1]},
            )
            for i in range(count)
        ]

    return make


@pytest.fixture
def shards(tmp_path: Path, make_pairs: Callable[..., list[Pair]]) -> Path:
    """A folder of 3 shards of 2 chunks of 40 records (the last one: 20)."""
    folder = tmp_path / "shards"
    manifest = write_shards(folder, make_pairs(220), source="unit", records_per_chunk=40, shard_bytes=1600)
    assert [shard["chunks"] for shard in manifest["shards"]] == [2, 2, 2]
    return folder


@pytest.fixture
def prep() -> Callable[..., int]:
    """``prep("stats", folder)`` runs `cpt prep stats FOLDER`; mistakes come out as DataError."""

    def run(*words: object) -> int:
        parser = argparse.ArgumentParser(prog="cpt")
        add_commands(parser.add_subparsers(required=True))
        args = parser.parse_args(["prep", *map(str, words)])
        return int(args.func(args))

    return run
