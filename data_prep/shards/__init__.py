"""The shard format, whole and only here: write, index, read and verify."""

from __future__ import annotations

from data_prep.shards.index import FORMAT
from data_prep.shards.quarantine import quarantine_chunks
from data_prep.shards.read import PairShards, open_splits
from data_prep.shards.rebuild import rebuild_index
from data_prep.shards.verify import verify_shards
from data_prep.shards.write import stream_splits, write_shards, write_splits
from data_prep.split import SPLITS

__all__ = [
    "FORMAT",
    "SPLITS",
    "PairShards",
    "open_splits",
    "quarantine_chunks",
    "rebuild_index",
    "stream_splits",
    "verify_shards",
    "write_shards",
    "write_splits",
]
