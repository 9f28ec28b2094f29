"""Batches of a fixed set of records, each exactly once over all ranks: validation pools and predictions."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import xxhash
from torch.utils.data import Dataset

from data_prep.errors import DataError
from data_prep.shards import PairShards
from lightning_cpt.data.batch import PairBatch, make_batch
from lightning_cpt.data.items import ItemPairs
from lightning_cpt.data.records import Records as ShardRecords
from lightning_cpt.data.sources import Pairs
from lightning_cpt.data.streams import Cursor, StreamPairs
from lightning_cpt.errors import ConfigError
from lightning_cpt.tokenization import PairTokenizer, is_unicode


class Records(Protocol):
    """Records by their place."""

    def __len__(self) -> int: ...

    def records(self, rows: np.ndarray) -> Sequence[dict[str, Any]]: ...


class ListSource:
    """Records that lie in memory."""

    def __init__(self, items: Sequence[dict[str, Any]]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def records(self, rows: np.ndarray) -> Sequence[dict[str, Any]]:
        return [self._items[row] for row in rows.tolist()]


class ShardSource:
    """The records of a split, in the order in which they are stored."""

    def __init__(self, shards: PairShards) -> None:
        self._records = ShardRecords(shards, chunks=2)

    def __len__(self) -> int:
        return self._records.shards.count

    def records(self, rows: np.ndarray) -> Sequence[dict[str, Any]]:
        return self._records.at(rows)


class RankBatches(Dataset[PairBatch | DataError]):
    """This rank's even share of a source, in order, cut into the same number of batches on every rank.

    An equal number, because a forward pass under DDP may synchronise buffers: a rank with a batch more would
    wait for ever. With fewer records than ranks some batches are empty.

    Args:
        source: The records.
        tokenizer: Turns their texts into ids.
        batch_size: Most records of one batch on one rank.
        rank, world_size: Whose share.
    """

    def __init__(
        self, source: Records, tokenizer: PairTokenizer, batch_size: int, rank: int, world_size: int
    ) -> None:
        self._source = source
        self._tokenizer = tokenizer
        longest = -(-len(source) // world_size)
        share = np.array_split(np.arange(len(source)), world_size)[rank]
        self._parts = np.array_split(share, -(-longest // batch_size))

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> PairBatch | DataError:
        rows = self._parts[index]
        try:
            return make_batch(self._source.records(rows), self._tokenizer, rows=torch.from_numpy(rows))
        except DataError as error:
            return error


class Checked:
    """A sized loader that raises the errors its workers have handed over as values."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[PairBatch]:
        for batch in self._batches:
            if isinstance(batch, DataError):
                raise batch
            yield batch


class ItemSource:
    """The records of a plug-in that has a length, in its order."""

    def __init__(self, items: ItemPairs) -> None:
        self._items = items

    def __len__(self) -> int:
        return self._items.count

    def records(self, rows: np.ndarray) -> Sequence[dict[str, Any]]:
        return [self._items.record(row) for row in rows.tolist()]


def predicted(split: Pairs) -> Records:
    """All records of a split, in the order in which they are stored.

    Raises:
        ConfigError: it has no end.
    """
    if isinstance(split, ItemPairs):
        return ItemSource(split)
    if isinstance(split, StreamPairs):
        raise ConfigError(
            f"data.predict: {split.folder} has no length; write its texts to a .jsonl file and name that"
        )
    return ShardSource(split)


def fixed_pool(shards: Pairs, seed: int, size: int) -> list[dict[str, Any]]:
    """The ``size`` records with the lowest xxh64(seed, id): the same ones for every model and machine.

    Of a plug-in, which would have to be read through for that, those that seed and fingerprint choose by number;
    of a stream the first ones, each once.
    """
    if isinstance(shards, ItemPairs):
        return shards.pool(seed, size)
    if isinstance(shards, StreamPairs):
        return Cursor(shards).first(size)

    def key(record: dict[str, Any]) -> tuple[int, str]:
        return xxhash.xxh64_intdigest(record["id"].encode(), seed=seed), record["id"]

    return heapq.nsmallest(size, shards, key=key)


def read_texts(path: Path) -> list[dict[str, Any]]:
    """Records of a jsonl file: objects with x, y or both, every line alike; the id is the line's number if absent.

    Raises:
        ConfigError: no such file, not JSON, or a line without the sides of the first.
    """
    if not path.is_file():
        raise ConfigError(f"data.predict: {path} is neither a split of data.folder nor a file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start}); convert it first") from None
    records: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            records.append(_text_record(line, f"{path}:{number}", str(number)))
            if records[-1].keys() != records[0].keys():
                raise ConfigError(f"{path}:{number}: other sides than in line 1; every line needs the same")
    if not records:
        raise ConfigError(f"data.predict: {path} is empty")
    return records


def _text_record(line: str, where: str, default_id: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not JSON ({error})") from None
    sides = {side: record[side] for side in ("x", "y") if side in record} if isinstance(record, dict) else {}
    if not sides or not all(isinstance(text, str) for text in sides.values()):
        raise ConfigError(f'{where}: needs {{"x": text}}, {{"y": text}} or both')
    identity = str(record.get("id", default_id))
    for side, text in {**sides, "id": identity}.items():
        if not is_unicode(text):
            raise ConfigError(f"{where}: {side} holds half of a surrogate pair, which is no character")
    return {"id": identity, **sides}
