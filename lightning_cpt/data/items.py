"""A plug-in source that has a length and gives records by number: it takes the same order as shards do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from data_prep.errors import DataError
from lightning_cpt.data.order import permutation
from lightning_cpt.data.plugin import Plugin, RecordMaker, failing, fingerprint, own_attribute
from lightning_cpt.errors import ConfigError

SAMPLE = 16  # records that are looked at before the first step
_MOST_CHUNKS = 1 << 20


class ItemPairs:
    """Records of an object with ``__len__`` and ``__getitem__``; as PairShards, as far as the order needs it.

    Records are fetched one by one, so a chunk is no more than a unit of the order: a single record, or the few
    that keep the number of chunks below a million.

    Attributes:
        folder: What messages call it.
        fingerprint, origin: Of the records' number and a sample of them.
        count: Records.
        chunk_counts: int64 (n_chunks,).
        sample: The records looked at.
    """

    unit, kind, tokens, left_out = "", "text", None, 0

    def __init__(self, plugin: Plugin, name: str, thing: Any, rows: np.ndarray | None = None) -> None:
        """
        Args:
            plugin: Builds the object again, in another process.
            name: Of the source.
            thing: The object.
            rows: The part of it that this is; None is all of it.

        Raises:
            ConfigError: no records.
            DataError: a record that is wrong.
        """
        self._plugin, self._thing, self.source = plugin, thing, name
        self.folder = plugin.key
        self._make = RecordMaker(plugin.key, name)
        self._rows = np.arange(self._length()) if rows is None else rows
        self.count = len(self._rows)
        if not self.count:
            raise ConfigError(f"{plugin.key}: is empty: {plugin.class_path} has a length of 0")
        size = -(-self.count // _MOST_CHUNKS)
        self.chunk_counts = np.full(-(-self.count // size), size, np.int64)  # (n_chunks,)
        self.chunk_counts[-1] = self.count - size * (len(self.chunk_counts) - 1)
        self._size = size
        places = np.unique(np.linspace(0, self.count - 1, min(SAMPLE, self.count)).round().astype(np.int64))
        self.sample = [self.record(place) for place in places.tolist()]
        self._check_ids()
        self.fingerprint = fingerprint(self.sample, self.count, own_attribute(thing, "fingerprint"))
        self.origin = self.fingerprint

    def _length(self) -> int:
        try:
            return len(self._thing)
        except Exception as error:  # user code can fail in any way
            raise ConfigError(f"{self.folder}: its length: {type(error).__name__}: {error}") from error

    def _check_ids(self) -> None:
        names = [record["id"] for record in self.sample]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(
                f"{self.folder}: several records have the id {twice!r}; each needs one of its own"
            )

    def without(self, held_out: int) -> tuple[ItemPairs, ItemPairs]:
        """This source without ``held_out`` of its records, drawn by its fingerprint, and those records.

        Raises:
            ConfigError: there are not so many.
        """
        if held_out >= self.count:
            raise ConfigError(
                f"{self.folder}.held_out: {held_out} of {self.count} records leaves nothing to train on; hold out fewer"
            )
        order = permutation(f"{self.fingerprint}/held out", self.count)
        parts = [np.sort(self._rows[part]) for part in (order[held_out:], order[:held_out])]
        train, held = (ItemPairs(self._plugin, self.source, self._thing, part) for part in parts)
        return train, held

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.record(place) for place in range(self.count))

    def record(self, place: int) -> dict[str, Any]:
        """The record at a place of this part.

        Raises:
            DataError: the object fails, or what it gives is no record.
        """
        number = int(self._rows[place])
        with failing(self.folder, number):
            obj = self._open()[number]
        return self._make(obj, number)

    def start(self, chunk: int) -> int:
        """Place of a chunk's first record."""
        return chunk * self._size

    def pool(self, seed: int, size: int) -> list[dict[str, Any]]:
        """A fixed choice of records, by the fingerprint and the seed: the same ones for every model and machine."""
        places = permutation(f"{self.fingerprint}/pool/{seed}", self.count)[:size]
        return [self.record(place) for place in places.tolist()]

    def _open(self) -> Any:
        if self._thing is None:
            self._thing = self._plugin.build()
        return self._thing

    def __getstate__(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "_thing": None,
        }  # an object may hold open files; another process builds its own
