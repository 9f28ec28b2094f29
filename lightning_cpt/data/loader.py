"""Hands over the training batches in their order, tokenised in worker processes, and knows how many it has handed over."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from data_prep.errors import DataError
from data_prep.shards import PairShards
from data_prep.shards.index import origin, with_quarantine
from lightning_cpt.console import say
from lightning_cpt.data.batch import PairBatch
from lightning_cpt.data.exchange import Exchange
from lightning_cpt.data.part import Part
from lightning_cpt.data.reader import TrainingReader
from lightning_cpt.errors import ConfigError

STATE_VERSION = 3
# As torch words it; an error that a worker raised comes under its own name, or with the worker's traceback.
_LOST = re.compile(r"DataLoader worker \(pid.*?\) (is killed|exited unexpectedly)")


class PairLoader:
    """The training loader: sized, stateful, the same global batches for any number of workers and ranks.

    Each worker of each rank reads chunks of its own and tokenises their records for every batch; the ranks then
    exchange token ids, so that each encodes as many pairs and about as many tokens as the others.

    Its state is the number of batches handed over since the run began. Lightning stops by count and never
    exhausts an iterator, so the number is increased before each ``yield``, never after the last.
    The workers get batch numbers without end: they live through epochs and never see one.

    Args:
        reader: Reads this rank's records.
        workers: Processes that read and tokenise; 0 does it in the training process.
        exchange: Between the ranks; None where there is one.
    """

    def __init__(self, reader: TrainingReader, workers: int = 0, exchange: Exchange | None = None) -> None:
        self.reader = reader
        self.workers = workers
        self.wait = (0.0, 0.0)  # when the last batch was asked for, and when it was there
        self._exchange = exchange
        self._handed_over = 0
        self._streams = ""  # where the sources without a length are, behind the batches handed over
        self._noted: set[str] = set()
        self._stream: Iterator[Tensor | DataError] | None = None

    def __len__(self) -> int:
        """Batches of a whole epoch, also where the next epoch to come is a resumed one and shorter."""
        return self.reader.plan.mixture.per_epoch

    def __iter__(self) -> Iterator[PairBatch]:
        for _ in range(len(self) - self._handed_over % len(self)):
            asked = time.perf_counter()
            try:
                batch = self._next()
            except Exception:
                self.close()
                raise
            self.wait = (asked, time.perf_counter())
            self._handed_over += 1
            yield batch

    def _next(self) -> PairBatch:
        if self._stream is None and self._exchange is not None:
            self._exchange.check_same(self.reader.identity)
        found = self._fetch()
        parts = [Part.from_bytes(part.numpy().data) for part in found if isinstance(part, Tensor)]
        streams = next((part.state for part in parts if part.state), "")
        error = next((part for part in found if isinstance(part, DataError)), None)
        if self._exchange is not None:
            parts = self._exchange(error or deal(Part.cat(parts), self._exchange.world_size))
        elif error is not None:
            raise error
        part = Part.cat(parts)
        self._streams = streams
        self._note(part.replaced)
        batch = part.batch(self.reader.plan.data)
        return batch.pin_memory() if torch.cuda.is_available() else batch

    def _fetch(self) -> list[Tensor | DataError]:
        """This rank's parts of the next batch; whatever breaks here has to reach the other ranks, which wait for it."""
        try:
            if self._stream is None:
                self._stream = self._open(self._handed_over)
            return [next(self._stream) for _ in range(max(1, self.workers))]
        except Exception as error:
            if is_worker_lost(error):
                return [worker_lost(error)]
            if self._exchange is None:
                raise
            what = " ".join(str(error).split())[:300]
            return [DataError(f"a process that reads training data failed: {type(error).__name__}: {what}")]

    def _note(self, replaced: list[str]) -> None:
        for name in replaced:
            if name not in self._noted:
                self._noted.add(name)
                say(f"filled from the chunk before it (data.on_corrupt: substitute): {name}")

    def _open(self, first: int) -> Iterator[Tensor | DataError]:
        self.reader.shares.resume(self._streams)
        loader = DataLoader(
            self.reader,
            batch_size=None,
            sampler=_From(first, max(1, self.workers)),
            num_workers=self.workers,
            generator=torch.Generator(),  # else every start would move the global generator
        )
        return iter(loader)

    def close(self) -> None:
        """End the workers; the next batch starts new ones."""
        self._stream = None

    def state_dict(self) -> dict[str, Any]:
        state = {"version": STATE_VERSION, "batches": self._handed_over, **self.reader.identity}
        return {**state, "streams": self._streams} if self._streams else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the last batch that was handed over.

        Raises:
            ConfigError: the state belongs to other data, another batch size, seed or window.
        """
        if state["version"] != STATE_VERSION:
            raise ConfigError(
                f"ckpt_path: data state version {state['version']}, this version reads {STATE_VERSION}"
            )
        for field, now in self.reader.identity.items():
            if state[field] != now:
                raise ConfigError(self._mismatch(field, state[field], now))
        if state["batches"] != self._handed_over:
            self._handed_over = state["batches"]
            self._streams = state.get("streams", "")
            self.close()

    def _quarantined_since(self, then: dict[str, str]) -> str:
        """What to do, where the data are the checkpoint's but for chunks that went into quarantine later."""
        data = self.reader.plan.data
        for name, shards in zip(data.names, data.shards, strict=True):
            if not isinstance(shards, PairShards) or not shards.left_out:
                continue
            if then.get(name) == origin(with_quarantine(shards.manifest, [])):
                return (
                    f"{shards.folder}: chunks went into quarantine after the checkpoint, which gives its pairs another "
                    "order; take them back (`cpt prep quarantine ... --undo`) and go on with --data.on_corrupt "
                    "substitute, or start a new run"
                )
        return ""

    def _mismatch(self, field: str, then: Any, now: Any) -> str:
        if field == "sources":
            return self._quarantined_since(then) or _other_sources(then, now)
        if field == "weights":
            name = next((name for name in now if then.get(name) != now[name]), "")
            return (
                f"data.sources.{name}.weight: a share of {now[name]:.4g}, but the checkpoint was made with "
                f"{then.get(name, 0):.4g}; leave the weights as they were, or start a new run"
            )
        if field == "tokenization":
            return (
                "model.encoder: tokenizer, delimiters, lengths or drop_repeats are not the checkpoint's; leave them, or "
                "start a new run"
            )
        if field == "steps_per_epoch" and self.reader.plan.mixture.exhausted != "repeat":
            return f"data: an epoch of {now} batches, but the checkpoint's had {then}; start a new run"
        return f"data.{field}: {now}, but the checkpoint was made with {then}; leave it at {then}, or start a new run"


