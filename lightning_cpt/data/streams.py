"""A plug-in source without a length: its records come in its own order, pass after pass, from any place on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch.utils.data._utils.worker as torch_worker

from data_prep.errors import DataError
from lightning_cpt.data.items import SAMPLE
from lightning_cpt.data.plugin import Plugin, RecordMaker, failing, fingerprint, method_of, own_attribute
from lightning_cpt.errors import ConfigError

# Stands for "no end" where the order counts records; leaves room for sources behind it.
ENDLESS = 1 << 48


class StreamPairs:
    """Records of a generator function, or of an object that can only be iterated over.

    Attributes:
        folder: What messages call it.
        fingerprint, origin: Of the first records.
        count: Endless: it begins anew whenever it ends.
        sample: The first records.
        make: Checks a record against the first one.
        held_records: The first records, which are not trained on, wherever a later pass has them.
        stateful: Whether it can tell and take up its position (``state_dict``, ``load_state_dict``).
    """

    unit, kind, tokens, left_out = "", "text", None, 0
    count = ENDLESS

    def __init__(self, plugin: Plugin, name: str, thing: Any, held_out: int = 0) -> None:
        """
        Args:
            plugin: Builds the object again, for another pass or in another process.
            name: Of the source.
            thing: The object; it is not used further.
            held_out: Records at the beginning to keep out of the training.

        Raises:
            ConfigError: it yields nothing, or no more than what is held out.
            DataError: a record that is wrong.
        """
        self.plugin, self.source = plugin, name
        self.folder = plugin.key
        self.stateful = bool(method_of(thing, "state_dict") and method_of(thing, "load_state_dict"))
        self.make = RecordMaker(plugin.key, name)
        first = self._first(thing, held_out + SAMPLE)
        self.held_records, self.sample = first[:held_out], first[held_out:]
        self._held = frozenset(map(_texts, self.held_records))
        if not self.sample:
            state = (
                f"has no more than {len(first)} records, and {held_out} are held out" if first else "is empty"
            )
            raise ConfigError(f"{self.folder}: {state}: {plugin.class_path} has to yield pairs")
        self.fingerprint = fingerprint(self.sample, None, own_attribute(thing, "fingerprint"))
        self.origin = self.fingerprint

    def is_held(self, obj: Any) -> bool:
        """Whether what the stream gives is held out: by its texts, as a pass may come in another order than the first."""
        return bool(self._held) and isinstance(obj, Mapping) and _texts(obj) in self._held

    def _first(self, thing: Any, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        with failing(self.folder, 0):
            iterator = iter(thing)
        for number in range(count):
            with failing(self.folder, number):
                obj = next(iterator, _END)
            if obj is _END:
                break
            found.append(self.make(obj, number))
        return found


def _texts(record: Mapping[str, Any]) -> tuple[str, str]:
    return str(record.get("x")), str(record.get("y"))


_END = object()


class Cursor:
    """A place in a stream, moving forward.

    Args:
        stream: Whose.
        state: Where it was, as :meth:`state` says; None is the beginning.
    """

    def __init__(self, stream: StreamPairs, state: dict[str, Any] | None = None) -> None:
        self._stream = stream
        self.position = 0  # records of all passes before this place
        self._pass, self._index = -1, 0  # the pass, and records of it before this place
        self._yielded = False
        self._thing: Any = None
        self._iterator: Iterator[Any] = iter(())
        if state:
            self._restore(state)

    def _restore(self, state: dict[str, Any]) -> None:
        self._open(state["pass"], state["state"])
        self.position, self._index = state["position"], state["index"]
        self._yielded = True

    def take(self, start: int, stop: int, wanted: set[int]) -> dict[int, dict[str, Any]]:
        """The wanted ones of the records from ``start`` to ``stop``; afterwards the place is ``stop``.

        Args:
            start, stop: Places, not before this one.
            wanted: Some of them; the others are passed over unchecked.

        Raises:
            DataError: the stream fails, yields something else than pairs, or nothing in a whole pass.
        """
        found = {}
        while self.position < stop:
            index, obj = self._next()
            if self.position in wanted and self.position >= start:
                found[self.position] = self._stream.make(obj, index)
            self.position += 1
        return found

    def first(self, count: int) -> list[dict[str, Any]]:
        """The first ``count`` records of the first pass, or all that it has.

        Raises:
            DataError: the stream fails, or yields something else than pairs.
        """
        self._open(0)
        found: list[dict[str, Any]] = []
        for number in range(count):
            with failing(self._stream.folder, number):
                obj = next(self._iterator, _END)
            if obj is _END:
                break
            found.append(self._stream.make(obj, number))
        return found

    def _next(self) -> tuple[int, Any]:
        """The next record that is trained on, and its number in its pass."""
        while True:
            with failing(self._stream.folder, self._index):
                obj = next(self._iterator, _END)
            if obj is _END:
                if self._pass >= 0 and not self._yielded:
                    raise DataError(
                        f"{self._stream.folder}: pass {self._pass} of it yields nothing to train on"
                    )
                self._open(self._pass + 1)
                continue
            index = self._index
            self._index += 1
            if not self._stream.is_held(obj):
                self._yielded = True
                return index, obj

    def _open(self, number: int, state: Any = None) -> None:
        """Begin pass ``number``, where ``state`` says or at the beginning."""
        _hide_worker()
        if self._thing is None or iter(self._thing) is self._thing:  # a generator is used up
            with failing(self._stream.folder, 0):
                self._thing = self._stream.plugin.build()
        self._pass, self._index, self._yielded = number, 0, False
        with failing(self._stream.folder, 0):
            if set_epoch := method_of(self._thing, "set_epoch"):
                set_epoch(number)
            if state is not None:
                self._thing.load_state_dict(state)
            self._iterator = iter(self._thing)

    def state(self) -> dict[str, Any] | None:
        """This place, to be taken up by another cursor; None where the stream cannot tell, or not in plain values."""
        if not self._stream.stateful or self._pass < 0:
            return None
        with failing(self._stream.folder, self._index):
            inner = self._thing.state_dict()
        try:
            plain = json.loads(json.dumps(inner)) == inner
        except (TypeError, ValueError):
            plain = False
        if not plain:
            raise DataError(
                f"{self._stream.folder}: its state_dict holds something else than numbers, strings, lists and dicts of "
                "names; leave these methods out, and a resume reads again what came before"
            )
        return {"position": self.position, "pass": self._pass, "index": self._index, "state": inner}


def _hide_worker() -> None:
    """Let this process look like no worker of a DataLoader.

    A data set of torch or of Hugging Face would give each worker another part, where every one has to see all.
    """
    if torch_worker._worker_info is not None:
        from fsspec.asyn import reset_lock

        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # what the tokenizer does in a worker
        torch_worker._worker_info = None
        reset_lock()  # a fork leaves its event loop without a thread, and a remote file would be waited for for ever