def _other_sources(then: dict[str, str], now: dict[str, str]) -> str:
    """What differs between the sources of a checkpoint and those of now, as one line."""
    if len(then) == len(now) == 1:
        (before,), (after,) = then.values(), now.values()
        return (
            f"data.folder: fingerprint {after} is not the data of the checkpoint ({before}); name the data it was "
            "trained on, or start a new run"
        )
    for name in [*now, *then]:
        if then.get(name) != now.get(name):
            what = "not there" if name not in now else f"fingerprint {now[name]}"
            before_ = then.get(name, "no such source")
            return (
                f"data.sources.{name}: {what}, but the checkpoint was made with {before_}; name the data it was "
                "trained on, or start a new run"
            )
    return f"data.sources: {', '.join(now)}, but the checkpoint had them as {', '.join(then)}; put them in that order"


def deal(part: Part, world_size: int) -> list[Part]:
    """What each rank is to encode of a part."""
    return [part.select((part.ranks == rank).nonzero().squeeze(1)) for rank in range(world_size)]


class _From:
    """Batch numbers from ``first`` on, without end, each once for every worker: DataLoader deals them round in turn."""

    def __init__(self, first: int, workers: int) -> None:
        self._first, self._workers = first, workers

    def __iter__(self) -> Iterator[tuple[int, int]]:
        number = self._first
        while True:
            for worker in range(self._workers):
                yield number, worker
            number += 1


def is_worker_lost(error: BaseException) -> bool:
    """Whether torch says that a process that reads data was killed."""
    return isinstance(error, RuntimeError) and _LOST.search(str(error)) is not None


def worker_lost(error: BaseException) -> DataError:
    """The line on such an error."""
    what = " ".join(str(error).split()).rstrip(".")
    return DataError(f"a process that reads training data was killed ({what}); fewer data.workers need less memory")
